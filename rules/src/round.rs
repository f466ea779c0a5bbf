//! A held round's record: its bets and wins with what each holds, so that every later call finds its money.

use protocol::event::ContributionShare;
use protocol::{Amount, BetId, GameId, Micro, PlayerId, ProviderId, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// A round of a provider (or a hosted round that holds stakes). The record's key is derived from provider and round id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundState {
    pub provider: ProviderId,
    /// The provider's own id of the round.
    pub round: String,
    pub player: PlayerId,
    pub session: SessionId,
    pub game: GameId,
    pub opened_at: Timestamp,
    pub status: RoundStatus,
    pub transactions: SmallVec<[Transaction; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoundStatus {
    Open,
    Closed,
    /// Ended by the operator; a late win first retakes the stake.
    Voided,
}

/// One bet or win of the round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transaction {
    pub id: BetId,
    pub at: Timestamp,
    pub kind: TransactionKind,
    pub cash: Amount,
    pub bonus: Amount,
    /// Number of the grant the bet was placed under, or the bonus part of a win went to; zero without one. A bet paid with
    /// cash alone names it too: its stake counts toward that grant's requirement.
    pub grant: u32,
    pub status: TransactionStatus,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TransactionKind {
    Bet {
        is_free: bool,
        /// Numbers of the day, week and month the stake counted in.
        windows: [i32; 3],
        /// What the stake adds to the wagering progress once settled.
        weighted: Amount,
        contributions: SmallVec<[ContributionShare; 1]>,
        /// Cash returned on this bet so far (net loss is corrected in the bet's own windows).
        returned: Amount,
    },
    Win {
        bet: BetId,
        /// What the win added to the carry: negative when earlier carries made a unit that this win paid.
        micro: Micro,
        /// The bonus share that stayed with the house because its grant had ended (bonus cost).
        withheld: Amount,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransactionStatus {
    /// A stake in play.
    Held,
    /// A stake released to the house, or a win paid.
    Settled,
    RolledBack,
    /// Returned by the operator or a deadline.
    Voided,
}

impl RoundState {
    pub const TRANSACTIONS_MAX: usize = 64;
    const ENCODING_VERSION: u8 = 1;

    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![Self::ENCODING_VERSION]).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, crate::player::DecodeError> {
        match bytes.split_first() {
            Some((&Self::ENCODING_VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| crate::player::DecodeError),
            _ => Err(crate::player::DecodeError),
        }
    }
}
