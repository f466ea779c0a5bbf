//! Taking bets and wins back: a provider's rollback, the operator's void.
//!
//! A reversal takes what cash there is; the shortfall becomes receivable. Usage, progress and contributions are corrected in
//! the windows, grant and jackpot of the original bet. Never blocked by limits, exclusion, session or status.

use protocol::{AccountCode, Amount, BetId, Fact, LegError, Micro, ProviderId, RecordKey, Timestamp, event};

use crate::{
    bonus,
    brand::{Brand, Game},
    limits,
    plan::{Decision, Done, Rejected},
    player::{Player, PlayerState},
    postings::{Draft, revenue},
    provider::{forget_round, raise_receivable, round_closed, set_carry},
    round::{RoundState, RoundStatus, TransactionKind, TransactionStatus},
};

/// A rollback as the provider's callback says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollbackCall<'a> {
    pub provider: ProviderId,
    pub round: &'a str,
    pub transaction: BetId,
    /// The bet or win to take back.
    pub reference: BetId,
}

/// What the shell found under the id a rollback refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    InThisRound,
    /// Never seen: the late bet must be refused when it comes.
    Unknown,
    /// A stored final refusal: the id can never become a bet.
    Refused,
    /// A transaction of another round or player.
    Elsewhere,
    /// Rolled back before it came, under another id.
    Tombstoned,
}

/// Takes a bet or a win back.
pub fn rollback(
    brand: &Brand,
    _game: Option<&Game>,
    player: &Player,
    round: Option<(u64, &RoundState)>,
    call: &RollbackCall<'_>,
    reference: Reference,
    _now: Timestamp,
) -> Decision {
    let mut draft = Draft::new(brand, player);
    match reference {
        Reference::Elsewhere => return Err(Rejected::ReferenceMismatch { transaction: call.reference }.into()),
        Reference::Tombstoned => return Ok(draft.plan(Done::AlreadyRolledBack)),
        Reference::Refused => return Ok(draft.plan(Done::Tombstoned)),
        Reference::Unknown => {
            let (provider, reference) = (call.provider, call.reference.0);
            draft.facts.push(Fact::Tombstoned(event::Tombstoned { provider, reference }));
            let mut plan = draft.plan(Done::Tombstoned);
            plan.tombstone = Some(RecordKey::tombstone(provider, &reference));
            return Ok(plan);
        }
        Reference::InThisRound => {}
    }
    let (version, state) = round.ok_or(Rejected::UnknownRound)?;
    if state.player != player.id || state.provider != call.provider {
        return Err(Rejected::RoundMismatch.into());
    }
    let Some(index) = state.transactions.iter().position(|t| t.id == call.reference) else {
        // A win that joined another one's entry in a full record cannot be told apart any more; the player keeps it.
        return Ok(draft.plan(Done::Tombstoned));
    };
    let mut round = state.clone();
    let done = match (state.transactions[index].status, state.transactions[index].is_bet()) {
        (TransactionStatus::RolledBack, _) => return Ok(draft.plan(Done::AlreadyRolledBack)),
        (TransactionStatus::Voided, _) => {
            // The stake came back with the void; from now on no win may retake it.
            round.transactions[index].status = TransactionStatus::RolledBack;
            Done::AlreadyRolledBack
        }
        (_, true) => {
            return_bet(&mut draft, &mut round, index, TransactionStatus::RolledBack, "rollback")?;
            Done::RolledBack { receivable: Amount::ZERO }
        }
        (_, false) => Done::RolledBack { receivable: reverse_win(&mut draft, &mut round, index)? },
    };
    if !round.transactions.iter().any(|t| t.is_bet() && t.status == TransactionStatus::Held) {
        forget_round(draft.state(), &round);
    }
    Ok(draft.plan_round(version, round, done))
}

/// Ends an open round by the operator's word or a deadline: every stake it holds returns.
pub fn void(
    brand: &Brand,
    _game: Option<&Game>,
    player: &Player,
    round: Option<(u64, &RoundState)>,
    reason: &str,
    _now: Timestamp,
) -> Decision {
    let (version, state) = round.ok_or(Rejected::UnknownRound)?;
    if state.player != player.id {
        return Err(Rejected::RoundMismatch.into());
    }
    if state.status != RoundStatus::Open {
        return Err(Rejected::RoundClosed.into());
    }
    let mut round = state.clone();
    let mut draft = Draft::new(brand, player);
    for index in 0..round.transactions.len() {
        if round.transactions[index].is_bet() && round.transactions[index].status == TransactionStatus::Held {
            return_bet(&mut draft, &mut round, index, TransactionStatus::Voided, reason)?;
        }
    }
    round.status = RoundStatus::Voided;
    forget_round(draft.state(), &round);
    draft.facts.push(round_closed(&round));
    Ok(draft.plan_round(version, round, Done::RoundVoided))
}

