//! What a decision answers: a plan to carry out, or a refusal with its numbers.

use protocol::{
    Amount, BetId, ErrorCode, Fact, JackpotId, Leg, LegError, Micro, MoneyError, PlayerId, Problem, RecordKey, RoundId, Timestamp,
};
use smallvec::SmallVec;

use crate::{player::Player, round::RoundState};

/// `Err` changes nothing but what [`Refused`] says.
pub type Decision = Result<Plan, Refused>;

/// Everything a command does, to be committed as one unit. The shell adds key, body hash, encodings and ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The player after the commit: state, holdings and version + 1. The row was decided on `version − 1`.
    pub player: Player,
    pub legs: SmallVec<[Leg; 6]>,
    /// The held round's record after the commit, with the version it was decided on (zero creates it).
    pub round: Option<(RecordKey, u64, RoundState)>,
    /// A tombstone to create; it must not exist.
    pub tombstone: Option<RecordKey>,
    /// Records that must be absent at the commit (the tombstone of a bet).
    pub absent: SmallVec<[RecordKey; 1]>,
    pub facts: SmallVec<[Fact; 2]>,
    /// For the wallet to apply to the jackpots, in batch order.
    pub contributions: SmallVec<[Contribution; 1]>,
    pub done: Done,
}

/// What a bet adds to a jackpot: stake × rate, exact in micro units. Negative for a rollback.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Contribution {
    pub jackpot: JackpotId,
    pub micro: Micro,
    pub player: PlayerId,
    /// Bets of held rounds trigger at settlement only: they come twice, first with `may_trigger` false (the money), then with
    /// zero `micro` and `may_trigger` true.
    pub may_trigger: bool,
}

/// What was done, for the reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    Opened,
    Funded,
    SessionStarted {
        resumed: bool,
    },
    SessionEnded,
    Spun {
        round: RoundId,
        stake_cash: Amount,
        stake_bonus: Amount,
        win_cash: Amount,
        win_bonus: Amount,
    },
    BetAccepted,
    WinPaid {
        receivable: Amount,
    },
    RolledBack {
        receivable: Amount,
    },
    Tombstoned,
    AlreadyRolledBack,
    RoundClosed,
    RoundVoided,
    PromoPaid,
    RealityChecked,
    LimitSet {
        effective_at: Timestamp,
        pending: bool,
    },
    Excluded {
        until: Option<Timestamp>,
    },
    BonusIssued,
    BonusEnded,
    SeedRotated,
    /// Due expiries fired; `next` is when to look again.
    Ticked {
        next: Option<Timestamp>,
    },
}

/// A refusal. When `is_final`, it becomes a unit without legs: reply and facts are stored under the command's key.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub why: Rejected,
    pub facts: SmallVec<[Fact; 2]>,
    /// The player with what the refusal itself changed (a reality check became pending); `None` when nothing did.
    pub player: Option<Player>,
}

impl From<Rejected> for Refused {
    fn from(why: Rejected) -> Self {
        Self { why, facts: SmallVec::new(), player: None }
    }
}

impl From<MoneyError> for Refused {
    fn from(error: MoneyError) -> Self {
        Rejected::Money(error).into()
    }
}

impl From<LegError> for Refused {
    fn from(error: LegError) -> Self {
        match error {
            LegError::Money(error) => error.into(),
            LegError::NotPositive => Rejected::InvalidValue { what: "a transfer moves a positive amount" }.into(),
            // Every rule looks before it moves; if one forgot, the ledger's floor still holds.
            LegError::BelowZero { .. } => Rejected::InsufficientFunds { available: Amount::ZERO }.into(),
        }
    }
}

/// Why a command is refused, with its numbers (MONEY.md, A bet: the first refusal wins).
#[derive(Clone, Debug, PartialEq)]
pub enum Rejected {
    AccountBlocked,
    SelfExcluded {
        until: Option<Timestamp>,
    },
    TimedOut {
        until: Option<Timestamp>,
    },
    NoSession,
    GameDisabled,
    UnknownGame,
    WrongCurrency,
    StakeTooLow {
        min: Amount,
    },
    StakeTooHigh {
        max: Amount,
    },
    StakeStep {
        steps: Vec<Amount>,
    },
    GameCycle {
        wait_ms: i64,
    },
    RealityCheckPending {
        seconds: i64,
        wagered: Amount,
        returned: Amount,
    },
    SessionTimeLimit {
        limit_s: i64,
        elapsed_s: i64,
    },
    InsufficientFunds {
        available: Amount,
    },
    StakeLimit {
        limit: Amount,
        round_stake: Amount,
    },
    WagerLimit {
        window: protocol::frame::LimitWindow,
        limit: Amount,
        spent: Amount,
    },
    LossLimit {
        window: protocol::frame::LimitWindow,
        limit: Amount,
        spent: Amount,
    },
    BonusMaxBet {
        max: Amount,
    },
    BonusActive,
    UnknownGrant,
    RoundOpen {
        round: String,
    },
    RoundClosed,
    RoundMismatch,
    UnknownRound,
    TooManyBets,
    BetNotFound,
    BetRolledBack,
    BetAlreadySettled,
    /// The id named is a transaction of another round or player.
    ReferenceMismatch {
        transaction: BetId,
    },
    InvalidValue {
        what: &'static str,
    },
    /// The player already exists, or a session runs: nothing to do.
    Nothing,
    Money(MoneyError),
}

