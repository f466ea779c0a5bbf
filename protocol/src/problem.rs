//! The one list of errors, shared by frames, provider replies and HTTP problem details (RFC 9457).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whether the same command may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// The answer is final and stored: the same id gets the same answer.
    Never,
    /// Nothing was stored; the same id may be sent again later.
    Later,
    /// Not known whether it happened: repeat with the same id to find out.
    SameId,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $retry:ident, $title:literal;)*) => {
        /// Stable codes. A code never changes its meaning; new ones are added at the end of their group.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ErrorCode {
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status an edge answers with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }

            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

error_codes! {
    // What was sent could not be understood.
    MalformedFrame = "malformed_frame", 400, Never, "The frame is not valid JSON of the expected shape";
    MalformedBody = "malformed_body", 400, Never, "The body is not valid JSON of the expected shape";
    Oversize = "oversize", 413, Never, "The message is larger than allowed";
    UnsupportedVersion = "unsupported_version", 400, Never, "This version of the protocol is not spoken here";
    UnknownType = "unknown_type", 400, Never, "No request of this type exists";
    NotUuidV7 = "not_uuid_v7", 400, Never, "The id must be a UUID of version 7";
    InvalidAmount = "invalid_amount", 400, Never, "The amount cannot be read";
    SubMinorStake = "sub_minor_stake", 400, Never, "A stake has no part below a minor unit";
    WrongCurrency = "wrong_currency", 422, Never, "The currency is not the session's";
    InvalidValue = "invalid_value", 422, Never, "A value is outside what is allowed";
    NotFound = "not_found", 404, Never, "There is nothing at this address";
    MethodNotAllowed = "method_not_allowed", 405, Never, "This address does not take this method";
    // Who sent it.
    Unauthenticated = "unauthenticated", 401, Never, "The first frame must be a hello with a valid token";
    TokenInvalid = "token_invalid", 401, Never, "The token is not valid";
    TokenExpired = "token_expired", 401, Never, "The token has expired";
    OriginRefused = "origin_refused", 403, Never, "This origin may not connect";
    SignatureInvalid = "signature_invalid", 401, Never, "The signature does not match";
    SignatureExpired = "signature_expired", 401, Later, "The timestamp is outside the replay window";
    KeyUnknown = "key_unknown", 401, Never, "The key id is not known or no longer valid";
    Forbidden = "forbidden", 403, Never, "This caller may not do that";
    // What it was about.
    UnknownPlayer = "unknown_player", 404, Never, "No such player";
    UnknownGame = "unknown_game", 404, Never, "No such game";
    UnknownRound = "unknown_round", 404, Never, "No such round";
    UnknownGrant = "unknown_grant", 404, Never, "No such bonus grant";
    UnknownCampaign = "unknown_campaign", 404, Never, "No such campaign";
    BetNotFound = "bet_not_found", 404, Later, "The bet this refers to is not known";
    // Player protection and account state.
    AccountBlocked = "account_blocked", 403, Never, "The account is not open for play";
    SelfExcluded = "self_excluded", 403, Never, "The player is self-excluded";
    TimedOut = "timed_out", 403, Never, "The player is taking a time-out";
    NoSession = "no_session", 409, Never, "There is no active play session";
    SessionReplaced = "session_replaced", 409, Never, "Another connection has taken over the session";
    RealityCheckPending = "reality_check_pending", 409, Never, "A reality check must be acknowledged first";
    SessionTimeLimit = "session_time_limit", 403, Never, "The session time limit is reached";
    StakeLimit = "stake_limit", 403, Never, "The stake is over the stake limit";
    WagerLimit = "wager_limit", 403, Never, "The bet would pass the wager limit";
    LossLimit = "loss_limit", 403, Never, "The bet would pass the loss limit";
    LimitUnknown = "limit_unknown", 503, Later, "The player's limits could not be read, so nothing is allowed";
    // The game and the bet.
    GameDisabled = "game_disabled", 403, Never, "The game is not open";
    StakeTooLow = "stake_too_low", 422, Never, "The stake is below the game's minimum";
    StakeTooHigh = "stake_too_high", 422, Never, "The stake is above the game's maximum";
    StakeStep = "stake_step", 422, Never, "The stake is not one of the game's steps";
    GameCycle = "game_cycle", 429, Never, "The next round may not start yet";
    RoundOpen = "round_open", 409, Never, "An interrupted round of this game must be resolved first";
    RoundClosed = "round_closed", 409, Never, "The round takes no more bets";
    RoundMismatch = "round_mismatch", 409, Never, "The round belongs to another player, game or currency";
    BetRolledBack = "bet_rolled_back", 409, Never, "The bet was rolled back before it came";
    BetAlreadySettled = "bet_already_settled", 409, Never, "The bet is already settled";
    TooManyBets = "too_many_bets", 409, Never, "The round holds as many transactions as it may";
    InsufficientFunds = "insufficient_funds", 402, Never, "The funds do not cover the stake";
    BonusMaxBet = "bonus_max_bet", 403, Never, "The stake is over the bonus terms' maximum bet";
    BonusActive = "bonus_active", 409, Never, "Another bonus is still active";
    // Commands.
    IdConflict = "id_conflict", 409, Never, "The id was used before with other content";
    LimitRelaxPending = "limit_relax_pending", 202, Never, "Relaxing the limit waits for its time and a confirmation";
    // The server.
    Busy = "busy", 503, Later, "Too much is waiting; retry";
    Unavailable = "unavailable", 503, Later, "The service cannot take this now; retry";
    DeadlinePassed = "deadline_passed", 503, Later, "The command waited longer than its deadline and was not tried";
    Unknown = "unknown", 503, SameId, "The outcome is not known; repeat with the same id";
    RateLimited = "rate_limited", 429, Later, "Too many requests";
    ShuttingDown = "shutting_down", 503, Later, "The server is stopping; reconnect";
    Internal = "internal", 500, SameId, "The server failed; repeat with the same id";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as the wire says it; as HTTP it is `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// `urn:pitboss:error:<code>`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub code: ErrorCode,
    pub retry: Retry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The numbers of a refusal: limit, spent, wait_ms, …
    #[serde(flatten)]
    pub numbers: BTreeMap<String, Value>,
}

impl Problem {
    pub fn new(code: ErrorCode) -> Self {
        Self {
            kind: format!("urn:pitboss:error:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            retry: code.retry(),
            detail: None,
            numbers: BTreeMap::new(),
        }
    }

    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub fn number(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.numbers.insert(name.to_owned(), value.into());
        self
    }
}

impl From<ErrorCode> for Problem {
    fn from(code: ErrorCode) -> Self {
        Self::new(code)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.detail.as_deref().unwrap_or(&self.title))
    }
}

impl std::error::Error for Problem {}
