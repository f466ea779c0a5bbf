//! The deterministic ledger for tests and simulation: ordered maps, no clock, no randomness, faults on demand.
//!
//! It decides with the same code as every back end ([`crate::ledger::apply`]) and keeps what they keep. What it never does is
//! survive its process; to "restart" it, drop the writers and open the shards again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use protocol::{OwnerKind, RecordKey};
use tokio::sync::OwnedMutexGuard;

use crate::{
    ledger::{
        BoxFuture, CommitError, HouseBalance, Ledger, Receipt, ShardHead, ShardWriter, StorageError, StoredRecord,
        apply::{self, Batch, Checked, House, Known, Row, Stored},
        faults::{Fault, FaultPlan},
    },
    unit::{StoredUnit, UnitKey, UnitOfWork},
};

/// Shards one store may have.
pub const SHARDS_MAX: u16 = 64;

/// A ledger in memory; clones are the same ledger.
#[derive(Clone)]
pub struct MemoryLedger {
    shards: Arc<[Arc<Shard>]>,
    /// Uniqueness of keys is across shards, so all share one state.
    state: Arc<Mutex<State>>,
    faults: FaultPlan,
}

/// What makes commits and takeovers of a shard follow one another.
#[derive(Default)]
struct Shard {
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct State {
    heads: Vec<ShardHead>,
    units: BTreeMap<(u16, u64), Bytes>,
    keys: BTreeMap<UnitKey, (u16, u64)>,
    records: BTreeMap<RecordKey, Row>,
    house: BTreeMap<u16, House>,
}

impl MemoryLedger {
    /// An empty ledger of one to [`SHARDS_MAX`] shards.
    pub fn new(shards: u16) -> Self {
        let shards = shards.clamp(1, SHARDS_MAX);
        let heads = (0..shards).map(|shard| ShardHead { shard, epoch: 0, sequence: 0, hash: [0; 32] }).collect();
        Self {
            shards: (0..shards).map(|_| Arc::default()).collect(),
            state: Arc::new(Mutex::new(State { heads, ..State::default() })),
            faults: FaultPlan::default(),
        }
    }

    /// The plan of faults to come.
    pub fn faults(&self) -> &FaultPlan {
        &self.faults
    }

    /// Plans a fault for the commit after the next `passes` ones.
    pub fn inject(&self, passes: u64, fault: Fault) {
        self.faults.inject(passes, fault);
    }

    /// Changes stored bytes behind the ledger's back: for tests of what must notice.
    #[cfg(any(test, feature = "testing"))]
    pub fn tamper_unit(&self, shard: u16, sequence: u64, change: impl FnOnce(&mut StoredUnit)) {
        let mut state = self.lock();
        if let Some(bytes) = state.units.get_mut(&(shard, sequence))
            && let Ok(mut unit) = StoredUnit::decode(bytes)
        {
            change(&mut unit);
            *bytes = unit.encode().into();
        }
    }

    /// Changes a stored row behind the ledger's back.
    #[cfg(any(test, feature = "testing"))]
    pub fn tamper_record(&self, key: RecordKey, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.lock().records.get_mut(&key) {
            change(row);
        }
    }

    /// Cuts the units after a sequence off, head included, as if the tail had never been.
    #[cfg(any(test, feature = "testing"))]
    pub fn tamper_head(&self, head: ShardHead) {
        let mut state = self.lock();
        state.units.retain(|(shard, sequence), _| *shard != head.shard || *sequence <= head.sequence);
        state.keys.retain(|_, (shard, sequence)| *shard != head.shard || *sequence <= head.sequence);
        state.heads[usize::from(head.shard)] = head;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, shard: u16) -> Result<&Arc<Shard>, StorageError> {
        let found = self.shards.get(usize::from(shard));
        found.ok_or_else(|| StorageError::Unavailable(format!("this store has {} shards, no shard {shard}", self.shards.len())))
    }