impl Rejected {
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::AccountBlocked => ErrorCode::AccountBlocked,
            Self::SelfExcluded { .. } => ErrorCode::SelfExcluded,
            Self::TimedOut { .. } => ErrorCode::TimedOut,
            Self::NoSession => ErrorCode::NoSession,
            Self::GameDisabled => ErrorCode::GameDisabled,
            Self::UnknownGame => ErrorCode::UnknownGame,
            Self::WrongCurrency => ErrorCode::WrongCurrency,
            Self::StakeTooLow { .. } => ErrorCode::StakeTooLow,
            Self::StakeTooHigh { .. } => ErrorCode::StakeTooHigh,
            Self::StakeStep { .. } => ErrorCode::StakeStep,
            Self::GameCycle { .. } => ErrorCode::GameCycle,
            Self::RealityCheckPending { .. } => ErrorCode::RealityCheckPending,
            Self::SessionTimeLimit { .. } => ErrorCode::SessionTimeLimit,
            Self::InsufficientFunds { .. } => ErrorCode::InsufficientFunds,
            Self::StakeLimit { .. } => ErrorCode::StakeLimit,
            Self::WagerLimit { .. } => ErrorCode::WagerLimit,
            Self::LossLimit { .. } => ErrorCode::LossLimit,
            Self::BonusMaxBet { .. } => ErrorCode::BonusMaxBet,
            Self::BonusActive => ErrorCode::BonusActive,
            Self::UnknownGrant => ErrorCode::UnknownGrant,
            Self::RoundOpen { .. } => ErrorCode::RoundOpen,
            Self::RoundClosed => ErrorCode::RoundClosed,
            Self::RoundMismatch | Self::ReferenceMismatch { .. } => ErrorCode::RoundMismatch,
            Self::UnknownRound => ErrorCode::UnknownRound,
            Self::TooManyBets => ErrorCode::TooManyBets,
            Self::BetNotFound => ErrorCode::BetNotFound,
            Self::BetRolledBack => ErrorCode::BetRolledBack,
            Self::BetAlreadySettled => ErrorCode::BetAlreadySettled,
            Self::InvalidValue { .. } | Self::Nothing => ErrorCode::InvalidValue,
            Self::Money(_) => ErrorCode::InvalidAmount,
        }
    }

    /// Final refusals are stored under their key; the others may be sent again (MONEY.md, The unit of work, 2).
    /// A win for an unknown bet is retryable: the bet may still come.
    pub const fn is_final(&self) -> bool {
        !matches!(self.code().retry(), protocol::problem::Retry::Later)
    }

    /// The refusal as the wire says it.
    pub fn problem(&self) -> Problem {
        let problem = Problem::new(self.code());
        match self {
            Self::SelfExcluded { until } | Self::TimedOut { until } => problem.number("until", until.map(|t| t.0)),
            Self::StakeTooLow { min } => problem.number("min", min.0),
            Self::StakeTooHigh { max } | Self::BonusMaxBet { max } => problem.number("max", max.0),
            Self::StakeStep { steps } => problem.number("steps", steps.iter().map(|a| a.0).collect::<Vec<_>>()),
            Self::GameCycle { wait_ms } => problem.number("wait_ms", *wait_ms),
            Self::RealityCheckPending { seconds, wagered, returned } => {
                problem.number("seconds", *seconds).number("wagered", wagered.0).number("returned", returned.0)
            }
            Self::SessionTimeLimit { limit_s, elapsed_s } => problem.number("limit", *limit_s).number("spent", *elapsed_s),
            Self::InsufficientFunds { available } => problem.number("available", available.0),
            Self::StakeLimit { limit, round_stake } => problem.number("limit", limit.0).number("spent", round_stake.0),
            Self::WagerLimit { window, limit, spent } | Self::LossLimit { window, limit, spent } => {
                problem.number("window", window.as_str()).number("limit", limit.0).number("spent", spent.0)
            }
            Self::RoundOpen { round } => problem.number("round", round.as_str()),
            Self::ReferenceMismatch { transaction } => problem.detail(format!("{transaction} belongs to another round")),
            Self::InvalidValue { what } => problem.detail(*what),
            Self::Money(error) => problem.detail(error.to_string()),
            _ => problem,
        }
    }
}
