//! Ledger accounts and transfers (MONEY.md, Accounts).
//!
//! Signs: a balance is what the ledger owes the account's owner, so players and pools are zero or above, and the house
//! takes both signs. A leg moves `amount` > 0 from one account to another of the same book; Σ is zero by construction.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use smallvec::SmallVec;

use crate::{Amount, Currency, JackpotId, MoneyError, PlayerId, ProviderId, Slug, TenantId};

/// What kind of thing a record is about. Append only: the number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum OwnerKind {
    /// The operator; the id is the provider's name for per-provider accounts, all zero otherwise.
    House = 0,
    Player = 1,
    Jackpot = 2,
    Tournament = 3,
    /// A held round; owns no accounts (stakes in play stay with the player).
    Round = 16,
    /// A provider's transaction is claimed, by its bet or by a rollback that came before it: whichever commits first. The other
    /// finds the claim, whatever player or round it names (MONEY.md, Providers).
    Tombstone = 17,
    /// A bonus grant beyond the active one.
    Grant = 18,
    /// What a store was seeded with, so that seeding happens once.
    Seed = 19,
    /// A table's shared round and its close markers.
    TableRound = 20,
}

impl OwnerKind {
    pub const fn number(self) -> u8 {
        self as u8
    }

    pub fn from_number(number: u8) -> Option<Self> {
        use OwnerKind::*;
        [House, Player, Jackpot, Tournament, Round, Tombstone, Grant, Seed, TableRound]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// Names one versioned record, and the owner of accounts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordKey {
    pub kind: OwnerKind,
    pub id: [u8; 16],
}

impl RecordKey {
    pub const HOUSE: Self = Self { kind: OwnerKind::House, id: [0; 16] };

    pub const fn player(player: PlayerId) -> Self {
        Self { kind: OwnerKind::Player, id: player.0.into_bytes() }
    }

    pub fn house(provider: ProviderId) -> Self {
        Self::named(OwnerKind::House, provider.0)
    }

    pub fn jackpot(jackpot: JackpotId) -> Self {
        Self::named(OwnerKind::Jackpot, jackpot.0)
    }

    /// A provider's round, by the provider's own id for it.
    pub fn provider_round(provider: ProviderId, round: &str) -> Self {
        Self::derived(OwnerKind::Round, &[provider.as_str().as_bytes(), round.as_bytes()])
    }

    /// The claim on a provider's transaction, whichever player it names. The time of a UUIDv7 stays in front, so that claims are
    /// stored in the order they are made; the rest is a digest of provider and id.
    pub fn tombstone(provider: ProviderId, transaction: &Uuid) -> Self {
        const TIME_BYTES: usize = 6;
        let mut key = Self::derived(OwnerKind::Tombstone, &[provider.as_str().as_bytes(), transaction.as_bytes()]);
        key.id[..TIME_BYTES].copy_from_slice(&transaction.as_bytes()[..TIME_BYTES]);
        key
    }

    /// A record named by a short name: its bytes when they fit sixteen, else a digest of them.
    pub fn named(kind: OwnerKind, name: Slug) -> Self {
        let text = name.as_str().as_bytes();
        if text.len() > 16 {
            return Self::derived(kind, &[text]);
        }
        let mut id = [0; 16];
        id[..text.len()].copy_from_slice(text);
        Self { kind, id }
    }

    /// A record named by anything: the first sixteen bytes of SHA-256 over the length-prefixed parts.
    pub fn derived(kind: OwnerKind, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self { kind, id }
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = format!("{:?}", self.kind).to_lowercase();
        let end = self.id.iter().position(|b| *b == 0).unwrap_or(16);
        let name = std::str::from_utf8(&self.id[..end]).ok().and_then(|text| text.parse::<Slug>().ok());
        match name {
            Some(name) if self.id[end..].iter().all(|b| *b == 0) => write!(f, "{kind}:{name}"),
            _ if self.id == [0; 16] => f.write_str(&kind),
            _ => write!(f, "{kind}:{}", Uuid::from_bytes(self.id)),
        }
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The chart of accounts. Append only: the number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum AccountCode {
    Cash = 1,
    /// Bonus money of one grant; `sub` is the grant's number.
    Bonus = 2,
    InPlayCash = 3,
    /// Bonus money under open bets; `sub` is the grant's number.
    InPlayBonus = 4,
    WithdrawalPending = 5,
    /// What a reversal could not take: zero or below, the player owes it.
    Receivable = 6,
    JackpotMain = 32,
    JackpotReserve = 33,
    JackpotDiversion = 34,
    TournamentEscrow = 35,
    Revenue = 64,
    JackpotExpense = 65,
    BonusCost = 66,
    PspClearing = 67,
    Bank = 68,
    Fees = 69,
    TaxWithheld = 70,
    ProviderPayable = 71,
    FxPosition = 72,
    InterBrandClearing = 73,
    Suspense = 74,
    Adjustments = 75,
}

impl AccountCode {
    pub const ALL: [Self; 22] = {
        use AccountCode::*;
        [
            Cash,
            Bonus,
            InPlayCash,
            InPlayBonus,
            WithdrawalPending,
            Receivable,
            JackpotMain,
            JackpotReserve,
            JackpotDiversion,
            TournamentEscrow,
            Revenue,
            JackpotExpense,
            BonusCost,
            PspClearing,
            Bank,
            Fees,
            TaxWithheld,
            ProviderPayable,
            FxPosition,
            InterBrandClearing,
            Suspense,
            Adjustments,
        ]
    };

    pub const fn number(self) -> u8 {
        self as u8
    }

    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u8 == number)
    }

