//! What tests of every back end share: units of plausible shape, and the suite a ledger must pass.

pub mod suite;

use bytes::Bytes;
use protocol::{
    AccountCode, AccountId, Amount, Balance, BetId, Book, Currency, EventHeader, EventId, EventPack, Fact, GameId, Leg, OwnerKind,
    PlayerId, ProviderId, RecordKey, RoundId, Slug, TenantId, Timestamp, TraceId, event,
};
use smallvec::smallvec;
use uuid::Uuid;

use crate::{
    ledger::BoxFuture,
    unit::{RecordWrite, Source, UnitKey, UnitOfWork},
};

/// Somewhere a ledger lives: it can be opened again after it was dropped.
pub trait Place: Send + Sync {
    fn open(&self) -> BoxFuture<'_, std::sync::Arc<dyn crate::Ledger>>;
}

fn slug(text: &str) -> Slug {
    text.parse().unwrap_or_else(|_| unreachable!("a literal short name"))
}

pub fn book() -> Book {
    Book { tenant: TenantId(slug("demo")), licence: slug("mga"), currency: Currency::EUR }
}

pub fn provider() -> ProviderId {
    ProviderId(slug("sandbox"))
}

/// A UUIDv7-shaped id that grows with `n`.
pub fn id(n: u64) -> Uuid {
    Uuid::from_u128((0x0190_0000_0000_7000_u128 << 64) + (u128::from(n) << 80) + (0x8000_u128 << 48) + u128::from(n))
}

pub fn player(n: u64) -> RecordKey {
    RecordKey { kind: OwnerKind::Player, id: id(n).into_bytes() }
}

pub fn cash(player: RecordKey) -> AccountId {
    AccountId::new(player, AccountCode::Cash)
}

pub fn bank() -> AccountId {
    AccountId::new(RecordKey::HOUSE, AccountCode::Bank)
}

pub fn revenue() -> AccountId {
    AccountId::new(RecordKey::house(provider()), AccountCode::Revenue)
}

pub fn leg(from: AccountId, to: AccountId, amount: i64) -> Leg {
    Leg { book: book(), from, to, amount: Amount(amount) }
}

pub fn key(n: u64) -> UnitKey {
    UnitKey::new(Source::System(slug("test")), id(n).as_bytes())
}

pub fn write(key: RecordKey, expected: u64) -> RecordWrite {
    RecordWrite { key, expected, bytes: Some(Bytes::from(format!("{key} at {}", expected + 1))) }
}

/// A unit that does nothing but exist under key `n`.
pub fn bare(n: u64) -> UnitOfWork {
    UnitOfWork {
        key: key(n),
        body_hash: [n as u8; 32],
        at: Timestamp(1_800_000_000_000 + n as i64),
        legs: smallvec![],
        guards: smallvec![],
        records: smallvec![],
        events: Bytes::new(),
        reply: Bytes::from(format!("{{\"reply\":{n}}}")),
    }
}

fn pack(n: u64, owner: RecordKey, facts: Vec<Fact>) -> Bytes {
    let header = EventHeader {
        id: EventId(id(n)),
        at: Timestamp(1_800_000_000_000 + n as i64),
        tenant: book().tenant,
        region: slug("eu"),
        player: Some(PlayerId(Uuid::from_bytes(owner.id))),
        session: None,
        trace: TraceId(id(n)),
    };
    EventPack::new(header, facts).to_bytes().into()
}

const NO_BALANCE: Balance = Balance { cash: Amount::ZERO, bonus: Amount::ZERO, in_play: Amount::ZERO, version: 0 };

/// Money from outside, whole: legs, record and fact.
pub fn deposit(n: u64, owner: RecordKey, expected: u64, amount: i64) -> UnitOfWork {
    let fact = Fact::Funded(event::Funded {
        source: "demo".to_owned(),
        amount: Amount(amount),
        currency: Currency::EUR,
        balance: Balance { version: expected + 1, ..NO_BALANCE },
    });
    UnitOfWork {
        legs: smallvec![leg(bank(), cash(owner), amount)],
        records: smallvec![write(owner, expected)],
        events: pack(n, owner, vec![fact]),
        ..bare(n)
    }
}

/// An instant round, whole: stake, then win when there is one.
pub fn spin(n: u64, owner: RecordKey, expected: u64, stake: i64, win: i64) -> UnitOfWork {
    let fact = Fact::RoundSettled(event::RoundSettled {
        round: RoundId(id(n)),
        bet: BetId(id(n)),
        game: GameId(slug("lucky-sevens")),
        provider: provider(),
        currency: Currency::EUR,
        stake_cash: Amount(stake),
        stake_bonus: Amount::ZERO,
        win_cash: Amount(win),
        win_bonus: Amount::ZERO,
        contributions: Vec::new(),
        progress: None,
        detail: None,
        balance: Balance { version: expected + 1, ..NO_BALANCE },
    });
    let mut unit = UnitOfWork {
        legs: smallvec![leg(cash(owner), revenue(), stake)],
        records: smallvec![write(owner, expected)],
        events: pack(n, owner, vec![fact]),
        ..bare(n)
    };
    if win > 0 {
        unit.legs.push(leg(revenue(), cash(owner), win));
    }
    unit
}