    /// Increments the epoch and reads the head.
    fn take_over(&self, shard: u16) -> ShardHead {
        let mut state = self.lock();
        let head = &mut state.heads[usize::from(shard)];
        head.epoch += 1;
        *head
    }

    /// One commit, alone in its shard until `_turn` is dropped.
    async fn commit(
        self,
        session: Arc<Session>,
        units: Vec<UnitOfWork>,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<Vec<Receipt>, CommitError> {
        let Some(head) = session.live() else { return Err(CommitError::Fenced) };
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let fault = self.faults.next();
        match &fault {
            Some(Fault::FailBefore(error)) => return Err(CommitError::Failed(error.clone())),
            Some(Fault::Slow(gate)) => gate.pass().await,
            Some(Fault::Fence) => drop(self.take_over(head.shard)),
            _ => {}
        }
        let result = self.lock().commit(&head, &units, matches!(fault, Some(Fault::UnknownLost)));
        let unknown = |what: &str| Err(CommitError::Unknown(StorageError::Unavailable(format!("injected: {what}"))));
        let result = match (result, fault) {
            (Ok(_), Some(Fault::UnknownLost)) => unknown("lost"),
            (Ok(_), Some(Fault::UnknownStored)) => unknown("stored"),
            (result, _) => result,
        };
        match result {
            Ok(batch) => {
                session.set(batch.head, true);
                let receipt =
                    |unit: apply::BatchUnit| Receipt { shard: head.shard, sequence: unit.sequence, encoded: unit.encoded };
                Ok(batch.units.into_iter().map(receipt).collect())
            }
            Err(error) => {
                if matches!(error, CommitError::Fenced | CommitError::Unknown(_)) {
                    session.set(head, false);
                }
                Err(error)
            }
        }
    }
}

impl State {
    fn commit(&mut self, head: &ShardHead, units: &[UnitOfWork], lose: bool) -> Result<Batch, CommitError> {
        if self.heads[usize::from(head.shard)] != *head {
            return Err(CommitError::Fenced);
        }
        let house = self.house.get(&head.shard).cloned().unwrap_or_default();
        let batch = match apply::check(head, units, self, &house).map_err(CommitError::Failed)? {
            Checked::Ready(batch) => batch,
            Checked::Refused(refusals) => return Err(CommitError::Refused(refusals)),
        };
        if !lose {
            self.write(&batch);
        }
        Ok(batch)
    }

    fn write(&mut self, batch: &Batch) {
        let shard = batch.head.shard;
        self.heads[usize::from(shard)] = batch.head;
        for unit in &batch.units {
            self.units.insert((shard, unit.sequence), unit.encoded.clone());
            self.keys.insert(unit.key.clone(), (shard, unit.sequence));
        }
        self.records.extend(batch.records.iter().map(|(key, (row, _))| (*key, row.clone())));
        self.house.entry(shard).or_default().extend(batch.house.iter().map(|(account, balance)| (*account, *balance)));
    }

    fn unit(&self, key: &UnitKey) -> Result<Option<StoredUnit>, StorageError> {
        let Some(at) = self.keys.get(key) else { return Ok(None) };
        let bytes = self.units.get(at).ok_or_else(|| StorageError::Corrupt(format!("unit {at:?} is indexed and missing")))?;
        StoredUnit::decode(bytes).map(Some).map_err(|error| StorageError::Corrupt(error.to_string()))
    }
}

impl Stored for State {
    fn known(&mut self, key: &UnitKey) -> Result<Option<Known>, StorageError> {
        Ok(self.unit(key)?.map(|unit| Known { sequence: unit.sequence, body_hash: unit.body_hash, reply: unit.reply }))
    }

