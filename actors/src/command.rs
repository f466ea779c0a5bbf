//! What the edge, the rounds and the timers ask of a player, each with the key that makes it repeatable.

use std::{sync::Arc, time::Instant};

use protocol::{
    Amount, BetId, Currency, GameId, GrantId, Micro, ProviderId, RoundId, SessionId, TraceId,
    frame::{LimitKind, LimitWindow},
};
use rules::RoundState;
use storage::UnitKey;

use crate::{
    admission::Permit,
    answer::{Lost, Port, Responder},
    game::OutcomeSource,
};

/// One command on its way to a player's actor.
#[derive(Debug)]
pub struct Command {
    pub key: UnitKey,
    /// BLAKE3 over the command's canonical bytes.
    pub body_hash: [u8; 32],
    pub trace: TraceId,
    /// Checked before deciding; once submitted, nothing times out into a refusal.
    pub deadline: Instant,
    pub action: Action,
    pub reply: Responder,
    /// Tells the round that asked what became of its record.
    pub round: Option<Port<RoundOutcome>>,
    /// The place at the admission bound; `None` for the core's own commands.
    pub permit: Option<Permit>,
}

/// What the player shall do.
pub enum Action {
    Open {
        currency: Currency,
        tenant: protocol::TenantId,
        client_seed: String,
    },
    Fund {
        source: String,
        amount: Amount,
    },
    StartSession {
        session: SessionId,
    },
    EndSession {
        reason: String,
    },
    /// An instant hosted round; `source` belongs to the round that asks.
    Spin {
        game: GameId,
        stake: Amount,
        round: RoundId,
        bet: BetId,
        source: Arc<dyn OutcomeSource>,
    },
    Held {
        call: HeldCall,
        provider: ProviderId,
        round: String,
        stored: Option<(u64, RoundState)>,
    },
    PromoWin {
        provider: ProviderId,
        transaction: BetId,
        campaign: String,
        amount: Amount,
        micro: Micro,
        currency: Currency,
    },
    AcknowledgeRealityCheck,
    SetLimit {
        limit: LimitKind,
        window: Option<LimitWindow>,
        value: Option<i64>,
    },
    TimeOut {
        hours: u32,
    },
    SelfExclude {
        months: Option<u32>,
    },
    IssueBonus {
        offer: String,
        grant: GrantId,
    },
    ForfeitBonus {
        grant: GrantId,
    },
    RotateSeed {
        client_seed: String,
    },
    /// Fires what is due.
    Tick,
}

/// A provider's call about a held round.
#[derive(Clone, Debug)]
pub enum HeldCall {
    Bet {
        transaction: BetId,
        game: GameId,
        session: SessionId,
        stake: Amount,
        currency: Currency,
        is_free: bool,
    },
    Win {
        transaction: BetId,
        bet: BetId,
        amount: Amount,
        micro: Micro,
        currency: Currency,
        is_final: bool,
    },
    Rollback {
        transaction: BetId,
        reference: BetId,
    },
    Close {
        transaction: BetId,
    },
    /// The operator's void.
    Void {
        transaction: BetId,
        reason: String,
    },
}

impl HeldCall {
    pub const fn transaction(&self) -> BetId {
        match self {
            Self::Bet { transaction, .. }
            | Self::Win { transaction, .. }
            | Self::Rollback { transaction, .. }
            | Self::Close { transaction }
            | Self::Void { transaction, .. } => *transaction,
        }
    }
}

impl Action {
    /// For metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Fund { .. } => "fund",
            Self::StartSession { .. } => "session.start",
            Self::EndSession { .. } => "session.end",
            Self::Spin { .. } => "spin",
            Self::Held { call: HeldCall::Bet { .. }, .. } => "bet",
            Self::Held { call: HeldCall::Win { .. }, .. } => "win",
            Self::Held { call: HeldCall::Rollback { .. }, .. } => "rollback",
            Self::Held { call: HeldCall::Close { .. }, .. } => "round.close",
            Self::Held { call: HeldCall::Void { .. }, .. } => "round.void",
            Self::PromoWin { .. } => "promo_win",
            Self::AcknowledgeRealityCheck => "reality_check.ack",
            Self::SetLimit { .. } => "limit.set",
            Self::TimeOut { .. } => "rg.time_out",
            Self::SelfExclude { .. } => "rg.self_exclude",
            Self::IssueBonus { .. } => "bonus.issue",
            Self::ForfeitBonus { .. } => "bonus.forfeit",
            Self::RotateSeed { .. } => "fairness.rotate",
            Self::Tick => "tick",
        }
    }

    /// Whether the player did this at our own client, which then needs no push about it.
    pub const fn is_own(&self) -> bool {
        !matches!(self, Self::Held { .. } | Self::PromoWin { .. } | Self::Fund { .. } | Self::IssueBonus { .. } | Self::Tick)
    }
}

impl std::fmt::Debug for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a held round learns of its record.
#[derive(Clone, Debug)]
pub enum RoundOutcome {
    /// The record after the commit.
    Saved(Option<(u64, RoundState)>),
    Unchanged,
    /// Not known: read the record again.
    Unknown,
}

impl Lost for RoundOutcome {
    fn lost() -> Self {
        Self::Unknown
    }
}

/// BLAKE3 over a command's name and its canonical JSON.
pub fn body_hash(name: &str, body: &impl serde::Serialize) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    hash.update(name.as_bytes());
    hash.update(&[0]);
    // Request types are plain data: writing them to memory cannot fail.
    hash.update(&serde_json::to_vec(body).unwrap_or_default());
    hash.finalize().into()
}
