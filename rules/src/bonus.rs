//! Bonus grants: one active at a time, with the terms it was issued under.
//!
//! | state | means | leaves by |
//! |---|---|---|
//! | active | bonus money or a bet with some of it is there, the deadline ahead | conversion, forfeiture, deadline |
//! | lost | nothing left and nothing in play; counts, pays and binds nothing | a rollback revives it; a new grant or the deadline closes it |
//! | completed | converted to cash, at most the cash-out; the rest to bonus cost | – |
//! | forfeited, expired | its money went to bonus cost, and so does what comes back later | – |
//!
//! Progress counts at settlement. A rollback takes progress back but never undoes a conversion.

use protocol::{
    AccountCode::{self, Bonus, BonusCost, InPlayBonus},
    AccountId, Amount, Book, Fact, GrantId, Holdings, LegError, Timestamp,
    event::{self, WagerProgress},
    frame::{BonusState, BonusView},
};

use crate::{
    brand::{Brand, Game},
    plan::{Decision, Done, Rejected},
    player::{CompletedGrant, Grant, Player, PlayerState},
    postings::{Draft, house},
    session,
};

const PARTS_PER_MILLION: i128 = 1_000_000;
const DAY_MS: i64 = 86_400_000;
/// Longest time a grant may run, in days.
pub const GRANT_DAYS_MAX: u32 = 3_650;

/// What a grant promises and asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub name: String,
    pub amount: Amount,
    /// The requirement is this many times the amount.
    pub multiplier: u32,
    pub max_bet: Option<Amount>,
    /// Most that converts, as a multiple of the amount.
    pub max_cash_out_multiple: Option<u32>,
    pub days: u32,
}

/// Issues a grant. A lost or overdue one in its place is closed first.
pub fn issue(brand: &Brand, player: &Player, offer: &Offer, grant: GrantId, now: Timestamp) -> Decision {
    session::usable(&player.state, now)?;
    if !offer.amount.is_positive() || offer.days == 0 || offer.days > GRANT_DAYS_MAX {
        return Err(Rejected::InvalidValue { what: "a grant has a positive amount and 1 to 3650 days" }.into());
    }
    let mut draft = Draft::new(brand, player);
    expire_if_due(&mut draft, now)?;
    if let Some(old) = draft.player.state.bonus {
        if !is_lost(&draft.player.holdings, &draft.book, &old) {
            return Err(Rejected::BonusActive.into());
        }
        close(&mut draft, Fact::BonusForfeited)?;
    }
    let multiple = match (offer.max_cash_out_multiple, brand.policy.bonus_cash_out_multiple_max) {
        (Some(offer), Some(policy)) => Some(offer.min(policy)),
        (offer, policy) => offer.or(policy),
    };
    let number = player.state.grants_issued.checked_add(1).ok_or(protocol::MoneyError::Overflow)?;
    let requirement = offer.amount.checked_mul(i64::from(offer.multiplier))?;
    let deadline = now.plus_ms(i64::from(offer.days) * DAY_MS);
    draft.state().grants_issued = number;
    draft.state().bonus = Some(Grant {
        id: grant,
        number,
        amount: offer.amount,
        requirement,
        progress: Amount::ZERO,
        max_bet: offer.max_bet,
        max_cash_out: multiple.map(|multiple| offer.amount.checked_mul(i64::from(multiple))).transpose()?,
        deadline,
        issued_at: now,
    });
    draft.transfer(house(BonusCost), draft.of_player(Bonus, number), offer.amount)?;
    let currency = player.state.currency;
    draft.facts.push(Fact::BonusIssued(event::BonusIssued {
        grant,
        number,
        amount: offer.amount,
        currency,
        requirement,
        deadline,
    }));
    Ok(draft.plan(Done::BonusIssued))
}

/// The player gives the grant up: only bonus money goes, cash stays.
pub fn forfeit(brand: &Brand, player: &Player, grant: GrantId, now: Timestamp) -> Decision {
    if player.state.bonus.is_none_or(|active| active.id != grant) {
        return Err(Rejected::UnknownGrant.into());
    }
    let mut draft = Draft::new(brand, player);
    session::touch(draft.state(), now);
    close(&mut draft, Fact::BonusForfeited)?;
    Ok(draft.plan(Done::BonusEnded))
}

