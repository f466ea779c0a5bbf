//! What is durable: the ledger, event segments and projections. Storage knows units, legs, records and bytes; no rule.
//!
//! | store | written by | read by | back ends |
//! |---|---|---|---|
//! | ledger ([`ledger`]) | the wallet of a shard only | wallet, actors on start, relay, verify | [`sqlite`], [`memory`] |
//! | event segments ([`segments`]) | the relay | followers | files |
//! | projections ([`projection`]) | their follower | statements, history, audit | [`sqlite`], [`memory`] |

pub mod anchor;
pub mod ledger;
pub mod memory;
pub mod projection;
pub mod segments;
pub mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod unit;
pub mod verify;

pub use ledger::{CommitError, Ledger, Receipt, Refusal, ShardHead, ShardWriter, StorageError, StoredRecord};
pub use unit::{Guard, RecordWrite, Source, StoredUnit, UnitKey, UnitOfWork};
