//! What a wallet is told, and what it tells whoever submitted.

use std::time::Instant;

use protocol::{RoundId, TraceId};
use rules::Contribution;
use smallvec::SmallVec;
use storage::{Refusal, UnitOfWork};

use crate::answer::{Lost, Port};

/// Messages of the wallet actor.
#[derive(Debug)]
pub enum WalletMessage {
    /// A unit to commit with whatever queues beside it.
    Submit(Box<Submission>),
    /// The batch in flight is over; its ports are answered.
    BatchDone,
    /// The commit's outcome is unknown or the shard was lost: this incarnation ends.
    Faulted(String),
    /// Answer when nothing is queued or in flight.
    Drain(tokio::sync::oneshot::Sender<()>),
}

/// One unit on its way into the ledger.
#[derive(Debug)]
pub struct Submission {
    pub unit: UnitOfWork,
    /// For the wallet to apply to the jackpots, in batch order.
    pub contributions: SmallVec<[Contribution; 1]>,
    /// The round the contributions came from, for a win's record.
    pub round: RoundName,
    pub trace: TraceId,
    pub submitted_at: Instant,
    pub port: Port<Receipt>,
}

/// A round by our own id or by its provider's.
#[derive(Clone, Debug)]
pub enum RoundName {
    None,
    Hosted(RoundId),
    Provider(String),
}

impl std::fmt::Display for RoundName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Hosted(round) => std::fmt::Display::fmt(round, f),
            Self::Provider(round) => f.write_str(round),
        }
    }
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq)]
pub enum Receipt {
    /// Durable at this sequence of the shard.
    Committed { sequence: u64 },
    /// Refused alone; nothing was stored.
    Refused(Refusal),
    /// Certainly not stored: the store cannot take it now.
    Unavailable,
    /// The wallet died on the way: submit the same unit again, its key tells.
    Unknown,
}

impl Lost for Receipt {
    fn lost() -> Self {
        Self::Unknown
    }
}
