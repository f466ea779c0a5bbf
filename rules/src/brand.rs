//! What the operator decides: brands, games and the jurisdiction's policy values. Configuration builds these once.

use jiff::tz::TimeZone;
use protocol::{Amount, Book, Currency, GameId, JackpotId, ProviderId, Slug, TenantId};

/// A brand with its licence, time zone and policy.
#[derive(Clone, Debug)]
pub struct Brand {
    pub tenant: TenantId,
    pub licence: Slug,
    /// Data residency, written on every event.
    pub region: Slug,
    /// Limit windows start at local midnight here.
    pub time_zone: TimeZone,
    pub policy: Policy,
}

impl Brand {
    pub const fn book(&self, currency: Currency) -> Book {
        Book { tenant: self.tenant, licence: self.licence, currency }
    }
}

/// A jurisdiction's values. Every figure is policy, named and versioned; none stands in code.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Name and version, e.g. `demo@1`; written on every limit event.
    pub name: String,
    /// Least time from start to start of rounds of one game and player, by kind of game, milliseconds.
    pub slot_cycle_ms: i64,
    pub table_cycle_ms: i64,
    /// Reality check interval when the player set none, seconds; `None` switches it off.
    pub reality_check_s: Option<i64>,
    /// The play session ends after this much inactivity, seconds.
    pub session_inactivity_s: i64,
    /// The operator's own ceilings; the stricter of these and the player's wins.
    pub operator_limits: OperatorLimits,
    /// How long relaxing a limit waits, seconds.
    pub limit_relax_s: i64,
    /// Most a bonus converts to, as a multiple of the grant; `None` is no cap beyond the offer's own.
    pub bonus_cash_out_multiple_max: Option<u32>,
}

/// Operator ceilings, minor units of the player's currency or seconds. Windows are day, week, month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperatorLimits {
    pub stake: Option<Amount>,
    pub wager: [Option<Amount>; 3],
    pub loss: [Option<Amount>; 3],
    pub session_time_s: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GameKind {
    Slot,
    Table,
}

/// A game of the catalogue.
#[derive(Clone, Debug, PartialEq)]
pub struct Game {
    pub id: GameId,
    pub name: String,
    pub provider: ProviderId,
    pub kind: GameKind,
    /// Ops can close a game; rounds in progress finish.
    pub enabled: bool,
    /// Whether we draw (over WebSocket) or the provider does (callbacks).
    pub hosted: bool,
    pub min_stake: Amount,
    pub max_stake: Amount,
    /// Allowed stakes of a hosted game; empty allows every stake between the bounds.
    pub steps: Vec<Amount>,
    /// Share of a stake that counts toward a wagering requirement, parts per million.
    pub wager_weight_ppm: u32,
    /// Whether bonus funds may be staked at all.
    pub bonus_eligible: bool,
    pub jackpot: Option<JackpotRate>,
    pub rtp_ppm: u32,
}

/// What a game's stakes add to a jackpot; the whole rate is `main + reserve`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JackpotRate {
    pub jackpot: JackpotId,
    pub rate_ppm: u32,
}
