//! A round as a projection keeps it: what was staked, won and voided, folded from its facts.

use protocol::{
    Amount, BetId, Currency, GameId, MoneyError, PlayerId, ProviderId, RoundId, Timestamp, event::RawJson, frame::RoundView,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smallvec::SmallVec;
use uuid::Uuid;

use super::OpenRound;

/// A round's id as stored: sixteen bytes behind a one for a UUID, so that rows of hosted rounds append; else its text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoundName(SmallVec<[u8; 24]>);

impl RoundName {
    const UUID: u8 = 1;
    const TEXT: u8 = 2;

    pub fn of_id(round: RoundId) -> Self {
        Self::tagged(Self::UUID, round.as_bytes())
    }

    pub fn of_text(round: &str) -> Self {
        // Only the form that is written back as it was read is shortened.
        let is_canonical = round.len() == 36 && !round.bytes().any(|byte| byte.is_ascii_uppercase());
        match Uuid::try_parse(round) {
            Ok(id) if is_canonical => Self::tagged(Self::UUID, id.as_bytes()),
            _ => Self::tagged(Self::TEXT, round.as_bytes()),
        }
    }

    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(SmallVec::from_slice(bytes))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn to_text(&self) -> String {
        match (self.0.first(), Uuid::from_slice(self.0.get(1..).unwrap_or_default())) {
            (Some(&Self::UUID), Ok(id)) => id.to_string(),
            _ => String::from_utf8_lossy(self.0.get(1..).unwrap_or_default()).into_owned(),
        }
    }

    fn tagged(tag: u8, rest: &[u8]) -> Self {
        let mut bytes = SmallVec::new();
        bytes.push(tag);
        bytes.extend_from_slice(rest);
        Self(bytes)
    }
}

/// What names a round: its id is the provider's, who may give it to several players.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoundKey {
    pub name: RoundName,
    pub player: PlayerId,
    pub provider: ProviderId,
}

/// One fact about a round.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundChange {
    pub name: RoundName,
    pub player: PlayerId,
    /// A jackpot does not know the provider; it goes to the player's latest changed round of that name.
    pub provider: Option<ProviderId>,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Bet and outcome in one.
    Instant {
        game: GameId,
        currency: Currency,
        bet: BetId,
        stake: Amount,
        win: Amount,
        detail: Option<String>,
    },
    Placed {
        game: GameId,
        currency: Currency,
        bet: BetId,
        stake: Amount,
    },
    /// `released` is what this settlement took of the stake held; a win that is not the last releases nothing.
    Settled {
        game: GameId,
        currency: Currency,
        bet: BetId,
        released: Amount,
        win: Amount,
    },
    Voided {
        game: GameId,
        currency: Currency,
        bet: BetId,
        stake: Amount,
    },
    WinReversed {
        game: GameId,
        currency: Currency,
        win: Amount,
    },
    Closed,
    Jackpot {
        amount: Amount,
    },
}

/// Where and when a change happened.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub sequence: u64,
    pub at: Timestamp,
    /// Version of the player's row after the unit; zero keeps the round's.
    pub version: u64,
}

/// A round with everything a view needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundRow {
    pub position: u64,
    pub version: u64,
    pub opened_at: Timestamp,
    pub at: Timestamp,
    pub game: GameId,
    pub currency: Currency,
    /// Stakes of bets that were not voided.
    pub stake: Amount,
    /// Wins paid and not taken back.
    pub win: Amount,
    pub jackpot_win: Amount,
    pub is_closed: bool,
    pub bets: SmallVec<[Bet; 1]>,
    pub detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bet {
    pub id: BetId,
    pub held: Amount,
    pub status: BetStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BetStatus {
    Placed,
    Settled,
    Voided,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundStatus {
    Open,
    Settled,
    Voided,
}

impl RoundStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settled => "settled",
            Self::Voided => "voided",
        }
    }
}

