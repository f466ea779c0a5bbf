//! Walks every unit of a ledger and proves that what is stored is what the units say, and that no unit was changed or cut.
//!
//! | read | proved |
//! |---|---|
//! | units, in order | sequences gapless, chain whole and through every anchor, legs positive and floors kept, keys indexed |
//! | events of each unit | every pack decodes, and money moves exactly as its facts say (`facts`) |
//! | records | balances, versions and bytes are those of the last unit that wrote them; none is missing, none unexplained |
//! | house accounts | balances are the fold of the legs |
//! | both | Σ is zero per book; each jackpot holds its contributions and seeds less what it paid |
//!
//! It reads only, and never stops at a violation. The ledger should be at rest: units committed meanwhile look like faults.

mod facts;
mod fold;

use std::collections::BTreeMap;

use protocol::{EventPack, OwnerKind, RecordKey};
use serde::Serialize;

use crate::{
    anchor::Anchor,
    ledger::{Ledger, ShardHead, StorageError, StoredRecord},
    unit::{StoredUnit, UnitKey, chain, digest_of},
};
use fold::Fold;

/// Violations kept in a report; the rest are counted.
pub const VIOLATIONS_MAX: usize = 100;
const UNITS_PER_PAGE_MAX: usize = 500;
const RECORDS_PER_PAGE_MAX: usize = 1_000;

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    pub units: u64,
    pub legs: u64,
    pub events: u64,
    pub records: u64,
    pub house_accounts: u64,
    pub anchors: u64,
    /// Σ of all balances, by tenant, licence and currency; each must be zero.
    pub sums: BTreeMap<String, i128>,
    pub jackpots: BTreeMap<String, JackpotSums>,
    pub violations_total: u64,
    /// The first [`VIOLATIONS_MAX`].
    pub violations: Vec<String>,
}

/// One jackpot, minor units: contributions + seeds = paid + main + reserve + diversion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JackpotSums {
    pub contributions: i128,
    pub seeds: i128,
    pub paid: i128,
    pub main: i128,
    pub reserve: i128,
    pub diversion: i128,
}

impl JackpotSums {
    pub const fn holds(&self) -> bool {
        self.contributions + self.seeds == self.paid + self.main + self.reserve + self.diversion
    }
}

impl VerifyReport {
    pub const fn ok(&self) -> bool {
        self.violations_total == 0
    }

    fn violation(&mut self, what: impl Into<String>) {
        self.violations_total += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what.into());
        }
    }
}

/// Proves a ledger against itself and against the heads anchored outside.
pub async fn verify_ledger(ledger: &dyn Ledger, anchors: &[Anchor]) -> Result<VerifyReport, StorageError> {
    let mut walk = Walk { ledger, report: VerifyReport::default(), fold: Fold::default(), records: BTreeMap::new() };
    walk.report.anchors = anchors.len() as u64;
    for shard in 0..ledger.shards() {
        let mut by_sequence: BTreeMap<u64, Vec<&Anchor>> = BTreeMap::new();
        for anchor in anchors.iter().filter(|anchor| anchor.shard == shard) {
            by_sequence.entry(anchor.sequence).or_default().push(anchor);
        }
        walk.shard(shard, &by_sequence).await?;
    }
    for anchor in anchors.iter().filter(|anchor| anchor.shard >= ledger.shards()) {
        walk.report.violation(format!("an anchor names shard {}, which the store does not have", anchor.shard));
    }
    walk.stored_records().await?;
    walk.house().await?;
    walk.fold.close(&mut walk.report);
    Ok(walk.report)
}

/// What units said of a record so far.
struct Written {
    version: u64,
    digest: [u8; 16],
}

struct Walk<'a> {
    ledger: &'a dyn Ledger,
    report: VerifyReport,
    fold: Fold,
    records: BTreeMap<RecordKey, Written>,
}