/// The grant as its player sees it.
pub fn view(player: &Player, book: &Book) -> Option<BonusView> {
    let grant = player.state.bonus?;
    let state = if is_lost(&player.holdings, book, &grant) { BonusState::Lost } else { BonusState::Active };
    Some(BonusView {
        grant: grant.id,
        state,
        amount: grant.amount,
        requirement: grant.requirement,
        progress: grant.progress,
        max_bet: grant.max_bet,
        deadline: grant.deadline,
    })
}

/// A bonus at zero with an open bet is not lost yet: its win may still come.
fn is_lost(holdings: &Holdings, book: &Book, grant: &Grant) -> bool {
    holdings.get(book, Bonus, grant.number).is_zero() && holdings.get(book, InPlayBonus, grant.number).is_zero()
}

/// The grant a bet is placed under now, if any: not lost, its deadline ahead.
pub(crate) fn active<'a>(player: &'a Player, book: &Book, now: Timestamp) -> Option<&'a Grant> {
    player.state.bonus.as_ref().filter(|grant| now < grant.deadline && !is_lost(&player.holdings, book, grant))
}

/// How a stake is paid: real money first, bonus funds after it where the game takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    pub cash: Amount,
    pub bonus: Amount,
    /// Number of the grant the bet is placed under; zero without one.
    pub grant: u32,
    /// What the stake adds to the requirement at settlement.
    pub weighted: Amount,
}

impl Split {
    pub fn of(game: &Game, player: &Player, book: &Book, stake: Amount, now: Timestamp) -> Result<Self, Rejected> {
        let cash_held = player.holdings.get(book, AccountCode::Cash, 0).max(Amount::ZERO);
        let grant = active(player, book, now);
        let cash = cash_held.min(stake);
        let bonus = Amount(stake.0 - cash.0);
        let bonus_held = match grant {
            Some(grant) if game.bonus_eligible => player.holdings.get(book, Bonus, grant.number),
            _ => Amount::ZERO,
        };
        if bonus > bonus_held {
            return Err(Rejected::InsufficientFunds { available: Amount(cash_held.0.saturating_add(bonus_held.0)) });
        }
        let weighted = grant.map_or(0, |_| i128::from(stake.0) * i128::from(game.wager_weight_ppm) / PARTS_PER_MILLION);
        let weighted = Amount(i64::try_from(weighted).unwrap_or(i64::MAX));
        let counts = bonus.is_positive() || weighted.is_positive();
        Ok(Self { cash, bonus, grant: grant.filter(|_| counts).map_or(0, |grant| grant.number), weighted })
    }

    /// The terms bind every bet that uses the bonus or counts toward its requirement.
    pub fn check_terms(&self, state: &PlayerState, round_stake: Amount) -> Result<(), Rejected> {
        match state.bonus {
            Some(Grant { number, max_bet: Some(max), .. }) if number == self.grant && round_stake > max => {
                Err(Rejected::BonusMaxBet { max })
            }
            _ => Ok(()),
        }
    }
}

/// A win split as its bet's stakes were, the odd unit to cash: (cash, bonus). A free bet's win is cash.
pub(crate) fn share(win: Amount, stake_cash: Amount, stake_bonus: Amount) -> (Amount, Amount) {
    let whole = i128::from(stake_cash.0) + i128::from(stake_bonus.0);
    if whole == 0 || stake_bonus.is_zero() {
        return (win, Amount::ZERO);
    }
    // A share of an i64 by a fraction of at most one fits an i64.
    let bonus = Amount((i128::from(win.0) * i128::from(stake_bonus.0) / whole) as i64);
    (Amount(win.0 - bonus.0), bonus)
}

/// Where bonus money that comes back ended up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Returned {
    pub cash: Amount,
    pub bonus: Amount,
    pub withheld: Amount,
}