    fn row(&mut self, key: &RecordKey) -> Result<Option<Row>, StorageError> {
        Ok(self.records.get(key).cloned())
    }
}

fn stored_record(key: RecordKey, row: &Row) -> StoredRecord {
    StoredRecord { key, version: row.version, holdings: row.holdings.clone(), bytes: row.bytes.clone() }
}

impl Ledger for MemoryLedger {
    fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    fn open_shard(&self, shard: u16) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StorageError>> {
        Box::pin(async move {
            let turn = Arc::clone(&self.shard(shard)?.turn);
            let _predecessor_is_done = turn.lock().await;
            let session = Arc::new(Session { state: Mutex::new((self.take_over(shard), true)) });
            Ok(Box::new(MemoryWriter { ledger: self.clone(), session }) as Box<dyn ShardWriter>)
        })
    }

    fn head(&self, shard: u16) -> BoxFuture<'_, Result<ShardHead, StorageError>> {
        Box::pin(async move { self.shard(shard).map(|_| self.lock().heads[usize::from(shard)]) })
    }

    fn record(&self, key: RecordKey) -> BoxFuture<'_, Result<Option<StoredRecord>, StorageError>> {
        Box::pin(async move { Ok(self.lock().records.get(&key).map(|row| stored_record(key, row))) })
    }

    fn records(
        &self,
        kind: OwnerKind,
        after: Option<[u8; 16]>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredRecord>, StorageError>> {
        use std::ops::Bound::{Excluded, Included};
        Box::pin(async move {
            let start = after.map_or(Included(RecordKey { kind, id: [0; 16] }), |id| Excluded(RecordKey { kind, id }));
            let state = self.lock();
            let rows = state.records.range((start, Included(RecordKey { kind, id: [0xff; 16] })));
            Ok(rows.take(max).map(|(key, row)| stored_record(*key, row)).collect())
        })
    }

    fn unit_by_key(&self, key: UnitKey) -> BoxFuture<'_, Result<Option<StoredUnit>, StorageError>> {
        Box::pin(async move { self.lock().unit(&key) })
    }

    fn units(&self, shard: u16, after: u64, max: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StorageError>> {
        Box::pin(async move {
            self.shard(shard)?;
            let state = self.lock();
            let units = state.units.range((shard, after.saturating_add(1))..=(shard, u64::MAX));
            Ok(units.take(max).map(|((_, sequence), bytes)| (*sequence, bytes.clone())).collect())
        })
    }

    fn house_accounts(&self) -> BoxFuture<'_, Result<Vec<HouseBalance>, StorageError>> {
        Box::pin(async move {
            let mut sums = House::new();
            for ((book, account), balance) in self.lock().house.values().flatten() {
                let sum = sums.entry((*book, *account)).or_default();
                *sum = sum.checked_add(*balance).map_err(|error| StorageError::Corrupt(format!("{account}: {error}")))?;
            }
            Ok(sums.into_iter().map(|((book, account), balance)| (book, account, balance)).collect())
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for shard in self.shards.iter() {
                let _commit_in_flight_is_done = shard.turn.lock().await;
            }
        })
    }
}

/// One incarnation of a shard's writer: its head, and whether it still may commit.
struct Session {
    state: Mutex<(ShardHead, bool)>,
}

impl Session {
    fn get(&self) -> (ShardHead, bool) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Option<ShardHead> {
        let (head, live) = self.get();
        live.then_some(head)
    }

    fn set(&self, head: ShardHead, live: bool) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (head, live);
    }
}

struct MemoryWriter {
    ledger: MemoryLedger,
    session: Arc<Session>,
}

impl ShardWriter for MemoryWriter {
    fn head(&self) -> ShardHead {
        self.session.get().0
    }

    fn commit(&mut self, units: Vec<UnitOfWork>) -> BoxFuture<'_, Result<Vec<Receipt>, CommitError>> {
        Box::pin(async move {
            let shard = self.session.get().0.shard;
            let turn = Arc::clone(&self.ledger.shard(shard).map_err(CommitError::Failed)?.turn).lock_owned().await;
            // A task of its own: once it has its turn, no dropped future takes it back.
            let commit = tokio::spawn(self.ledger.clone().commit(Arc::clone(&self.session), units, turn));
            commit.await.map_err(|error| CommitError::Unknown(StorageError::Unavailable(error.to_string())))?
        })
    }
}