    /// Whether the ledger refuses a leg that would take the account below zero.
    pub const fn never_negative(self) -> bool {
        (self as u8) < 64 && !matches!(self, Self::Receivable)
    }
}

/// Tenant, licence and currency: Σ of all balances of a book is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Book {
    pub tenant: TenantId,
    pub licence: Slug,
    pub currency: Currency,
}

/// One account inside a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AccountId {
    pub owner: RecordKey,
    pub code: AccountCode,
    /// Grant number for bonus accounts, zero otherwise.
    pub sub: u32,
}

impl AccountId {
    pub const fn new(owner: RecordKey, code: AccountCode) -> Self {
        Self { owner, code, sub: 0 }
    }

    pub const fn with_sub(owner: RecordKey, code: AccountCode, sub: u32) -> Self {
        Self { owner, code, sub }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.owner, self.code)?;
        if self.sub != 0 { write!(f, "#{}", self.sub) } else { Ok(()) }
    }
}

/// One transfer: `amount` > 0 minor units leave `from` and reach `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    pub book: Book,
    pub from: AccountId,
    pub to: AccountId,
    pub amount: Amount,
}

/// The balances of one owner, sorted by account; zero balances are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    entries: SmallVec<[Holding; 4]>,
}

/// One account's balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holding {
    pub book: Book,
    pub code: AccountCode,
    pub sub: u32,
    pub amount: Amount,
}

/// Why a leg cannot be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegError {
    #[error("{account} would go below zero by {short:?}")]
    BelowZero { account: AccountId, short: Amount },
    #[error("a leg moves a positive amount")]
    NotPositive,
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl Holdings {
    pub fn get(&self, book: &Book, code: AccountCode, sub: u32) -> Amount {
        self.entries.iter().find(|e| e.code == code && e.sub == sub && e.book == *book).map_or(Amount::ZERO, |e| e.amount)
    }

    /// The sum over all subs of a code.
    pub fn total(&self, book: &Book, code: AccountCode) -> Result<Amount, MoneyError> {
        self.entries.iter().filter(|e| e.code == code && e.book == *book).try_fold(Amount::ZERO, |sum, e| sum.checked_add(e.amount))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Holding> {
        self.entries.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a signed change to one account, refusing what the account's floor forbids.
    pub fn change(&mut self, owner: RecordKey, book: Book, code: AccountCode, sub: u32, delta: Amount) -> Result<Amount, LegError> {
        let at = self.entries.binary_search_by(|e| (e.book, e.code, e.sub).cmp(&(book, code, sub)));
        let before = at.map_or(Amount::ZERO, |index| self.entries[index].amount);
        let after = before.checked_add(delta)?;
        if after.0 < 0 && delta.0 < 0 && code.never_negative() {
            let short = Amount(after.0.checked_neg().ok_or(MoneyError::Overflow)?);
            return Err(LegError::BelowZero { account: AccountId { owner, code, sub }, short });
        }
        match at {
            Ok(index) if after.is_zero() => drop(self.entries.remove(index)),
            Ok(index) => self.entries[index].amount = after,
            Err(_) if after.is_zero() => {}
            Err(index) => self.entries.insert(index, Holding { book, code, sub, amount: after }),
        }
        Ok(after)
    }

    /// Applies the sides of a leg that belong to `owner`, gross: the debit first, so that a leg never funds itself.
    pub fn apply(&mut self, owner: RecordKey, leg: &Leg) -> Result<(), LegError> {
        if !leg.amount.is_positive() {
            return Err(LegError::NotPositive);
        }
        if leg.from.owner == owner {
            self.change(owner, leg.book, leg.from.code, leg.from.sub, Amount(-leg.amount.0))?;
        }
        if leg.to.owner == owner {
            self.change(owner, leg.book, leg.to.code, leg.to.sub, leg.amount)?;
        }
        Ok(())
    }
}

impl FromIterator<Holding> for Holdings {
    fn from_iter<T: IntoIterator<Item = Holding>>(entries: T) -> Self {
        let mut entries: SmallVec<[Holding; 4]> = entries.into_iter().filter(|e| !e.amount.is_zero()).collect();
        entries.sort_unstable_by_key(|e| (e.book, e.code, e.sub));
        Self { entries }
    }
}
