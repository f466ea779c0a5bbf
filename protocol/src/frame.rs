//! WebSocket frames, version 1: JSON text both ways.
//!
//! | direction | shape |
//! |---|---|
//! | request | `{"v":1,"id":<uuid v7>,"type":"spin","data":{…}}` |
//! | reply | `{"v":1,"re":<id>,"ok":{…}}`, with `"replayed":true` when it was stored by an earlier request of the same id |
//! | refusal | `{"v":1,"re":<id>,"error":{problem}}` |
//! | push | `{"v":1,"seq":<n>,"push":"balance","data":{…}}`; `seq` grows by one per push of a connection |

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    Amount, Balance, Currency, ErrorCode, GameId, GrantId, JackpotId, PlayerId, Problem, ProviderId, RequestId, RoundId, SessionId,
    Timestamp, event::RawJson,
};

pub const VERSION: u8 = 1;

/// One request of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientFrame {
    pub id: RequestId,
    pub request: Request,
}

macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident($payload:ident) = $text:literal;)*) => {
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request {
            $($(#[$doc])* $name($payload),)*
        }

        impl Request {
            pub const TYPES: &'static [&'static str] = &[$($text),*];

            pub const fn type_name(&self) -> &'static str {
                match self { $(Self::$name(_) => $text,)* }
            }

            fn parse(type_name: &str, data: &str) -> Result<Self, Problem> {
                match type_name {
                    $($text => parse_data::<$payload>(type_name, data).map(Self::$name),)*
                    _ => Err(Problem::new(ErrorCode::UnknownType).number("known", Self::TYPES)),
                }
            }

            fn data(&self) -> serde_json::Result<Box<RawValue>> {
                match self { $(Self::$name(data) => serde_json::value::to_raw_value(data),)* }
            }

            /// The JSON Schema of each request's data, by type.
            pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
                vec![$(($text, schemars::schema_for!($payload))),*]
            }
        }
    };
}

requests! {
    /// Must be the first frame: authenticates, and starts or resumes the play session.
    Hello(Hello) = "hello";
    Spin(Spin) = "spin";
    Balance(Empty) = "balance";
    RealityCheckAck(Empty) = "reality_check.ack";
    LimitSet(SetLimit) = "limit.set";
    LimitGet(Empty) = "limit.get";
    TimeOut(TakeTimeOut) = "rg.time_out";
    SelfExclude(SelfExclude) = "rg.self_exclude";
    BonusForfeit(ForfeitBonus) = "bonus.forfeit";
    Fairness(Empty) = "fairness.get";
    FairnessRotate(RotateSeed) = "fairness.rotate";
    History(HistoryQuery) = "history";
    Round(RoundQuery) = "round";
    Launch(LaunchGame) = "game.launch";
    Leaderboard(Empty) = "leaderboard";
    SessionEnd(Empty) = "session.end";
    Ping(Empty) = "ping";
}

macro_rules! data {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
    )*};
}

data! {
    Empty {}
    Hello {
        token: String,
        /// After a drop: the highest balance version the client has seen. Rounds settled since come back in the reply.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resume_from: Option<u64>,
    }
    Spin {
        game: GameId,
        /// Minor units of the session's currency.
        stake: Amount,
    }
    SetLimit {
        limit: LimitKind,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<LimitWindow>,
        /// Minor units, or seconds for session time and the reality check; absent removes the player's own limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<i64>,
    }
    TakeTimeOut { hours: u32, }
    SelfExclude {
        /// Absent: for ever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        months: Option<u32>,
    }
    ForfeitBonus { grant: GrantId, }
    RotateSeed {
        /// 1 to 64 printable ASCII characters of the player's choice.
        client_seed: String,
    }
    HistoryQuery {
        /// Only rounds before this position; absent starts at the newest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
    }
    RoundQuery { round: String, }
    LaunchGame { game: GameId, }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    Stake,
    Wager,
    Loss,
    /// Seconds of one play session.
    SessionTime,
    /// Seconds between reality checks.
    RealityCheck,
}

impl LimitKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stake => "stake",
            Self::Wager => "wager",
            Self::Loss => "loss",
            Self::SessionTime => "session_time",
            Self::RealityCheck => "reality_check",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitWindow {
    Day,
    Week,
    Month,
}

