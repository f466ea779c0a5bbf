//! How lines are packed: varints, with books and event types said once per pack, and an owner's own side without its key.
//!
//! A pack ends by itself, so packs of an owner are joined by writing one behind the other.

use std::borrow::Cow;

use protocol::{AccountCode, AccountId, Amount, Book, Holding, Leg, RecordKey, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{
    fold::{self, Line},
    round::RoundName,
};
use crate::{
    ledger::StorageError,
    unit::{Source, UnitKey},
};

/// What a page of lines changed in all, so that balances move without unpacking it.
pub type Net = SmallVec<[Holding; 2]>;

#[derive(Serialize, Deserialize)]
struct PackedLines<'a> {
    sequence: u64,
    at: Timestamp,
    books: SmallVec<[Book; 2]>,
    #[serde(borrow)]
    kinds: SmallVec<[Cow<'a, str>; 4]>,
    #[serde(borrow)]
    lines: Vec<PackedLine<'a>>,
}

#[derive(Serialize, Deserialize)]
struct PackedLine<'a> {
    /// Behind the line before.
    sequence: u64,
    /// After the line before; the clock may go back.
    at_ms: i64,
    source: PackedSource,
    #[serde(borrow)]
    id: &'a [u8],
    kind: u16,
    version: u64,
    rounds: SmallVec<[RoundName; 1]>,
    legs: SmallVec<[PackedLeg; 4]>,
}

#[derive(Serialize, Deserialize)]
enum PackedSource {
    /// The player whose lines these are.
    Own,
    Other(Source),
}

#[derive(Serialize, Deserialize)]
struct PackedLeg {
    book: u16,
    from: Side,
    to: Side,
    amount: Amount,
}

#[derive(Serialize, Deserialize)]
enum Side {
    Own(AccountCode, u32),
    Other(AccountId),
}

impl Side {
    fn pack(owner: RecordKey, account: AccountId) -> Self {
        if account.owner == owner { Self::Own(account.code, account.sub) } else { Self::Other(account) }
    }

    fn unpack(self, owner: RecordKey) -> AccountId {
        match self {
            Self::Own(code, sub) => AccountId { owner, code, sub },
            Self::Other(account) => account,
        }
    }
}

/// Packs lines of one owner behind what is in `out`.
pub fn pack(out: Vec<u8>, owner: RecordKey, lines: &[Line]) -> Result<Vec<u8>, StorageError> {
    let Some(first) = lines.first() else { return Ok(out) };
    let mut packed = PackedLines {
        sequence: first.sequence,
        at: first.at,
        books: SmallVec::new(),
        kinds: SmallVec::new(),
        lines: Vec::with_capacity(lines.len()),
    };
    let (mut sequence, mut at) = (first.sequence, first.at);
    for line in lines {
        let legs = line.legs.iter().map(|leg| PackedLeg {
            book: index_of(&mut packed.books, &leg.book),
            from: Side::pack(owner, leg.from),
            to: Side::pack(owner, leg.to),
            amount: leg.amount,
        });
        let legs = legs.collect();
        packed.lines.push(PackedLine {
            sequence: line.sequence - sequence,
            at_ms: line.at.since_ms(at),
            source: match line.key.source {
                Source::Player(player) if RecordKey::player(player) == owner => PackedSource::Own,
                source => PackedSource::Other(source),
            },
            id: &line.key.id,
            kind: index_of(&mut packed.kinds, &line.kind),
            version: line.version,
            rounds: line.rounds.clone(),
            legs,
        });
        (sequence, at) = (line.sequence, line.at);
    }
    postcard::to_extend(&packed, out).map_err(corrupt)
}

/// Unpacks all packs of an owner.
pub fn unpack(mut bytes: &[u8], owner: RecordKey, out: &mut Vec<Line>) -> Result<(), StorageError> {
    while !bytes.is_empty() {
        let (packed, rest) = postcard::take_from_bytes::<PackedLines<'_>>(bytes).map_err(corrupt)?;
        bytes = rest;
        let (mut sequence, mut at) = (packed.sequence, packed.at);
        for line in packed.lines {
            sequence += line.sequence;
            at = at.plus_ms(line.at_ms);
            let legs = line.legs.into_iter().map(|leg| {
                let book = *packed.books.get(usize::from(leg.book)).ok_or_else(|| corrupt("a book is missing"))?;
                Ok(Leg { book, from: leg.from.unpack(owner), to: leg.to.unpack(owner), amount: leg.amount })
            });
            let legs = legs.collect::<Result<_, StorageError>>()?;
            let kind = packed.kinds.get(usize::from(line.kind)).ok_or_else(|| corrupt("an event type is missing"))?;
            let source = match line.source {
                PackedSource::Own => Source::Player(protocol::PlayerId(uuid::Uuid::from_bytes(owner.id))),
                PackedSource::Other(source) => source,
            };
            let key = UnitKey { source, id: SmallVec::from_slice(line.id) };
            out.push(Line { sequence, at, key, kind: fold::known_kind(kind), version: line.version, rounds: line.rounds, legs });
        }
    }
    Ok(())
}

/// Adds what a line changes of its owner's accounts.
pub fn add_net(net: &mut Net, owner: RecordKey, line: &Line) -> Result<(), StorageError> {
    let mut add = |book: Book, account: AccountId, amount: i64| {
        if account.owner != owner {
            return Ok(());
        }
        let known = net.iter_mut().find(|entry| entry.code == account.code && entry.sub == account.sub && entry.book == book);
        match known {
            Some(entry) => entry.amount = entry.amount.checked_add(Amount(amount))?,
            None => net.push(Holding { book, code: account.code, sub: account.sub, amount: Amount(amount) }),
        }
        Ok(())
    };
    for leg in &line.legs {
        add(leg.book, leg.from, -leg.amount.0)
            .and_then(|()| add(leg.book, leg.to, leg.amount.0))
            .map_err(|error: protocol::MoneyError| fold::damaged(line.sequence, error))?;
    }
    Ok(())
}

pub fn corrupt(why: impl std::fmt::Display) -> StorageError {
    StorageError::Corrupt(format!("projection: {why}"))
}

/// Kind and id, seventeen bytes, in the order of [`RecordKey`].
pub fn owner_bytes(owner: RecordKey) -> [u8; 17] {
    let mut bytes = [0; 17];
    bytes[0] = owner.kind.number();
    bytes[1..].copy_from_slice(&owner.id);
    bytes
}

pub fn owner_of(bytes: &[u8]) -> Result<RecordKey, StorageError> {
    let (kind, id) = bytes.split_first().ok_or_else(|| corrupt("an owner is missing"))?;
    let kind = protocol::OwnerKind::from_number(*kind).ok_or_else(|| corrupt("an unknown kind of owner"))?;
    let id = id.try_into().map_err(|_| corrupt("an owner's id has sixteen bytes"))?;
    Ok(RecordKey { kind, id })
}

fn index_of<T: Clone + PartialEq, const N: usize>(list: &mut SmallVec<[T; N]>, value: &T) -> u16 {
    let index = list.iter().position(|known| known == value).unwrap_or_else(|| {
        list.push(value.clone());
        list.len() - 1
    });
    // A pack has at most a few hundred lines of some legs each.
    index as u16
}
