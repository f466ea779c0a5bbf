//! What one unit means: a line for each owner it touched, and changes of rounds. Pure; both back ends build on it.

use std::borrow::Cow;

use protocol::{
    Amount, BetId, Currency, Fact, GameId, Holdings, Leg, OwnerKind, PlayerId, ProviderId, RecordKey, RoundId, Timestamp,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::round::{Change, RoundChange, RoundName};
use crate::{ledger::StorageError, unit::StoredUnit, unit::UnitKey};

/// One unit as it touched one owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub sequence: u64,
    pub at: Timestamp,
    pub key: UnitKey,
    /// Type of the unit's first event, or empty.
    pub kind: Cow<'static, str>,
    /// Version of the owner's record after the unit; zero when it was not written.
    pub version: u64,
    /// Rounds of the owner (a player) that the unit changed.
    pub rounds: SmallVec<[RoundName; 1]>,
    /// The legs that touch the owner, in order.
    pub legs: SmallVec<[Leg; 4]>,
}

impl Line {
    /// Continues a digest over an owner's lines (FNV-1a over their debug-independent parts).
    pub fn digest(&self, mut digest: u64) -> u64 {
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        add(&self.sequence.to_le_bytes());
        add(&self.at.0.to_le_bytes());
        add(&self.version.to_le_bytes());
        add(&self.key.source.to_bytes());
        add(&self.key.id);
        add(self.kind.as_bytes());
        self.rounds.iter().for_each(|name| add(name.as_bytes()));
        for leg in &self.legs {
            add(leg.book.tenant.as_str().as_bytes());
            add(leg.book.licence.as_str().as_bytes());
            add(&[leg.book.currency.number()]);
            for account in [&leg.from, &leg.to] {
                add(&[account.owner.kind.number(), account.code.number()]);
                add(&account.owner.id);
                add(&account.sub.to_le_bytes());
            }
            add(&leg.amount.0.to_le_bytes());
        }
        digest
    }

    /// Where [`Line::digest`] starts.
    pub const DIGEST_START: u64 = 0xcbf2_9ce4_8422_2325;
}

/// Everything a unit says.
#[derive(Debug)]
pub struct Folded {
    pub lines: SmallVec<[(RecordKey, Line); 4]>,
    pub rounds: SmallVec<[RoundChange; 1]>,
}

/// Reads a unit. What cannot be read is damage: the ledger stores only what was encoded by this code.
pub fn fold(unit: &StoredUnit) -> Result<Folded, StorageError> {
    let (kind, rounds) = read_events(unit)?;
    let line = |version| Line {
        sequence: unit.sequence,
        at: unit.at,
        key: unit.key.clone(),
        kind: kind.clone(),
        version,
        rounds: SmallVec::new(),
        legs: SmallVec::new(),
    };
    let mut lines: SmallVec<[(RecordKey, Line); 4]> = SmallVec::new();
    let index_of =
        |owner: RecordKey, lines: &mut SmallVec<[(RecordKey, Line); 4]>| match lines.iter().position(|(key, _)| *key == owner) {
            Some(index) => index,
            None => {
                let version = unit.records.iter().find(|(key, _, _)| *key == owner).map_or(0, |(_, version, _)| *version);
                lines.push((owner, line(version)));
                lines.len() - 1
            }
        };
    for (key, _, _) in unit.records.iter().filter(|(key, _, _)| owns_accounts(key.kind)) {
        index_of(*key, &mut lines);
    }
    for leg in &unit.legs {
        let from = index_of(leg.from.owner, &mut lines);
        lines[from].1.legs.push(*leg);
        if leg.to.owner != leg.from.owner {
            let to = index_of(leg.to.owner, &mut lines);
            lines[to].1.legs.push(*leg);
        }
    }
    // A round's player gets a line even when no leg names him.
    for change in &rounds {
        let index = index_of(RecordKey::player(change.player), &mut lines);
        let names = &mut lines[index].1.rounds;
        if !names.contains(&change.name) {
            names.push(change.name.clone());
        }
    }
    Ok(Folded { lines, rounds })
}

/// Moves an owner's balances over one of its lines.
pub fn apply_line(holdings: &mut Holdings, owner: RecordKey, line: &Line) -> Result<(), StorageError> {
    for leg in &line.legs {
        holdings.apply(owner, leg).map_err(|error| damaged(line.sequence, error))?;
    }
    Ok(())
}

pub fn damaged(sequence: u64, why: impl std::fmt::Display) -> StorageError {
    StorageError::Corrupt(format!("unit {sequence}: {why}"))
}

fn owns_accounts(kind: OwnerKind) -> bool {
    kind.number() < OwnerKind::Round.number()
}