impl Walk<'_> {
    async fn shard(&mut self, shard: u16, anchors: &BTreeMap<u64, Vec<&Anchor>>) -> Result<(), StorageError> {
        let head = self.ledger.head(shard).await?;
        let mut at = ShardHead { sequence: 0, hash: [0; 32], ..head };
        loop {
            let page = self.ledger.units(shard, at.sequence, UNITS_PER_PAGE_MAX).await?;
            if page.is_empty() {
                break;
            }
            let mut keys = Vec::with_capacity(page.len());
            for (sequence, bytes) in page {
                if sequence != at.sequence + 1 {
                    self.report.violation(format!("shard {shard}: unit {sequence} follows unit {}", at.sequence));
                }
                at = ShardHead { sequence, hash: chain(&at.hash, &bytes), ..at };
                for anchor in anchors.get(&sequence).into_iter().flatten().filter(|anchor| anchor.hash != at.hash) {
                    self.report
                        .violation(format!("shard {shard}: the chain at {sequence} is not the one anchored at {}", anchor.at));
                }
                if let Some(key) = self.unit(shard, sequence, &bytes) {
                    keys.push((key, sequence));
                }
            }
            self.keys(shard, keys).await?;
        }
        if (at.sequence, at.hash) != (head.sequence, head.hash) {
            self.report.violation(format!(
                "shard {shard}: the units end at {}, with another chain than the head's ({})",
                at.sequence, head.sequence
            ));
        }
        for anchor in anchors.range(at.sequence + 1..).flat_map(|(_, anchors)| anchors) {
            let (sequence, end) = (anchor.sequence, at.sequence);
            self.report
                .violation(format!("shard {shard}: unit {sequence} was anchored at {}, and the units end at {end}", anchor.at));
        }
        Ok(())
    }

    /// Folds one unit in; answers its key.
    fn unit(&mut self, shard: u16, sequence: u64, bytes: &[u8]) -> Option<UnitKey> {
        self.report.units += 1;
        let unit = match StoredUnit::decode(bytes) {
            Ok(unit) => unit,
            Err(error) => {
                self.report.violation(format!("shard {shard}: unit {sequence} does not decode: {error}"));
                return None;
            }
        };
        if (unit.shard, unit.sequence) != (shard, sequence) {
            self.report.violation(format!("shard {shard}: unit {sequence} says it is {}/{}", unit.shard, unit.sequence));
        }
        self.report.legs += unit.legs.len() as u64;
        self.written(&unit);
        let facts = self.events(&unit);
        self.fold.unit(&unit, &facts, &mut self.report);
        facts::check(&unit, &facts, &mut self.report);
        Some(unit.key)
    }

    fn written(&mut self, unit: &StoredUnit) {
        for (key, version, digest) in &unit.records {
            // A record begins with no bytes, and zero says that the bytes were kept.
            let written = self.records.entry(*key).or_insert_with(|| Written { version: 0, digest: digest_of(Some(&[])) });
            if *version != written.version + 1 {
                self.report.violation(format!("unit {}: {key} goes from version {} to {version}", unit.sequence, written.version));
            }
            written.version = *version;
            if *digest != [0; 16] {
                written.digest = *digest;
            }
        }
    }

    fn events(&mut self, unit: &StoredUnit) -> Vec<protocol::Fact> {
        if unit.events.is_empty() {
            return Vec::new();
        }
        match EventPack::parse(&unit.events) {
            Ok(pack) => {
                self.report.events += pack.events.len() as u64;
                pack.events.into_iter().map(|event| event.payload).collect()
            }
            Err(error) => {
                self.report.violation(format!("unit {}: its events do not decode: {error}", unit.sequence));
                Vec::new()
            }
        }
    }

    async fn keys(&mut self, shard: u16, keys: Vec<(UnitKey, u64)>) -> Result<(), StorageError> {
        let (keys, sequences): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
        let found = self.ledger.key_positions(keys.clone()).await?;
        for ((key, sequence), found) in keys.iter().zip(sequences).zip(found) {
            match found {
                Some(found) if found == (shard, sequence) => {}
                Some((shard, at)) => self.report.violation(format!("unit {sequence}: its key {key} is indexed as {shard}/{at}")),
                None => self.report.violation(format!("unit {sequence}: its key {key} is not indexed")),
            }
        }
        Ok(())
    }

    async fn stored_records(&mut self) -> Result<(), StorageError> {
        for kind in (0..=u8::MAX).filter_map(OwnerKind::from_number) {
            let mut after = None;
            loop {
                let page = self.ledger.records(kind, after, RECORDS_PER_PAGE_MAX).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.key.id);
                page.iter().for_each(|record| self.stored_record(record));
            }
        }
        for (key, written) in std::mem::take(&mut self.records) {
            self.report.violation(format!("{key} is missing; a unit wrote its version {}", written.version));
        }
        Ok(())
    }

    fn stored_record(&mut self, record: &StoredRecord) {
        self.report.records += 1;
        self.fold.stored_record(record, &mut self.report);
        let key = record.key;
        let Some(written) = self.records.remove(&key) else {
            return self.report.violation(format!("{key} is stored, but no unit wrote it"));
        };
        if record.version != written.version {
            self.report.violation(format!("{key} has version {}; the last unit wrote {}", record.version, written.version));
        }
        if digest_of(Some(&record.bytes)) != written.digest {
            self.report.violation(format!("{key} has other bytes than the last unit wrote"));
        }
    }

    async fn house(&mut self) -> Result<(), StorageError> {
        for (book, account, balance) in self.ledger.house_accounts().await? {
            self.report.house_accounts += 1;
            self.fold.stored_house(book, account, balance, &mut self.report);
        }
        Ok(())
    }
}
