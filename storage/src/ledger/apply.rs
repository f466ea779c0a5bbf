//! What a batch of units does to a shard, decided once for every back end: pure over [`Stored`], it writes nothing.
//!
//! | step | checks | a unit that fails it is refused as |
//! |---|---|---|
//! | key | known before, or earlier in this batch | `Replay`, `Conflict`, `SameBatch` |
//! | versions | guards, then records | `Stale` |
//! | shape | ids, doubled records, who owns what a leg touches | `Invalid` |
//! | legs | one by one, gross: floors and overflow | `Invalid` |
//!
//! A refused unit leaves no trace on the units checked after it, so they are judged as they will be without it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use protocol::{AccountId, Amount, Book, Holdings, Leg, OwnerKind, RecordKey};
use smallvec::SmallVec;

use crate::{
    ledger::{Refusal, ShardHead, StorageError},
    unit::{StoredUnit, UnitKey, UnitOfWork, chain},
};

/// Longest id of a key, in bytes.
pub const KEY_ID_LEN_MAX: usize = 64;

/// What a back end must be able to read while a batch is checked, inside the batch's transaction.
pub trait Stored {
    fn known(&mut self, key: &UnitKey) -> Result<Option<Known>, StorageError>;
    fn row(&mut self, key: &RecordKey) -> Result<Option<Row>, StorageError>;
}

/// A unit stored earlier under a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    pub sequence: u64,
    pub body_hash: [u8; 32],
    pub reply: Bytes,
}

/// A record's row; version zero stands for a row that does not exist.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub version: u64,
    pub holdings: Holdings,
    pub bytes: Bytes,
}

/// Balances of the house accounts of one shard.
pub type House = BTreeMap<(Book, AccountId), Amount>;

/// A batch that passed every check, ready to be written.
#[derive(Clone, Debug)]
pub struct Batch {
    /// In order; sequences follow the head that was handed in.
    pub units: Vec<BatchUnit>,
    /// The last state of each record written, and whether its row exists already.
    pub records: BTreeMap<RecordKey, (Row, bool)>,
    /// The house accounts moved, with their balances after the batch.
    pub house: House,
    pub head: ShardHead,
}

/// One unit of a checked batch.
#[derive(Clone, Debug)]
pub struct BatchUnit {
    pub key: UnitKey,
    pub sequence: u64,
    pub encoded: Bytes,
}

/// What became of a batch that could be read.
pub enum Checked {
    Ready(Batch),
    /// Index in the batch and reason, in the batch's order; never empty.
    Refused(Vec<(usize, Refusal)>),
}

/// Checks a batch against the stored state and computes everything the commit writes.
pub fn check(head: &ShardHead, units: &[UnitOfWork], stored: &mut impl Stored, house: &House) -> Result<Checked, StorageError> {
    let mut overlay = Overlay { stored, house, rows: BTreeMap::new(), moved: House::new(), keys: BTreeSet::new() };
    let mut refusals = Vec::new();
    let mut head = *head;
    let mut done = Vec::with_capacity(units.len());
    for (index, unit) in units.iter().enumerate() {
        if let Some(refusal) = overlay.unit(unit)? {
            refusals.push((index, refusal));
        } else if refusals.is_empty() {
            let sequence = head.sequence + 1;
            let encoded = StoredUnit::new(head.shard, sequence, unit).encode();
            head = ShardHead { sequence, hash: chain(&head.hash, &encoded), ..head };
            done.push(BatchUnit { key: unit.key.clone(), sequence, encoded: encoded.into() });
        }
    }
    if !refusals.is_empty() {
        return Ok(Checked::Refused(refusals));
    }
    let records = overlay.rows.into_iter().filter(|(_, entry)| entry.written).map(|(key, e)| (key, (e.row, e.existed))).collect();
    Ok(Checked::Ready(Batch { units: done, records, house: overlay.moved, head }))
}

/// The stored state with the batch's accepted units on top.
struct Overlay<'a, S> {
    stored: &'a mut S,
    house: &'a House,
    rows: BTreeMap<RecordKey, Entry>,
    moved: House,
    keys: BTreeSet<&'a UnitKey>,
}

#[derive(Default)]
struct Entry {
    row: Row,
    existed: bool,
    written: bool,
}

