//! Provider contract v1: what a game provider sends to `/v1/provider/…` and what it gets back.
//!
//! All are POST with a JSON body, signed as [`crate::signature`] says. Money is a decimal string beside its currency.
//! Transaction ids are UUIDv7, unique per provider for ever. HTTP 200 means durable; anything else is a problem document.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Currency, GameId, PlayerId, SessionId};

/// Longest round or campaign id a provider may use, in bytes.
pub const ROUND_ID_LEN_MAX: usize = 64;

pub mod path {
    pub const AUTHENTICATE: &str = "/v1/provider/authenticate";
    pub const BALANCE: &str = "/v1/provider/balance";
    pub const BET: &str = "/v1/provider/bet";
    pub const WIN: &str = "/v1/provider/win";
    pub const ROLLBACK: &str = "/v1/provider/rollback";
    pub const ROUND_CLOSE: &str = "/v1/provider/round/close";
    pub const PROMO_WIN: &str = "/v1/provider/promo_win";
}

/// Exchanges a launch token for the player behind it. The token is short-lived and for one provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authenticate {
    pub launch_token: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Authenticated {
    pub player_id: PlayerId,
    pub session_id: SessionId,
    pub game_id: GameId,
    #[serde(flatten)]
    pub balance: BalanceReply,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BalanceQuery {
    pub player_id: PlayerId,
}

/// Balances after the last commit, decimal strings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BalanceReply {
    pub currency: Currency,
    pub cash: String,
    pub bonus: String,
    pub in_play: String,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bet {
    pub transaction_id: Uuid,
    pub player_id: PlayerId,
    pub session_id: SessionId,
    pub round_id: String,
    pub game_id: GameId,
    /// Whole minor units; a finer stake is refused.
    pub amount: String,
    pub currency: Currency,
    /// A free round's bet: the stake is the provider's, `amount` must be zero.
    #[serde(default)]
    pub is_free: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Win {
    pub transaction_id: Uuid,
    pub player_id: PlayerId,
    pub round_id: String,
    /// The bet this pays; must be of the same round.
    pub bet_transaction_id: Uuid,
    /// Zero settles a loss. A part below a minor unit is carried exactly.
    pub amount: String,
    pub currency: Currency,
    /// The last win of the round: releases every stake it still holds and closes it.
    #[serde(default)]
    pub is_final: bool,
}

/// Takes a bet or a win back. The rollback of an id never seen is accepted and remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    pub transaction_id: Uuid,
    pub player_id: PlayerId,
    pub round_id: String,
    pub reference_transaction_id: Uuid,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoundClose {
    pub transaction_id: Uuid,
    pub player_id: PlayerId,
    pub round_id: String,
}

/// A win without a bet, charged to bonus cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromoWin {
    pub transaction_id: Uuid,
    pub player_id: PlayerId,
    pub campaign_id: String,
    pub amount: String,
    pub currency: Currency,
}

/// The stored answer to every money call; a repeat gets these bytes again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MoneyReply {
    /// The caller's transaction id.
    pub transaction_id: Uuid,
    /// What the call did.
    pub outcome: Outcome,
    /// What a reversal could not take from the player, decimal string; absent when nothing is owed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receivable: Option<String>,
    #[serde(flatten)]
    pub balance: BalanceReply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    BetAccepted,
    WinPaid,
    RolledBack,
    /// The reference was unknown (or refused): nothing moved, and a late bet with it will be refused.
    Tombstoned,
    /// The reference had been rolled back before under another id: nothing moved.
    AlreadyRolledBack,
    RoundClosed,
    PromoPaid,
}