impl RoundRow {
    /// The round after a change. `None` when there is nothing to change: a close or a jackpot of an unknown round.
    pub fn after(row: Option<Self>, change: &Change, moment: Moment) -> Result<Option<Self>, MoneyError> {
        let Some(mut row) = row.or_else(|| Self::first(change, moment)) else { return Ok(None) };
        row.position = moment.sequence;
        row.at = moment.at;
        row.version = row.version.max(moment.version);
        match change {
            Change::Instant { bet, stake, win, detail, .. } => {
                row.stake = row.stake.checked_add(*stake)?;
                row.win = row.win.checked_add(*win)?;
                row.detail = detail.clone();
                row.bets.push(Bet { id: *bet, held: Amount::ZERO, status: BetStatus::Settled });
            }
            Change::Placed { bet, stake, .. } => {
                row.stake = row.stake.checked_add(*stake)?;
                row.bets.push(Bet { id: *bet, held: *stake, status: BetStatus::Placed });
            }
            Change::Settled { bet, released, win, .. } => {
                row.win = row.win.checked_add(*win)?;
                if let Some(bet) = row.bets.iter_mut().find(|known| known.id == *bet).filter(|_| released.is_positive()) {
                    bet.held = bet.held.checked_sub(*released)?;
                    if !bet.held.is_positive() && bet.status == BetStatus::Placed {
                        bet.status = BetStatus::Settled;
                    }
                }
            }
            Change::Voided { bet, stake, .. } => {
                row.stake = row.stake.checked_sub(*stake)?;
                match row.bets.iter_mut().find(|known| known.id == *bet) {
                    Some(bet) => (bet.held, bet.status) = (Amount::ZERO, BetStatus::Voided),
                    None => row.bets.push(Bet { id: *bet, held: Amount::ZERO, status: BetStatus::Voided }),
                }
            }
            Change::WinReversed { win, .. } => row.win = row.win.checked_sub(*win)?,
            Change::Closed => row.is_closed = true,
            Change::Jackpot { amount } => row.jackpot_win = row.jackpot_win.checked_add(*amount)?,
        }
        Ok(Some(row))
    }

    /// Whether the change makes a round that is not known yet.
    pub const fn begins(change: &Change) -> bool {
        !matches!(change, Change::Closed | Change::Jackpot { .. })
    }

    fn first(change: &Change, moment: Moment) -> Option<Self> {
        let (game, currency) = match change {
            Change::Instant { game, currency, .. }
            | Change::Placed { game, currency, .. }
            | Change::Settled { game, currency, .. }
            | Change::Voided { game, currency, .. }
            | Change::WinReversed { game, currency, .. } => (*game, *currency),
            Change::Closed | Change::Jackpot { .. } => return None,
        };
        Some(Self {
            position: moment.sequence,
            version: moment.version,
            opened_at: moment.at,
            at: moment.at,
            game,
            currency,
            stake: Amount::ZERO,
            win: Amount::ZERO,
            jackpot_win: Amount::ZERO,
            is_closed: false,
            bets: SmallVec::new(),
            detail: None,
        })
    }

    /// Voided when every bet was; settled when closed or nothing is held any more; else open.
    pub fn status(&self) -> RoundStatus {
        if !self.bets.is_empty() && self.bets.iter().all(|bet| bet.status == BetStatus::Voided) {
            return RoundStatus::Voided;
        }
        let is_held = self.bets.iter().any(|bet| bet.status == BetStatus::Placed);
        if is_held && !self.is_closed { RoundStatus::Open } else { RoundStatus::Settled }
    }

    pub fn view(&self, key: &RoundKey) -> RoundView {
        RoundView {
            position: self.position,
            round: key.name.to_text(),
            game: self.game,
            provider: key.provider,
            status: self.status().as_str().to_owned(),
            at: self.at,
            currency: self.currency,
            stake: self.stake,
            win: self.win,
            jackpot_win: self.jackpot_win,
            version: self.version,
            detail: self.detail.as_ref().and_then(|text| RawValue::from_string(text.clone()).ok()).map(RawJson),
        }
    }

    pub fn open_view(&self, shard: u16, key: &RoundKey) -> OpenRound {
        OpenRound { shard, player: key.player, opened_at: self.opened_at, view: self.view(key) }
    }
}
