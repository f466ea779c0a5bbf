//! Projections equal their units: everything is folded once more from the ledger, and compared owner by owner.
//!
//! Compared in full: which owners have lines, how many, their versions, their balances, and a digest over every line; the
//! number of rounds. Rounds themselves are compared in full for a sample chosen by their names.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use protocol::{Holdings, PlayerId, ProviderId, RecordKey};

use super::{
    OwnerTotals, ProjectionReader,
    fold::{self, Folded, Line},
    round::{Moment, RoundChange, RoundKey, RoundName, RoundRow},
};
use crate::{
    ledger::{Ledger, StorageError},
    unit::StoredUnit,
};

/// Units read at once.
const UNITS_MAX: usize = 1_000;
const OWNERS_MAX: usize = 500;
/// Violations reported; one bad block can break thousands of lines.
const VIOLATIONS_MAX: usize = 100;
/// Up to so many units every round is compared in full, beyond it one in [`SAMPLE`].
const UNITS_WITHOUT_SAMPLING_MAX: u64 = 50_000;
const SAMPLE: u64 = 64;

/// Folds the ledger up to the projection's positions and names every difference.
pub async fn verify_projections(ledger: &dyn Ledger, store: &dyn ProjectionReader) -> Result<Vec<String>, StorageError> {
    let mut violations = Vec::new();
    for shard in 0..ledger.shards() {
        let position = store.position(shard).await?;
        let head = ledger.head(shard).await?.sequence;
        if position > head {
            violations.push(format!("shard {shard}: the projection is at {position}, the ledger at {head}"));
            continue;
        }
        let expected = expect(ledger, shard, position).await?;
        expected.compare(store, &mut violations).await?;
        if store.position(shard).await? != position {
            return Err(StorageError::Unavailable("the projection moved while it was verified".to_owned()));
        }
    }
    violations.truncate(VIOLATIONS_MAX);
    Ok(violations)
}

/// What the ledger's units say of one shard.
struct Expected {
    shard: u16,
    one_in: u64,
    owners: HashMap<RecordKey, OwnerTotals>,
    /// A hash of each round's key: the only thing kept of every round.
    rounds: HashSet<u64>,
    sample: HashMap<(RoundName, PlayerId), BTreeMap<ProviderId, RoundRow>>,
}

impl Expected {
    fn add(&mut self, unit: &StoredUnit) -> Result<(), StorageError> {
        let Folded { lines, rounds } = fold::fold(unit)?;
        for change in rounds {
            let owner = RecordKey::player(change.player);
            let version = lines.iter().find(|(key, _)| *key == owner).map_or(0, |(_, line)| line.version);
            self.add_round(change, Moment { sequence: unit.sequence, at: unit.at, version })?;
        }
        for (owner, line) in lines {
            let empty = OwnerTotals { owner, lines: 0, version: 0, holdings: Holdings::default(), digest: Line::DIGEST_START };
            let totals = self.owners.entry(owner).or_insert(empty);
            fold::apply_line(&mut totals.holdings, owner, &line)?;
            totals.lines += 1;
            totals.version = totals.version.max(line.version);
            totals.digest = line.digest(totals.digest);
        }
        Ok(())
    }

    fn add_round(&mut self, change: RoundChange, moment: Moment) -> Result<(), StorageError> {
        let RoundChange { name, player, provider, change } = change;
        if let Some(provider) = provider.filter(|_| RoundRow::begins(&change)) {
            self.rounds.insert(hash(&(&name, player, provider)));
        }
        if hash(&(&name, player)) % self.one_in != 0 {
            return Ok(());
        }
        let rows = self.sample.entry((name, player)).or_default();
        let latest = || rows.iter().max_by_key(|(provider, row)| (row.position, **provider)).map(|(provider, _)| *provider);
        let Some(provider) = provider.or_else(latest) else { return Ok(()) };
        let row =
            RoundRow::after(rows.remove(&provider), &change, moment).map_err(|error| fold::damaged(moment.sequence, error))?;
        rows.extend(row.map(|row| (provider, row)));
        Ok(())
    }

    async fn compare(&self, store: &dyn ProjectionReader, violations: &mut Vec<String>) -> Result<(), StorageError> {
        let shard = self.shard;
        let rounds = store.rounds_count(shard).await?;
        if rounds != self.rounds.len() as u64 {
            violations.push(format!("shard {shard}: {rounds} rounds in the projection, {} in the ledger", self.rounds.len()));
        }
        let (mut after, mut known) = (None, 0);
        loop {
            let page = store.owner_totals(shard, after, OWNERS_MAX).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.owner);
            known += page.len();
            for totals in page {
                match self.owners.get(&totals.owner) {
                    Some(expected) if *expected == totals => {}
                    Some(expected) => violations.push(differs(shard, expected, &totals)),
                    None => violations.push(format!("shard {shard}: {} has lines but no unit", totals.owner)),
                }
            }
        }
        if known < self.owners.len() {
            violations.push(format!("shard {shard}: {} owners lack their lines", self.owners.len() - known));
        }
        for ((name, player), rows) in &self.sample {
            let latest = rows.iter().max_by_key(|(_, row)| (row.at, row.position));
            let expected =
                latest.map(|(provider, row)| row.view(&RoundKey { name: name.clone(), player: *player, provider: *provider }));
            let round = name.to_text();
            let found = store.round(Some(*player), &round).await?;
            if found != expected && violations.len() < VIOLATIONS_MAX {
                violations.push(format!("shard {shard}: round {round}: {found:?} in the projection, {expected:?} in the ledger"));
            }
        }
        Ok(())
    }
}

fn differs(shard: u16, expected: &OwnerTotals, found: &OwnerTotals) -> String {
    let owner = expected.owner;
    if (expected.lines, expected.version) != (found.lines, found.version) {
        return format!(
            "shard {shard}: {owner}: {} lines up to version {} in the projection, {} up to {} in the ledger",
            found.lines, found.version, expected.lines, expected.version
        );
    }
    if expected.holdings != found.holdings {
        return format!("shard {shard}: {owner}: {:?} in the projection, {:?} in the ledger", found.holdings, expected.holdings);
    }
    format!("shard {shard}: {owner}: a line differs from its unit")
}

/// The same within one run, which is all that is asked.
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

async fn expect(ledger: &dyn Ledger, shard: u16, position: u64) -> Result<Expected, StorageError> {
    let one_in = if position <= UNITS_WITHOUT_SAMPLING_MAX { 1 } else { SAMPLE };
    let mut expected = Expected { shard, one_in, owners: HashMap::new(), rounds: HashSet::new(), sample: HashMap::new() };
    let mut after = 0;
    while after < position {
        let units = ledger.units(shard, after, UNITS_MAX).await?;
        let Some((last, _)) = units.last() else {
            return Err(StorageError::Corrupt(format!("shard {shard}: no unit after {after}")));
        };
        after = *last;
        for (_, bytes) in units.iter().take_while(|(sequence, _)| *sequence <= position) {
            let unit = StoredUnit::decode(bytes).map_err(|error| StorageError::Corrupt(format!("shard {shard}: {error}")))?;
            expected.add(&unit)?;
        }
    }
    Ok(expected)
}