#[derive(Deserialize)]
struct Pack<'a> {
    #[serde(default)]
    player: Option<PlayerId>,
    #[serde(borrow)]
    events: SmallVec<[Event<'a>; 2]>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

/// The part of `round.settled` that a round keeps; the event has more, and reading it all would double the cost of a spin.
#[derive(Deserialize)]
struct Settled<'a> {
    round: RoundId,
    bet: BetId,
    game: GameId,
    provider: ProviderId,
    currency: Currency,
    stake_cash: Amount,
    stake_bonus: Amount,
    win_cash: Amount,
    win_bonus: Amount,
    #[serde(borrow, default)]
    detail: Option<&'a RawValue>,
}

type Events = (Cow<'static, str>, SmallVec<[RoundChange; 1]>);

fn read_events(unit: &StoredUnit) -> Result<Events, StorageError> {
    if unit.events.is_empty() {
        return Ok((Cow::Borrowed(""), SmallVec::new()));
    }
    let pack: Pack<'_> = serde_json::from_slice(&unit.events).map_err(|error| damaged(unit.sequence, error))?;
    let kind = pack.events.first().map_or(Cow::Borrowed(""), |event| known_kind(&event.kind));
    let mut rounds = SmallVec::new();
    for event in &pack.events {
        if let Some(change) = round_change(unit.sequence, pack.player, event)? {
            rounds.push(change);
        }
    }
    Ok((kind, rounds))
}

/// The type's text without an allocation, for types this version knows.
pub fn known_kind(kind: &str) -> Cow<'static, str> {
    match Fact::TYPES.iter().find(|(known, _)| *known == kind) {
        Some((known, _)) => Cow::Borrowed(known),
        None => Cow::Owned(kind.to_owned()),
    }
}

fn round_change(sequence: u64, player: Option<PlayerId>, event: &Event<'_>) -> Result<Option<RoundChange>, StorageError> {
    let text = event.payload.get();
    if event.kind == "round.settled" {
        let fact: Settled<'_> = serde_json::from_str(text).map_err(|error| damaged(sequence, error))?;
        return settled(&fact, player).map_err(|error| damaged(sequence, error));
    }
    let is_about_rounds =
        matches!(&*event.kind, "bet.placed" | "bet.settled" | "bet.voided" | "win.reversed" | "round.closed" | "jackpot.triggered");
    if !is_about_rounds {
        return Ok(None);
    }
    let fact = Fact::parse(&event.kind, text).map_err(|error| damaged(sequence, error))?;
    held(fact, player).map_err(|error| damaged(sequence, error))
}

fn settled(fact: &Settled<'_>, player: Option<PlayerId>) -> Result<Option<RoundChange>, protocol::MoneyError> {
    let Some(player) = player else { return Ok(None) };
    let change = Change::Instant {
        game: fact.game,
        currency: fact.currency,
        bet: fact.bet,
        stake: fact.stake_cash.checked_add(fact.stake_bonus)?,
        win: fact.win_cash.checked_add(fact.win_bonus)?,
        detail: fact.detail.map(|detail| detail.get().to_owned()),
    };
    Ok(Some(RoundChange { name: RoundName::of_id(fact.round), player, provider: Some(fact.provider), change }))
}

/// Facts of held rounds and of jackpots.
fn held(fact: Fact, player: Option<PlayerId>) -> Result<Option<RoundChange>, protocol::MoneyError> {
    let (round, player, provider, change) = match fact {
        Fact::BetPlaced(f) => {
            let stake = f.stake_cash.checked_add(f.stake_bonus)?;
            (f.round, player, Some(f.provider), Change::Placed { game: f.game, currency: f.currency, bet: f.bet, stake })
        }
        Fact::BetSettled(f) => {
            let released = f.stake_cash.checked_add(f.stake_bonus)?;
            let win = f.win_cash.checked_add(f.win_bonus)?;
            (f.round, player, Some(f.provider), Change::Settled { game: f.game, currency: f.currency, bet: f.bet, released, win })
        }
        Fact::BetVoided(f) => {
            let stake = f.stake_cash.checked_add(f.stake_bonus)?;
            (f.round, player, Some(f.provider), Change::Voided { game: f.game, currency: f.currency, bet: f.bet, stake })
        }
        Fact::WinReversed(f) => {
            let win = f.cash.checked_add(f.bonus)?;
            (f.round, player, Some(f.provider), Change::WinReversed { game: f.game, currency: f.currency, win })
        }
        Fact::RoundClosed(f) => (f.round, player, Some(f.provider), Change::Closed),
        Fact::JackpotTriggered(f) => (f.round, Some(f.player), None, Change::Jackpot { amount: f.amount }),
        _ => return Ok(None),
    };
    Ok(player.map(|player| RoundChange { name: RoundName::of_text(&round), player, provider, change }))
}
