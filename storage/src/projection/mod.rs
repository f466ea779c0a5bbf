//! What a player or an auditor reads: rounds, statements and postings by account, derived from committed units alone.
//!
//! | part | promise |
//! |---|---|
//! | [`fold`], [`round`], `pages` | pure: what a unit means for each owner and round, and how answers are read from it |
//! | [`memory`], [`sqlite`] | effect and position change together; a unit at or below the position changes nothing |
//! | [`verify`] | projections equal their units |
//! | [`journal`] | the compliance journal: a hash-chained file with its position inside |
//!
//! A projection lags behind the ledger and says by how much ([`ProjectionReader::position`]); nothing here decides about money.

pub mod fold;
pub mod journal;
pub mod memory;
mod pack;
mod pages;
pub mod round;
pub mod sqlite;
pub mod verify;

use std::sync::Arc;

use protocol::{AccountId, Amount, Book, Holding, Holdings, Leg, PlayerId, RecordKey, Timestamp, frame::RoundView};
use smallvec::SmallVec;

pub use memory::MemoryProjection;
pub use sqlite::SqliteProjection;
pub use verify::verify_projections;

use crate::{
    ledger::{BoxFuture, StorageError},
    unit::{StoredUnit, UnitKey},
};

/// The largest page any query answers; larger wishes are cut to it.
pub const ANSWER_LINES_MAX: usize = 1_000;

/// The writing end; one exists, and it may live on a thread of its own, for its calls block.
pub trait ProjectionStore: Send + 'static {
    /// Stores the units' effects and the new position in one transaction; returns the position.
    ///
    /// Units must be in order and gapless; those at or below the position are passed over, so that a block may come twice.
    fn apply(&mut self, shard: u16, units: &[StoredUnit]) -> Result<u64, StorageError>;

    /// Sequence of the last unit applied.
    fn position(&mut self, shard: u16) -> Result<u64, StorageError>;

    fn reader(&self) -> Arc<dyn ProjectionReader>;
}

/// The queries; each sees one consistent state.
pub trait ProjectionReader: Send + Sync + 'static {
    /// Sequence of the last unit applied; the ledger's head minus this is the lag.
    fn position(&self, shard: u16) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// A player's rounds, newest change first, with a position below `before`.
    fn rounds(&self, player: PlayerId, before: Option<u64>, max: usize) -> BoxFuture<'_, Result<Vec<RoundView>, StorageError>>;

    /// A player's rounds last changed after a balance version, oldest first; open ones included.
    fn rounds_since_version(
        &self,
        player: PlayerId,
        after_version: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<RoundView>, StorageError>>;

    /// A round by its id. Providers' ids are unique per provider and player only; the latest changed answers.
    fn round<'a>(&'a self, player: Option<PlayerId>, round: &'a str) -> BoxFuture<'a, Result<Option<RoundView>, StorageError>>;

    /// What happened on a player's accounts, newest first, with a sequence below `before`.
    fn statement(
        &self,
        player: PlayerId,
        before: Option<u64>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<StatementLine>, StorageError>>;

    /// An account's postings of a shard after a sequence, oldest first. Pages end between units: the last unit's postings are
    /// all there, even beyond `max`.
    fn postings(
        &self,
        shard: u16,
        book: Book,
        account: AccountId,
        after: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Posting>, StorageError>>;

    /// An account's balance in a shard as of a point in it; house accounts are the sum over the shards.
    fn balance_at(&self, shard: u16, book: Book, account: AccountId, as_of: AsOf) -> BoxFuture<'_, Result<Amount, StorageError>>;

    /// Rounds that still hold stakes or wait for their close, longest unchanged first.
    fn open_rounds(&self, max: usize) -> BoxFuture<'_, Result<Vec<OpenRound>, StorageError>>;

    /// The version of the player's row after the last applied unit that wrote it; zero for an unknown player.
    fn player_version(&self, player: PlayerId) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// How many rounds a shard has.
    fn rounds_count(&self, shard: u16) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// Everything kept about the owners after one, in key order, boiled down for comparison.
    fn owner_totals(
        &self,
        shard: u16,
        after: Option<RecordKey>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<OwnerTotals>, StorageError>>;
}

/// One unit as it touched a player.
#[derive(Clone, Debug, PartialEq)]
pub struct StatementLine {
    pub sequence: u64,
    pub at: Timestamp,
    pub key: UnitKey,
    /// Type of the unit's first event; empty when it had none.
    pub kind: String,
    pub legs: SmallVec<[Leg; 4]>,
    /// Balances of the accounts the legs touched, after the unit; zero is said.
    pub balances: Vec<Holding>,
    /// Version of the player's row after the unit; zero when it was not written.
    pub version: u64,
}

/// One side of a leg.
#[derive(Clone, Debug, PartialEq)]
pub struct Posting {
    pub sequence: u64,
    pub at: Timestamp,
    pub key: UnitKey,
    pub kind: String,
    pub counterparty: AccountId,
    /// Minor units, negative when they left the account.
    pub amount: Amount,
    /// The account's balance after this posting.
    pub balance: Amount,
}

/// A point in a shard's history, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    Sequence(u64),
    /// Before the account's first unit that is later than this.
    Time(Timestamp),
}

/// A round in the operator's list.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRound {
    pub shard: u16,
    pub player: PlayerId,
    pub opened_at: Timestamp,
    pub view: RoundView,
}

/// An owner's lines boiled down.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnerTotals {
    pub owner: RecordKey,
    pub lines: u64,
    /// Version of the owner's row after its last line that wrote it.
    pub version: u64,
    pub holdings: Holdings,
    /// A digest over every line in order ([`fold::Line::digest`]).
    pub digest: u64,
}
