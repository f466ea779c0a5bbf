//! What the core remembers of a player between bets: the state inside the player's one row.
//!
//! Its encoding (postcard, a version byte first) must stay within [`PlayerState::ENCODED_BYTES_MAX`]; MONEY.md says why.

use protocol::{
    Amount, Balance, Book, Currency, GameId, GrantId, Holdings, Micro, PlayerId, ProviderId, RecordKey, SessionId, TenantId,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// A player as a decision sees them: the row's version, balances and state, read together.
#[derive(Clone, Debug, PartialEq)]
pub struct Player {
    pub id: PlayerId,
    /// Version of the row these were read at; zero before the player exists.
    pub version: u64,
    pub holdings: Holdings,
    pub state: PlayerState,
}

/// The state part of a player's row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlayerState {
    pub tenant: TenantId,
    pub currency: Currency,
    pub status: Status,
    pub exclusion: Option<Exclusion>,
    pub limits: Limits,
    /// Usage of the current day, week and month.
    pub usage: [WindowUsage; 3],
    pub session: Option<Session>,
    /// When the last round of a game started (game cycle), most recent games only.
    pub last_rounds: SmallVec<[(GameId, Timestamp); 2]>,
    /// The active grant; one at a time.
    pub bonus: Option<Grant>,
    /// Grants issued so far; the next grant's number is this plus one.
    pub grants_issued: u32,
    pub fairness: Fairness,
    /// Sub-minor remainders of wins, per provider (MONEY.md, Amounts).
    pub carries: SmallVec<[(ProviderId, Micro); 1]>,
    /// Held rounds by record and game; an interrupted round is resolved before a new instance of its game starts.
    pub open_rounds: SmallVec<[(RecordKey, GameId); 1]>,
    /// After a session ended at its time limit no new one starts before this: logging in again is no way around the limit.
    pub rest_until: Option<Timestamp>,
    /// Converted grants, newest last: bonus shares of their bets that come back later go to cash within what is left.
    pub completed: SmallVec<[CompletedGrant; 1]>,
}

/// A converted grant and how much may still become cash; `None` has no cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletedGrant {
    pub number: u32,
    pub room: Option<Amount>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Open,
    /// No play; withdrawals, wins and rollbacks go on.
    Blocked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    pub kind: ExclusionKind,
    /// `None` is for ever.
    pub until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExclusionKind {
    TimeOut,
    SelfExclusion,
}

/// The player's own limits; the operator's stand in the policy. Minor units or seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub stake: Limit,
    /// Day, week, month.
    pub wager: [Limit; 3],
    pub loss: [Limit; 3],
    pub session_time_s: Limit,
    pub reality_check_s: Limit,
}

/// A limit the player set, with a relaxation that may be waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    pub own: Option<i64>,
    pub pending: Option<Relaxation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relaxation {
    /// `None` removes the limit.
    pub value: Option<i64>,
    pub effective_at: Timestamp,
}

impl Relaxation {
    const ENCODED_BYTES_MAX: usize = 13;
}

/// What a fixed window has seen. `window` is the window's number (see `windows`); an older number means nothing is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowUsage {
    pub window: i32,
    /// Cash and bonus staked.
    pub wagered: Amount,
    /// Cash staked minus cash returned on those very bets; may be negative.
    pub net_loss: Amount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub id: SessionId,
    pub started_at: Timestamp,
    /// Last command of the player; inactivity is counted from here.
    pub last_seen_at: Timestamp,
    pub wagered: Amount,
    pub returned: Amount,
    /// When the running reality-check interval began.
    pub reality_from: Timestamp,
    /// A reality check was shown and waits for its acknowledgement.
    pub reality_pending: bool,
}

/// A bonus grant with the terms it was issued under.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    pub id: GrantId,
    /// Number of the grant's sub-account.
    pub number: u32,
    pub amount: Amount,
    pub requirement: Amount,
    pub progress: Amount,
    pub max_bet: Option<Amount>,
    pub max_cash_out: Option<Amount>,
    pub deadline: Timestamp,
    pub issued_at: Timestamp,
}

/// Where the player's provably fair draws stand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fairness {
    /// Which server seed is in use; the shell derives it from a secret.
    pub seed_index: u32,
    /// Draws made with the seed in use.
    pub nonce: u64,
    pub client_seed: String,
}

impl PlayerState {
    pub const ENCODED_BYTES_MAX: usize = 512;
    /// Bounds of the lists inside; [`Self::room_bytes`] may bind earlier when names are long.
    pub const OPEN_ROUNDS_MAX: usize = 6;
    pub const LAST_ROUNDS_MAX: usize = 4;
    pub const CARRIES_MAX: usize = 4;
    pub const COMPLETED_MAX: usize = 2;
    /// Largest limit a player may set, so that every limit fits six bytes.
    pub const LIMIT_VALUE_MAX: i64 = 1_000_000_000_000;
    const ENCODING_VERSION: u8 = 1;

    /// Bytes still free for another list entry, with room kept for everything that may not be refused (tightened limits, an
    /// exclusion, a session, a grant) and for amounts up to 10¹³ minor units.
    pub fn room_bytes(&self) -> usize {
        const FIXED: usize = 1 + 2 + 9 + 9 * 8 + 3 * 17 + 51 + 70 + 3 + 7 + 5 + 7 + PlayerState::COMPLETED_MAX * 11;
        let name_bytes = |text: &str| text.len() + 1;
        let limits = &self.limits;
        let pending = [&limits.stake, &limits.session_time_s, &limits.reality_check_s]
            .into_iter()
            .chain(&limits.wager)
            .chain(&limits.loss)
            .filter(|limit| limit.pending.is_some())
            .count();
        let used = FIXED
            + name_bytes(self.tenant.as_str())
            + name_bytes(&self.fairness.client_seed)
            + pending * Relaxation::ENCODED_BYTES_MAX
            + self.last_rounds.iter().map(|(game, _)| name_bytes(game.as_str()) + 6).sum::<usize>()
            + self.carries.iter().map(|(provider, _)| name_bytes(provider.as_str()) + 3).sum::<usize>()
            + self.open_rounds.iter().map(|(_, game)| name_bytes(game.as_str()) + 17).sum::<usize>();
        Self::ENCODED_BYTES_MAX.saturating_sub(used)
    }

    /// The bytes the row keeps.
    pub fn encode(&self) -> Vec<u8> {
        // Plain data into memory: postcard has no failing case for it.
        let mut bytes = Vec::with_capacity(Self::ENCODED_BYTES_MAX);
        bytes.push(Self::ENCODING_VERSION);
        postcard::to_extend(self, bytes).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((&Self::ENCODING_VERSION, rest)) => postcard::from_bytes(rest).map_err(|_| DecodeError),
            _ => Err(DecodeError),
        }
    }
}

/// A stored state that cannot be read. Whoever meets it refuses: limits fail closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored state cannot be read")]
pub struct DecodeError;

impl Player {
    /// What the player has, as replies say it.
    pub fn balance(&self, book: &Book) -> Result<Balance, protocol::MoneyError> {
        balance_of(&self.holdings, book, self.version)
    }
}

/// Balances of a player's holdings at a version.
pub fn balance_of(holdings: &Holdings, book: &Book, version: u64) -> Result<Balance, protocol::MoneyError> {
    use protocol::AccountCode::*;
    Ok(Balance {
        cash: holdings.get(book, Cash, 0),
        bonus: holdings.total(book, Bonus)?,
        in_play: holdings.total(book, InPlayCash)?.checked_add(holdings.total(book, InPlayBonus)?)?,
        version,
    })
}