impl LimitWindow {
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

fn parse_data<T: DeserializeOwned>(type_name: &str, data: &str) -> Result<T, Problem> {
    serde_json::from_str(data)
        .map_err(|error| Problem::new(ErrorCode::MalformedFrame).detail(format!("data of {type_name}: {error}")))
}

/// A frame that could not be read. The request id is kept when it could be made out, so that the refusal finds its request.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameError {
    pub re: Option<RequestId>,
    pub problem: Problem,
}

impl ClientFrame {
    /// Reads one text frame.
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw<'a> {
            v: u8,
            id: Uuid,
            #[serde(rename = "type", borrow)]
            type_name: std::borrow::Cow<'a, str>,
            #[serde(default, borrow)]
            data: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct OnlyId {
            id: Uuid,
        }
        let raw: Raw<'_> = serde_json::from_str(text).map_err(|error| FrameError {
            re: serde_json::from_str::<OnlyId>(text).ok().map(|only| RequestId(only.id)),
            problem: Problem::new(ErrorCode::MalformedFrame).detail(error.to_string()),
        })?;
        let id = RequestId(raw.id);
        let refuse = |problem| FrameError { re: Some(id), problem };
        if raw.v != VERSION {
            return Err(refuse(Problem::new(ErrorCode::UnsupportedVersion).number("spoken", vec![VERSION])));
        }
        if !crate::id::is_v7(&raw.id) {
            return Err(refuse(ErrorCode::NotUuidV7.into()));
        }
        let data = raw.data.map_or("{}", RawValue::get);
        Request::parse(&raw.type_name, data).map(|request| Self { id, request }).map_err(refuse)
    }

    pub fn to_text(&self) -> String {
        #[derive(Serialize)]
        struct Raw<'a> {
            v: u8,
            id: RequestId,
            #[serde(rename = "type")]
            type_name: &'a str,
            data: Box<RawValue>,
        }
        // Request data are plain structs: writing them to memory cannot fail.
        let data = self.request.data().unwrap_or_default();
        serde_json::to_string(&Raw { v: VERSION, id: self.id, type_name: self.request.type_name(), data }).unwrap_or_default()
    }
}

/// A reply frame around an already encoded body; the body is spliced in byte for byte.
pub fn reply_text(re: RequestId, body: &[u8], replayed: bool) -> String {
    let body = std::str::from_utf8(body).unwrap_or("null");
    let flag = if replayed { ",\"replayed\":true" } else { "" };
    format!("{{\"v\":{VERSION},\"re\":\"{re}\",\"ok\":{body}{flag}}}")
}

/// A refusal frame; `body` is an encoded [`Problem`].
pub fn refusal_text(re: Option<RequestId>, body: &[u8], replayed: bool) -> String {
    let body = std::str::from_utf8(body).unwrap_or("null");
    let flag = if replayed { ",\"replayed\":true" } else { "" };
    match re {
        Some(re) => format!("{{\"v\":{VERSION},\"re\":\"{re}\",\"error\":{body}{flag}}}"),
        None => format!("{{\"v\":{VERSION},\"re\":null,\"error\":{body}{flag}}}"),
    }
}

/// A push frame around encoded data.
pub fn push_text(seq: u64, name: &str, data: &str) -> String {
    format!("{{\"v\":{VERSION},\"seq\":{seq},\"push\":\"{name}\",\"data\":{data}}}")
}

/// What a client reads; used by the load tester and tests.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ServerFrame {
    pub v: u8,
    #[serde(default)]
    pub re: Option<RequestId>,
    #[serde(default)]
    pub ok: Option<RawJson>,
    #[serde(default)]
    pub error: Option<Problem>,
    #[serde(default)]
    pub replayed: bool,
    #[serde(default)]
    pub seq: Option<u64>,
    #[serde(default)]
    pub push: Option<String>,
    #[serde(default)]
    pub data: Option<RawJson>,
}

// Replies and pushes.

/// The answer to `hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    pub player: PlayerId,
    pub session: SessionId,
    pub resumed: bool,
    pub currency: Currency,
    pub exponent: u32,
    pub server_time: Timestamp,
    pub session_started_at: Timestamp,
    pub balance: Balance,
    pub bonus: Option<BonusView>,
    pub reality_check: Option<RealityCheckView>,
    pub games: Vec<GameView>,
    pub jackpots: Vec<JackpotView>,
    pub fairness: FairnessView,
    /// Rounds settled after `resume_from`, oldest first.
    pub missed: Vec<RoundView>,
}

