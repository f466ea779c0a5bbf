//! The ledger's traits: one writer per shard, readers beside it.
//!
//! A commit is all or nothing. A unit that fails a check is named in [`CommitError::Refused`] and nothing of the batch is
//! stored; the wallet takes the named units out and commits the rest, so each unit is refused alone. Checks run in this order:
//! key, versions (guards and records), legs one by one.

pub mod apply;
pub mod faults;

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use protocol::{AccountId, Amount, Book, Holdings, OwnerKind, RecordKey};

use crate::unit::{StoredUnit, UnitKey, UnitOfWork};

/// A house account's balance, summed over shards.
pub type HouseBalance = (Book, AccountId, Amount);

/// Shard and sequence of a unit.
pub type Position = (u16, u64);

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The state of a shard that every commit moves: nobody commits whose head does not match the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardHead {
    pub shard: u16,
    /// Grows by one with each incarnation of the shard's writer.
    pub epoch: u64,
    /// Sequence of the last unit; zero in an empty shard.
    pub sequence: u64,
    /// The chain's hash after that unit; all zero in an empty shard.
    pub hash: [u8; 32],
}

/// A record with its version and the balances of the accounts it owns, read together.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    pub key: RecordKey,
    pub version: u64,
    pub holdings: Holdings,
    pub bytes: Bytes,
}

/// Where a committed unit stands, and its owners' balances after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    pub shard: u16,
    pub sequence: u64,
    /// The stored bytes of the unit, shared with the relay.
    pub encoded: Bytes,
}

/// Why one unit of a batch cannot be committed.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// The key is known with the same body: here is the first answer.
    Replay { reply: Bytes, sequence: u64 },
    /// The key is known with another body.
    Conflict,
    /// An earlier unit of this batch has the same key; decide after it.
    SameBatch,
    /// A record or guard has another version; reload and decide again.
    Stale { key: RecordKey, stored: u64 },
    /// A leg would take a guarded account below zero, or an owner is missing among the records: a fault in the plan.
    Invalid { reason: String },
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing was stored; the named units (index in the batch) are refused, the others may be sent again.
    #[error("{} units of the batch were refused", .0.len())]
    Refused(Vec<(usize, Refusal)>),
    /// Another incarnation has taken the shard: nothing was stored, and nothing ever will be by this writer.
    #[error("the shard has a newer writer")]
    Fenced,
    /// The outcome is not known: stop, open the shard again, and let the stored head decide.
    #[error("the commit's outcome is unknown: {0}")]
    Unknown(StorageError),
    /// Certainly nothing was stored.
    #[error("the commit failed before it began: {0}")]
    Failed(StorageError),
}

/// A fault of a store: for the supervisor, never for a player.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    #[error("the disk is full")]
    Full,
    #[error("the store holds something that cannot be read: {0}")]
    Corrupt(String),
}

/// The ledger as everybody but the wallet sees it, and the door to a shard's writer.
pub trait Ledger: Send + Sync + 'static {
    /// Shards were fixed when the store was made.
    fn shards(&self) -> u16;

    /// Takes the shard over: waits for the predecessor's commit in flight, increments the epoch, reads the head.
    fn open_shard(&self, shard: u16) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StorageError>>;

    fn head(&self, shard: u16) -> BoxFuture<'_, Result<ShardHead, StorageError>>;

    fn record(&self, key: RecordKey) -> BoxFuture<'_, Result<Option<StoredRecord>, StorageError>>;

    /// Records of a kind in key order, after a key: a bounded scan.
    fn records(
        &self,
        kind: OwnerKind,
        after: Option<[u8; 16]>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredRecord>, StorageError>>;

    fn unit_by_key(&self, key: UnitKey) -> BoxFuture<'_, Result<Option<StoredUnit>, StorageError>>;

    /// Where units with these keys stand, in the keys' order: (shard, sequence). For walks over everything.
    fn key_positions(&self, keys: Vec<UnitKey>) -> BoxFuture<'_, Result<Vec<Option<Position>>, StorageError>> {
        Box::pin(async move {
            let mut positions = Vec::with_capacity(keys.len());
            for key in keys {
                positions.push(self.unit_by_key(key).await?.map(|unit| (unit.shard, unit.sequence)));
            }
            Ok(positions)
        })
    }

    /// Encoded units after a sequence, in order, at most `max`: (sequence, bytes).
    fn units(&self, shard: u16, after: u64, max: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StorageError>>;

    /// Balances of house accounts, summed over shards.
    fn house_accounts(&self) -> BoxFuture<'_, Result<Vec<HouseBalance>, StorageError>>;

    /// Checkpoints and closes; the last call.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// The one writer of a shard.
pub trait ShardWriter: Send + 'static {
    fn head(&self) -> ShardHead;

    /// Commits a batch durably, in order. Receipts are in the batch's order. The head moves to the last unit.
    fn commit(&mut self, units: Vec<UnitOfWork>) -> BoxFuture<'_, Result<Vec<Receipt>, CommitError>>;
}
