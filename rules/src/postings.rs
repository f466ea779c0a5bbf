//! The one place where legs are made: each transfer is applied to the player's holdings as it is written down.
//!
//! Invariant: a draft's holdings are the fold of its legs over the holdings it began with, gross and in order, so a win never
//! funds its own stake.

use protocol::{AccountCode, AccountId, Amount, Balance, Book, Fact, Leg, LegError, Micro, PlayerId, ProviderId, RecordKey};
use smallvec::SmallVec;

use crate::{
    brand::Brand,
    plan::{Contribution, Done, Plan},
    player::{Player, PlayerState},
    round::RoundState,
};

/// What a decision has done so far. It becomes a [`Plan`] or is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub book: Book,
    pub owner: RecordKey,
    /// Already at the version after the commit.
    pub player: Player,
    pub legs: SmallVec<[Leg; 6]>,
    pub facts: SmallVec<[Fact; 2]>,
    pub contributions: SmallVec<[Contribution; 1]>,
}

pub(crate) fn revenue(provider: ProviderId) -> AccountId {
    AccountId::new(RecordKey::house(provider), AccountCode::Revenue)
}

pub(crate) const fn house(code: AccountCode) -> AccountId {
    AccountId::new(RecordKey::HOUSE, code)
}

impl Draft {
    pub fn new(brand: &Brand, player: &Player) -> Self {
        Self::owning(brand.book(player.state.currency), player.clone())
    }

    pub fn owning(book: Book, mut player: Player) -> Self {
        player.version += 1;
        let owner = RecordKey::player(player.id);
        Self { book, owner, player, legs: SmallVec::new(), facts: SmallVec::new(), contributions: SmallVec::new() }
    }

    pub const fn state(&mut self) -> &mut PlayerState {
        &mut self.player.state
    }

    pub fn balance(&self) -> Result<Balance, LegError> {
        Ok(self.player.balance(&self.book)?)
    }

    /// What an account of the player holds now.
    pub fn held(&self, code: AccountCode, sub: u32) -> Amount {
        self.player.holdings.get(&self.book, code, sub)
    }

    pub const fn of_player(&self, code: AccountCode, sub: u32) -> AccountId {
        AccountId::with_sub(self.owner, code, sub)
    }

    /// Moves an amount; zero moves nothing and leaves no leg.
    pub fn transfer(&mut self, from: AccountId, to: AccountId, amount: Amount) -> Result<(), LegError> {
        if amount.is_zero() {
            return Ok(());
        }
        let leg = Leg { book: self.book, from, to, amount };
        self.player.holdings.apply(self.owner, &leg)?;
        self.legs.push(leg);
        Ok(())
    }

    /// Instant rounds: the stake leaves for good.
    pub fn stake_to_house(&mut self, revenue: AccountId, cash: Amount, bonus: Amount, grant: u32) -> Result<(), LegError> {
        self.transfer(self.of_player(AccountCode::Cash, 0), revenue, cash)?;
        self.transfer(self.of_player(AccountCode::Bonus, grant), revenue, bonus)
    }

    /// Held rounds: the stake stays the player's, in play.
    pub fn hold(&mut self, cash: Amount, bonus: Amount, grant: u32) -> Result<(), LegError> {
        self.transfer(self.of_player(AccountCode::Cash, 0), self.of_player(AccountCode::InPlayCash, 0), cash)?;
        self.transfer(self.of_player(AccountCode::Bonus, grant), self.of_player(AccountCode::InPlayBonus, grant), bonus)
    }

    /// Settles a held stake.
    pub fn release(&mut self, revenue: AccountId, cash: Amount, bonus: Amount, grant: u32) -> Result<(), LegError> {
        self.transfer(self.of_player(AccountCode::InPlayCash, 0), revenue, cash)?;
        self.transfer(self.of_player(AccountCode::InPlayBonus, grant), revenue, bonus)
    }

    /// Pays the player's cash account.
    pub fn pay_cash(&mut self, from: AccountId, amount: Amount) -> Result<(), LegError> {
        self.transfer(from, self.of_player(AccountCode::Cash, 0), amount)
    }

    /// Takes cash back for `to`, as much as there is; answers the shortfall, which the player owes from now on.
    pub fn reclaim_cash(&mut self, to: AccountId, amount: Amount) -> Result<Amount, LegError> {
        let taken = amount.min(self.held(AccountCode::Cash, 0)).max(Amount::ZERO);
        let short = amount.checked_sub(taken)?;
        self.transfer(self.of_player(AccountCode::Cash, 0), to, taken)?;
        self.transfer(self.of_player(AccountCode::Receivable, 0), to, short)?;
        Ok(short)
    }

    /// Takes bonus money of a grant back for `to`. What the grant no longer has is the house's loss (bonus cost): a conversion
    /// is never undone, and bonus money is never owed in cash.
    pub fn reclaim_bonus(&mut self, to: AccountId, amount: Amount, grant: u32) -> Result<(), LegError> {
        let taken = amount.min(self.held(AccountCode::Bonus, grant)).max(Amount::ZERO);
        self.transfer(self.of_player(AccountCode::Bonus, grant), to, taken)?;
        self.transfer(house(AccountCode::BonusCost), to, amount.checked_sub(taken)?)
    }

    pub fn contribute(&mut self, jackpot: protocol::JackpotId, micro: Micro, may_trigger: bool) {
        let player: PlayerId = self.player.id;
        self.contributions.push(Contribution { jackpot, micro, player, may_trigger });
    }

    pub fn plan(self, done: Done) -> Plan {
        Plan {
            player: self.player,
            legs: self.legs,
            round: None,
            tombstone: None,
            absent: SmallVec::new(),
            facts: self.facts,
            contributions: self.contributions,
            done,
        }
    }

    /// A plan that also writes a held round, decided on `version` of its record.
    pub fn plan_round(self, version: u64, round: RoundState, done: Done) -> Plan {
        let key = RecordKey::provider_round(round.provider, &round.round);
        Plan { round: Some((key, version, round)), ..self.plan(done) }
    }
}
