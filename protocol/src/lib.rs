//! The words everybody shares: ids, money, time, frames, events, the provider contract and the list of errors.
//!
//! This crate never does IO, reads no clock and draws no randomness; it only says how things look on the wire.

pub mod account;
pub mod event;
pub mod frame;
pub mod id;
pub mod money;
pub mod problem;
pub mod provider;
pub mod signature;
pub mod time;

pub use account::{AccountCode, AccountId, Book, Holding, Holdings, Leg, LegError, OwnerKind, RecordKey};
pub use event::{Envelope, EventHeader, EventPack, Fact, PackedEvent};
pub use id::{
    BetId, EventId, GameId, GrantId, JackpotId, PlayerId, ProviderId, RequestId, RoundId, SessionId, Slug, TenantId, TraceId,
};
pub use money::{Amount, Balance, Currency, Micro, MoneyError};
pub use problem::{ErrorCode, Problem};
pub use time::Timestamp;