/// Gives a bonus share back (a win's, or a returned stake's) from `from`: to the grant while it stands, to cash within the
/// cash-out after its conversion, else to bonus cost.
pub(crate) fn give_back(draft: &mut Draft, from: AccountId, amount: Amount, number: u32) -> Result<Returned, LegError> {
    let mut returned = Returned::default();
    if draft.player.state.bonus.is_some_and(|grant| grant.number == number) {
        draft.transfer(from, draft.of_player(Bonus, number), amount)?;
        returned.bonus = amount;
        return Ok(returned);
    }
    if let Some(grant) = draft.state().completed.iter_mut().find(|grant| grant.number == number) {
        returned.cash = grant.room.map_or(amount, |room| room.min(amount));
        grant.room = grant.room.map(|room| Amount(room.0 - returned.cash.0));
        draft.pay_cash(from, returned.cash)?;
    }
    returned.withheld = amount.checked_sub(returned.cash)?;
    draft.transfer(from, house(BonusCost), returned.withheld)?;
    Ok(returned)
}

/// Counts a settled stake toward the requirement of the grant it was placed under.
pub(crate) fn add_progress(draft: &mut Draft, number: u32, weighted: Amount, now: Timestamp) -> Option<WagerProgress> {
    let grant = draft.state().bonus.as_mut().filter(|grant| grant.number == number && now < grant.deadline)?;
    if weighted.is_zero() {
        return None;
    }
    grant.progress = Amount(grant.progress.0.saturating_add(weighted.0));
    Some(WagerProgress { grant: grant.id, added: weighted, done: grant.progress, requirement: grant.requirement })
}

/// Takes back the progress of a settled stake that is returned.
pub(crate) fn take_progress(state: &mut PlayerState, number: u32, weighted: Amount) {
    if let Some(grant) = state.bonus.as_mut().filter(|grant| grant.number == number) {
        grant.progress = Amount(grant.progress.0.saturating_sub(weighted.0).max(0));
    }
}

/// Converts the grant once its requirement is met. The fact is for the caller to place after those of the settlement.
pub(crate) fn convert_if_met(draft: &mut Draft, now: Timestamp) -> Result<Option<Fact>, LegError> {
    let Some(grant) = draft.player.state.bonus.filter(|grant| grant.progress >= grant.requirement && now < grant.deadline) else {
        return Ok(None);
    };
    let balance = draft.held(Bonus, grant.number);
    let converted = grant.max_cash_out.map_or(balance, |max| max.min(balance));
    let capped = balance.checked_sub(converted)?;
    let from = draft.of_player(Bonus, grant.number);
    draft.pay_cash(from, converted)?;
    draft.transfer(from, house(BonusCost), capped)?;
    let room = grant.max_cash_out.map(|max| Amount(max.0 - converted.0));
    let state = draft.state();
    state.bonus = None;
    if state.completed.len() >= PlayerState::COMPLETED_MAX {
        // Older conversions stand; what still comes back for their bets goes to bonus cost.
        state.completed.remove(0);
    }
    state.completed.push(CompletedGrant { number: grant.number, room });
    let currency = draft.book.currency;
    Ok(Some(Fact::BonusCompleted(event::BonusCompleted { grant: grant.id, converted, capped, currency })))
}

/// Expires the grant whose deadline has passed. Bets still open keep their stakes in play; their bonus share follows to bonus
/// cost when it comes back.
pub(crate) fn expire_if_due(draft: &mut Draft, now: Timestamp) -> Result<(), LegError> {
    match draft.player.state.bonus {
        Some(grant) if now >= grant.deadline => close(draft, Fact::BonusExpired),
        _ => Ok(()),
    }
}

fn close(draft: &mut Draft, fact: fn(event::BonusEnded) -> Fact) -> Result<(), LegError> {
    let Some(grant) = draft.state().bonus.take() else {
        return Ok(());
    };
    let forfeited = draft.held(Bonus, grant.number);
    draft.transfer(draft.of_player(Bonus, grant.number), house(BonusCost), forfeited)?;
    let currency = draft.book.currency;
    draft.facts.push(fact(event::BonusEnded { grant: grant.id, forfeited, currency }));
    Ok(())
}