/// Returns a bet's stake by exactly its split, from play while it is held, from the house once it is settled.
fn return_bet(
    draft: &mut Draft,
    round: &mut RoundState,
    index: usize,
    status: TransactionStatus,
    reason: &str,
) -> Result<(), LegError> {
    let bet = &mut round.transactions[index];
    let TransactionKind::Bet { windows, weighted, contributions, .. } = &bet.kind else { return Ok(()) };
    let was_settled = bet.status == TransactionStatus::Settled;
    let (from_cash, from_bonus) = if was_settled {
        (revenue(round.provider), revenue(round.provider))
    } else {
        (draft.of_player(AccountCode::InPlayCash, 0), draft.of_player(AccountCode::InPlayBonus, bet.grant))
    };
    draft.pay_cash(from_cash, bet.cash)?;
    bonus::give_back(draft, from_bonus, bet.bonus, bet.grant)?;
    if was_settled {
        bonus::take_progress(draft.state(), bet.grant, *weighted);
    }
    let stake = bet.cash.checked_add(bet.bonus)?;
    limits::correct(draft.state(), windows, -stake.0, -bet.cash.0);
    draft.count_session(round.session, -stake.0, 0);
    for share in contributions {
        draft.contribute(share.jackpot, share.micro.checked_neg()?, false);
    }
    let (bet_id, placed_at, stake_cash, stake_bonus) = (bet.id, bet.at, bet.cash, bet.bonus);
    bet.status = status;
    if !round.has_live_bets() {
        // A round whose bets were all returned is no cycle of its game.
        draft.state().last_rounds.retain(|(game, at)| *game != round.game || *at != placed_at);
    }
    let (balance, currency) = (draft.balance()?, draft.book.currency);
    draft.facts.push(Fact::BetVoided(event::BetVoided {
        round: round.round.clone(),
        bet: bet_id,
        game: round.game,
        provider: round.provider,
        currency,
        stake_cash,
        stake_bonus,
        was_settled,
        reason: reason.to_owned(),
        balance,
    }));
    Ok(())
}

/// Takes a win back; answers what the player could not pay.
fn reverse_win(draft: &mut Draft, round: &mut RoundState, index: usize) -> Result<Amount, LegError> {
    let to = revenue(round.provider);
    let win = &mut round.transactions[index];
    win.status = TransactionStatus::RolledBack;
    let (id, cash, bonus, grant) = (win.id, win.cash, win.bonus, win.grant);
    let TransactionKind::Win { bet, micro, withheld } = win.kind else { return Ok(Amount::ZERO) };
    let owed = cash.checked_add(uncarry(draft.state(), round.provider, micro)?)?;
    let receivable = draft.reclaim_cash(to, owed.max(Amount::ZERO))?;
    // A unit that many wins made together may have been paid to bonus by this one: its cash goes back where it is due.
    draft.pay_cash(to, Amount(owed.0.min(0).saturating_neg()))?;
    draft.reclaim_bonus(to, bonus, grant)?;
    draft.transfer(crate::postings::house(AccountCode::BonusCost), to, withheld)?;
    draft.count_session(round.session, 0, -owed.0.saturating_add(bonus.0));
    if let Some(of) = round.transactions.iter_mut().find(|t| t.id == bet)
        && let TransactionKind::Bet { windows, returned, .. } = &mut of.kind
    {
        *returned = Amount(returned.0.saturating_sub(owed.0));
        limits::correct(draft.state(), windows, 0, owed.0);
    }
    let (balance, currency) = (draft.balance()?, draft.book.currency);
    draft.facts.push(Fact::WinReversed(event::WinReversed {
        round: round.round.clone(),
        win: id,
        game: round.game,
        provider: round.provider,
        currency,
        cash: owed,
        bonus,
        receivable,
        balance,
    }));
    if receivable.is_positive() {
        raise_receivable(draft, receivable, id);
    }
    Ok(receivable)
}

/// Takes a win's remainder out of the carry; answers by how many units its cash must be corrected (one less to one more).
fn uncarry(state: &mut PlayerState, provider: ProviderId, micro: Micro) -> Result<Amount, LegError> {
    if micro == Micro::ZERO {
        return Ok(Amount::ZERO);
    }
    let before = state.carries.iter().find(|(of, _)| *of == provider).map_or(Micro::ZERO, |(_, carry)| *carry);
    let (units, rest) = before.checked_add(micro.checked_neg()?)?.split();
    let owed = units.0.saturating_neg();
    // Without a place for the remainder it is rounded in the player's favour, as when it was paid.
    Ok(Amount(if set_carry(state, provider, rest) { owed } else { owed.saturating_sub(1) }))
}
