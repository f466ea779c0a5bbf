//! What a player's actor is told.

use protocol::{Balance, Currency, PlayerId, SessionId, TenantId, Timestamp, frame};
use tokio::sync::oneshot;

use crate::{
    command::Command,
    wallet::{Receipt, Winner},
};

/// Messages of the player actor.
#[derive(Debug)]
pub enum PlayerMessage {
    /// Decide and carry out, one at a time, in order.
    Execute(Box<Command>),
    /// What became of the plan in flight; an older token is of an earlier plan.
    Receipt { token: u64, receipt: Receipt },
    /// The plan in flight met a dead wallet: submit it again.
    Resubmit { token: u64 },
    /// The wallet paid a jackpot into this player's row.
    JackpotWon(Winner),
    /// What the player looks like now.
    Snapshot(oneshot::Sender<Result<Snapshot, protocol::ErrorCode>>),
    /// An expiry may be due.
    Tick,
}

/// A player for the edge: the welcome, limits and fairness pages are made from it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub player: PlayerId,
    pub tenant: TenantId,
    pub currency: Currency,
    pub session: Option<(SessionId, Timestamp)>,
    pub balance: Balance,
    pub bonus: Option<frame::BonusView>,
    pub reality_check: Option<frame::RealityCheckView>,
    pub fairness: frame::FairnessView,
    pub limits: Vec<frame::LimitView>,
}