impl<'a, S: Stored> Overlay<'a, S> {
    /// Adds one unit, or says why not and changes nothing.
    fn unit(&mut self, unit: &'a UnitOfWork) -> Result<Option<Refusal>, StorageError> {
        if let Some(known) = self.stored.known(&unit.key)? {
            let same = known.body_hash == unit.body_hash;
            let Known { reply, sequence, .. } = known;
            return Ok(Some(if same { Refusal::Replay { reply, sequence } } else { Refusal::Conflict }));
        }
        if self.keys.contains(&unit.key) {
            return Ok(Some(Refusal::SameBatch));
        }
        let guards = unit.guards.iter().map(|guard| (guard.key, guard.version));
        for (key, version) in guards.chain(unit.records.iter().map(|write| (write.key, write.expected))) {
            let stored = self.entry(&key)?.row.version;
            if stored != version {
                return Ok(Some(Refusal::Stale { key, stored }));
            }
        }
        match self.balances(unit) {
            Ok((holdings, moved)) => self.accept(unit, holdings, moved),
            Err(reason) => return Ok(Some(Refusal::Invalid { reason })),
        }
        Ok(None)
    }

    fn entry(&mut self, key: &RecordKey) -> Result<&mut Entry, StorageError> {
        use std::collections::btree_map::Entry as Slot;
        match self.rows.entry(*key) {
            Slot::Occupied(slot) => Ok(slot.into_mut()),
            Slot::Vacant(slot) => {
                let row = self.stored.row(key)?;
                Ok(slot.insert(Entry { existed: row.is_some(), row: row.unwrap_or_default(), written: false }))
            }
        }
    }

    /// The balances after the unit's legs, for its records in their order and for the house accounts it moves.
    fn balances(&self, unit: &UnitOfWork) -> Result<(SmallVec<[Holdings; 2]>, House), String> {
        check_shape(unit)?;
        let mut holdings: SmallVec<[Holdings; 2]> = unit
            .records
            .iter()
            .map(|write| self.rows.get(&write.key).map(|e| e.row.holdings.clone()).unwrap_or_default())
            .collect();
        let mut moved = House::new();
        for leg in &unit.legs {
            if !leg.amount.is_positive() {
                return Err(format!("a leg of {} moves {}, which is not above zero", unit.key, leg.amount.0));
            }
            self.debit_and_credit(unit, leg, &mut holdings, &mut moved)?;
        }
        Ok((holdings, moved))
    }

    /// One leg, gross: what leaves is taken before what arrives is given, so that a leg never funds itself.
    fn debit_and_credit(&self, unit: &UnitOfWork, leg: &Leg, holdings: &mut [Holdings], moved: &mut House) -> Result<(), String> {
        for (account, delta) in [(leg.from, Amount(-leg.amount.0)), (leg.to, leg.amount)] {
            if account.owner.kind == OwnerKind::House {
                let key = (leg.book, account);
                let before = moved.get(&key).or_else(|| self.moved.get(&key)).or_else(|| self.house.get(&key));
                let after =
                    before.copied().unwrap_or_default().checked_add(delta).map_err(|error| format!("{account}: {error}"))?;
                moved.insert(key, after);
                continue;
            }
            let Some(index) = unit.records.iter().position(|write| write.key == account.owner) else {
                return Err(format!("a leg touches {account}, whose owner is not among the unit's records"));
            };
            let change = holdings[index].change(account.owner, leg.book, account.code, account.sub, delta);
            change.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn accept(&mut self, unit: &'a UnitOfWork, holdings: SmallVec<[Holdings; 2]>, moved: House) {
        for (write, holdings) in unit.records.iter().zip(holdings) {
            let entry = self.rows.entry(write.key).or_default();
            entry.row.version = write.expected + 1;
            entry.row.holdings = holdings;
            if let Some(bytes) = &write.bytes {
                entry.row.bytes = bytes.clone();
            }
            entry.written = true;
        }
        self.moved.extend(moved);
        self.keys.insert(&unit.key);
    }
}

/// What can be refused without knowing any balance.
fn check_shape(unit: &UnitOfWork) -> Result<(), String> {
    if unit.key.id.is_empty() || unit.key.id.len() > KEY_ID_LEN_MAX {
        return Err(format!("a key's id has 1 to {KEY_ID_LEN_MAX} bytes, not {}", unit.key.id.len()));
    }
    for (index, write) in unit.records.iter().enumerate() {
        if write.key.kind == OwnerKind::House {
            return Err(format!("{} is the house's, which keeps no record", write.key));
        }
        if write.expected >= i64::MAX as u64 {
            return Err(format!("{} has no version after {}", write.key, write.expected));
        }
        if unit.records[..index].iter().any(|earlier| earlier.key == write.key) {
            return Err(format!("{} is written twice by one unit", write.key));
        }
    }
    for leg in &unit.legs {
        for account in [leg.from, leg.to] {
            if account.owner.kind == OwnerKind::House && account.code.never_negative() {
                return Err(format!("{account} must never be negative, and nothing guards an account of the house"));
            }
        }
    }
    Ok(())
}