/// The answer to `spin`, stored with its unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpinResult {
    pub round: RoundId,
    pub game: GameId,
    pub stake: Amount,
    pub stake_bonus: Amount,
    pub win: Amount,
    pub win_bonus: Amount,
    pub detail: RawJson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bonus: Option<BonusView>,
    pub balance: Balance,
}

/// The active bonus as its player sees it, minor units.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BonusView {
    pub grant: GrantId,
    pub state: BonusState,
    pub amount: Amount,
    pub requirement: Amount,
    pub progress: Amount,
    pub max_bet: Option<Amount>,
    pub deadline: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BonusState {
    Issued,
    Locked,
    Active,
    Completed,
    Forfeited,
    Expired,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RealityCheckView {
    /// Elapsed time of the session.
    pub seconds: i64,
    pub wagered: Amount,
    pub returned: Amount,
    /// `returned − wagered`.
    pub net: Amount,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GameView {
    pub game: GameId,
    pub name: String,
    pub provider: ProviderId,
    pub kind: String,
    pub min_stake: Amount,
    pub max_stake: Amount,
    pub steps: Vec<Amount>,
    /// Theoretical return, parts per million, from play; jackpots are named apart.
    pub rtp_ppm: u32,
    pub jackpot: Option<JackpotId>,
    pub enabled: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JackpotView {
    pub jackpot: JackpotId,
    pub name: String,
    pub currency: Currency,
    pub amount: Amount,
    pub must_hit_by: Amount,
    pub cycle: u64,
    pub commitment: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FairnessView {
    /// SHA-256 of the server seed now in use, lower-case hex.
    pub seed_hash: String,
    pub client_seed: String,
    /// The nonce the next round will use.
    pub nonce: u64,
    /// The seed that was in use before, now public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_seed: Option<String>,
}

/// One round as history and recall show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundView {
    /// Position for paging; larger is newer.
    pub position: u64,
    pub round: String,
    pub game: GameId,
    pub provider: ProviderId,
    /// `open`, `settled`, `voided`.
    pub status: String,
    pub at: Timestamp,
    pub currency: Currency,
    pub stake: Amount,
    pub win: Amount,
    pub jackpot_win: Amount,
    /// Balance version after the last change of the round.
    pub version: u64,
    pub detail: Option<RawJson>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    pub rounds: Vec<RoundView>,
    /// Pass as `before` for the next page; absent at the end.
    pub next: Option<u64>,
}

/// One row of the leaderboard: net winnings are shown as return over stake within the board's window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaderboardRow {
    pub rank: u32,
    /// A short public alias, not the pseudonym.
    pub alias: String,
    pub score: Amount,
    pub rounds: u64,
}

/// A snapshot; deltas follow as pushes with sequence numbers that continue this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaderboardView {
    pub board: String,
    pub sequence: u64,
    pub rows: Vec<LeaderboardRow>,
}

/// Rows that changed since `sequence − 1`; a gap means: ask for the snapshot again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LeaderboardDelta {
    pub board: String,
    pub sequence: u64,
    pub rows: Vec<LeaderboardRow>,
    /// Aliases that left the board.
    pub gone: Vec<String>,
}

/// What the limits of a player are, and what is spent of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LimitView {
    pub limit: LimitKind,
    pub window: Option<LimitWindow>,
    /// The player's own, the operator's, and the one in force (the strictest).
    pub own: Option<i64>,
    pub operator: Option<i64>,
    pub effective: Option<i64>,
    pub spent: Option<i64>,
    /// A relaxation that waits, and when it may be confirmed.
    pub pending: Option<PendingLimit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PendingLimit {
    /// `null` removes the limit.
    pub value: Option<i64>,
    pub effective_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LaunchReply {
    pub launch_token: String,
    /// The provider's play address.
    pub url: String,
}

/// Names of pushes.
pub mod push {
    pub const BALANCE: &str = "balance";
    pub const ROUND: &str = "round";
    pub const JACKPOT: &str = "jackpot";
    pub const JACKPOT_WON: &str = "jackpot.won";
    pub const LEADERBOARD: &str = "leaderboard";
    pub const REALITY_CHECK: &str = "reality_check";
    pub const LIMIT: &str = "limit";
    pub const SESSION: &str = "session";
    pub const BONUS: &str = "bonus";
}

/// The data of a `session` push.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionNotice {
    /// `replaced`, `ended`, `expiring`, `slow`, `shutting_down`.
    pub notice: String,
    pub detail: String,
}
