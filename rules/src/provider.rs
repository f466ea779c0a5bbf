//! What a provider's calls do to a held round: wins, the close, promotional wins. Reversals stand in [`crate::reversal`].
//!
//! Invariant: nothing here asks for limits, exclusion, session or status. A win is never blocked by player protection.

use protocol::{
    AccountCode, Amount, BetId, Currency, Fact, LegError, Micro, MoneyError, ProviderId, RecordKey, Timestamp,
    event::{self, WagerProgress},
};
use smallvec::SmallVec;

pub use crate::reversal::{Reference, RollbackCall, rollback, void};
use crate::{
    bonus,
    brand::{Brand, Game},
    limits,
    plan::{Decision, Done, Rejected},
    player::{Player, PlayerState},
    postings::{Draft, house, revenue},
    round::{RoundState, RoundStatus, Transaction, TransactionKind, TransactionStatus},
};

/// A win as the provider's callback says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WinCall<'a> {
    pub provider: ProviderId,
    pub round: &'a str,
    pub transaction: BetId,
    /// The bet this pays.
    pub bet: BetId,
    pub amount: Amount,
    /// The part below a minor unit.
    pub micro: Micro,
    pub currency: Currency,
    /// Releases every stake the round still holds and closes it.
    pub is_final: bool,
}

/// What happened to one bet in a settlement, for its fact.
#[derive(Clone, Copy, Debug)]
struct Settled {
    bet: BetId,
    stake_cash: Amount,
    stake_bonus: Amount,
    win_cash: Amount,
    win_bonus: Amount,
    progress: Option<WagerProgress>,
}

impl Settled {
    const fn nothing(bet: BetId) -> Self {
        let zero = Amount::ZERO;
        Self { bet, stake_cash: zero, stake_bonus: zero, win_cash: zero, win_bonus: zero, progress: None }
    }
}

/// Pays a win; the final one settles and closes the round.
pub fn win(
    brand: &Brand,
    _game: Option<&Game>,
    player: &Player,
    round: Option<(u64, &RoundState)>,
    call: &WinCall<'_>,
    now: Timestamp,
) -> Decision {
    let (version, state) = round.ok_or(Rejected::BetNotFound)?;
    let index = paid_bet(player, state, call)?;
    let mut round = state.clone();
    let mut draft = Draft::new(brand, player);
    let mut receivable = Amount::ZERO;
    let mut settled: SmallVec<[Settled; 2]> = SmallVec::new();
    if round.transactions[index].status == TransactionStatus::Voided {
        let (short, retaken) = retake(&mut draft, &mut round, index, now)?;
        receivable = short;
        settled.push(retaken);
    }
    if call.is_final {
        release_all(&mut draft, &mut round, &mut settled, now)?;
    }
    let paid = pay(&mut draft, &mut round, index, call, now)?;
    match settled.iter_mut().find(|settled| settled.bet == call.bet) {
        Some(settled) => (settled.win_cash, settled.win_bonus) = paid,
        None => settled.push(Settled { win_cash: paid.0, win_bonus: paid.1, ..Settled::nothing(call.bet) }),
    }
    let completed = bonus::convert_if_met(&mut draft, now)?;
    push_settled(&mut draft, &round, &settled)?;
    draft.facts.extend(completed);
    if receivable.is_positive() {
        raise_receivable(&mut draft, receivable, call.bet);
    }
    if call.is_final {
        close_round(&mut draft, &mut round);
    }
    Ok(draft.plan_round(version, round, Done::WinPaid { receivable }))
}

/// The index of the bet a win pays, if it may be paid at all.
fn paid_bet(player: &Player, round: &RoundState, call: &WinCall<'_>) -> Result<usize, Rejected> {
    if round.player != player.id || round.provider != call.provider {
        return Err(Rejected::RoundMismatch);
    }
    if call.currency != player.state.currency {
        return Err(Rejected::WrongCurrency);
    }
    if call.amount.0 < 0 || call.micro.0 < 0 {
        return Err(Rejected::Money(MoneyError::Negative));
    }
    let index = round.transactions.iter().position(|t| t.id == call.bet).ok_or(Rejected::BetNotFound)?;
    let bet = &round.transactions[index];
    if !bet.is_bet() {
        return Err(Rejected::ReferenceMismatch { transaction: call.bet });
    }
    match bet.status {
        TransactionStatus::RolledBack => Err(Rejected::BetRolledBack),
        _ => Ok(index),
    }
}

/// Ends a round: what it still holds goes to the house. Closing what is closed moves nothing.
pub fn close(brand: &Brand, _game: Option<&Game>, player: &Player, round: Option<(u64, &RoundState)>, now: Timestamp) -> Decision {
    let (version, state) = round.ok_or(Rejected::UnknownRound)?;
    if state.player != player.id {
        return Err(Rejected::RoundMismatch.into());
    }
    let mut round = state.clone();
    let mut draft = Draft::new(brand, player);
    let mut settled = SmallVec::new();
    release_all(&mut draft, &mut round, &mut settled, now)?;
    let completed = bonus::convert_if_met(&mut draft, now)?;
    push_settled(&mut draft, &round, &settled)?;
    draft.facts.extend(completed);
    close_round(&mut draft, &mut round);
    Ok(draft.plan_round(version, round, Done::RoundClosed))
}

/// A win without a bet, charged to bonus cost.
#[expect(clippy::too_many_arguments, reason = "the callback's own fields; a struct of its own would only repeat them")]
pub fn promo_win(
    brand: &Brand,
    player: &Player,
    provider: ProviderId,
    campaign: &str,
    amount: Amount,
    micro: Micro,
    currency: Currency,
    _now: Timestamp,
) -> Decision {
    if currency != player.state.currency {
        return Err(Rejected::WrongCurrency.into());
    }
    if amount.0 < 0 || micro.0 < 0 {
        return Err(MoneyError::Negative.into());
    }
    let mut draft = Draft::new(brand, player);
    let (units, _) = carry(draft.state(), provider, amount, micro)?;
    draft.pay_cash(house(AccountCode::BonusCost), units)?;
    let balance = draft.balance()?;
    let campaign = campaign.to_owned();
    draft.facts.push(Fact::PromoPaid(event::PromoPaid { provider, campaign, amount: units, currency, balance }));
    Ok(draft.plan(Done::PromoPaid))
}

/// Releases every held stake to the house and counts its progress.
fn release_all(
    draft: &mut Draft,
    round: &mut RoundState,
    settled: &mut SmallVec<[Settled; 2]>,
    now: Timestamp,
) -> Result<(), LegError> {
    let revenue = revenue(round.provider);
    for bet in &mut round.transactions {
        let TransactionKind::Bet { weighted, contributions, .. } = &bet.kind else { continue };
        if bet.status != TransactionStatus::Held {
            continue;
        }
        bet.status = TransactionStatus::Settled;
        draft.release(revenue, bet.cash, bet.bonus, bet.grant)?;
        let progress = bonus::add_progress(draft, bet.grant, *weighted, now);
        for share in contributions {
            draft.contribute(share.jackpot, Micro::ZERO, true);
        }
        settled.push(Settled { stake_cash: bet.cash, stake_bonus: bet.bonus, progress, ..Settled::nothing(bet.id) });
    }
    Ok(())
}

/// A win after a void: the stake that was returned is taken again and settled. Answers what the player could not pay.
fn retake(draft: &mut Draft, round: &mut RoundState, index: usize, now: Timestamp) -> Result<(Amount, Settled), LegError> {
    let revenue = revenue(round.provider);
    let session = round.session;
    let bet = &mut round.transactions[index];
    let mut settled = Settled { stake_cash: bet.cash, stake_bonus: bet.bonus, ..Settled::nothing(bet.id) };
    let TransactionKind::Bet { windows, weighted, contributions, .. } = &bet.kind else { return Ok((Amount::ZERO, settled)) };
    let short = draft.reclaim_cash(revenue, bet.cash)?;
    draft.reclaim_bonus(revenue, bet.bonus, bet.grant)?;
    let stake = bet.cash.checked_add(bet.bonus)?;
    limits::correct(draft.state(), windows, stake.0, bet.cash.0);
    draft.count_session(session, stake.0, 0);
    settled.progress = bonus::add_progress(draft, bet.grant, *weighted, now);
    for share in contributions {
        draft.contribute(share.jackpot, share.micro, true);
    }
    bet.status = TransactionStatus::Settled;
    Ok((short, settled))
}

/// Pays the win's whole units by the funds of its bet and records it; answers what reached cash and bonus.
fn pay(
    draft: &mut Draft,
    round: &mut RoundState,
    index: usize,
    call: &WinCall<'_>,
    now: Timestamp,
) -> Result<(Amount, Amount), LegError> {
    let from = revenue(round.provider);
    let (units, carried) = carry(draft.state(), call.provider, call.amount, call.micro)?;
    let bet = &mut round.transactions[index];
    let (share_cash, share_bonus) = bonus::share(units, bet.cash, bet.bonus);
    draft.pay_cash(from, share_cash)?;
    let back = bonus::give_back(draft, from, share_bonus, bet.grant)?;
    let cash = share_cash.checked_add(back.cash)?;
    let grant = bet.grant;
    if let TransactionKind::Bet { windows, returned, .. } = &mut bet.kind {
        *returned = Amount(returned.0.saturating_add(cash.0));
        limits::correct(draft.state(), windows, 0, cash.0.saturating_neg());
    }
    draft.count_session(round.session, 0, cash.0.saturating_add(back.bonus.0));
    let kind = TransactionKind::Win { bet: call.bet, micro: carried, withheld: back.withheld };
    let status = TransactionStatus::Settled;
    round.record(Transaction { id: call.transaction, at: now, kind, cash, bonus: back.bonus, grant, status });
    Ok((cash, back.bonus))
}

impl RoundState {
    /// Keeps a win. Bets are refused at [`Self::TRANSACTIONS_MAX`], wins never: beyond it a win joins the last one of its bet, so
    /// a record has at most twice as many entries.
    fn record(&mut self, win: Transaction) {
        let TransactionKind::Win { bet, micro, withheld } = &win.kind else { return };
        let same_bet = |t: &&mut Transaction| {
            t.status == TransactionStatus::Settled && matches!(&t.kind, TransactionKind::Win { bet: of, .. } if of == bet)
        };
        let is_full = self.transactions.len() >= Self::TRANSACTIONS_MAX;
        let Some(last) = self.transactions.iter_mut().rev().find(same_bet).filter(|_| is_full) else {
            return self.transactions.push(win);
        };
        last.cash = Amount(last.cash.0.saturating_add(win.cash.0));
        last.bonus = Amount(last.bonus.0.saturating_add(win.bonus.0));
        if let TransactionKind::Win { micro: micro_so_far, withheld: withheld_so_far, .. } = &mut last.kind {
            *micro_so_far = Micro(micro_so_far.0.saturating_add(micro.0));
            *withheld_so_far = Amount(withheld_so_far.0.saturating_add(withheld.0));
        }
    }
}

impl Draft {
    /// Corrects the session's figures, while the session of the round still runs.
    pub(crate) fn count_session(&mut self, of: protocol::SessionId, wagered: i64, returned: i64) {
        if let Some(session) = self.state().session.as_mut().filter(|session| session.id == of) {
            session.wagered = Amount(session.wagered.0.saturating_add(wagered));
            session.returned = Amount(session.returned.0.saturating_add(returned));
        }
    }
}

/// The whole units of an amount with what was carried before, and what this amount changed the carry by. When the row has no
/// place for another provider's remainder, the remainder is rounded up to the player.
pub(crate) fn carry(
    state: &mut PlayerState,
    provider: ProviderId,
    amount: Amount,
    micro: Micro,
) -> Result<(Amount, Micro), LegError> {
    if micro == Micro::ZERO {
        return Ok((amount, Micro::ZERO));
    }
    let before = state.carries.iter().find(|(of, _)| *of == provider).map_or(Micro::ZERO, |(_, carry)| *carry);
    let (units, rest) = before.checked_add(micro)?.split();
    let total = amount.checked_add(units)?;
    if !set_carry(state, provider, rest) {
        return Ok((total.checked_add(Amount(1))?, Micro::ZERO));
    }
    Ok((total, Micro(rest.0 - before.0)))
}

/// Keeps a provider's remainder; answers false when there is no place for it.
pub(crate) fn set_carry(state: &mut PlayerState, provider: ProviderId, rest: Micro) -> bool {
    let at = state.carries.iter().position(|(of, _)| *of == provider);
    match at {
        Some(index) if rest == Micro::ZERO => drop(state.carries.remove(index)),
        Some(index) => state.carries[index].1 = rest,
        None if rest == Micro::ZERO => {}
        None => {
            let is_full = state.carries.len() >= PlayerState::CARRIES_MAX || state.room_bytes() < provider.as_str().len() + 4;
            if is_full {
                return false;
            }
            state.carries.push((provider, rest));
        }
    }
    true
}

fn push_settled(draft: &mut Draft, round: &RoundState, settled: &[Settled]) -> Result<(), LegError> {
    let (balance, currency) = (draft.balance()?, draft.book.currency);
    for settled in settled {
        draft.facts.push(Fact::BetSettled(event::BetSettled {
            round: round.round.clone(),
            bet: settled.bet,
            game: round.game,
            provider: round.provider,
            currency,
            stake_cash: settled.stake_cash,
            stake_bonus: settled.stake_bonus,
            win_cash: settled.win_cash,
            win_bonus: settled.win_bonus,
            progress: settled.progress,
            balance,
        }));
    }
    Ok(())
}

fn close_round(draft: &mut Draft, round: &mut RoundState) {
    forget_round(draft.state(), round);
    if round.status == RoundStatus::Open {
        round.status = RoundStatus::Closed;
        draft.facts.push(round_closed(round));
    }
}

pub(crate) fn round_closed(round: &RoundState) -> Fact {
    Fact::RoundClosed(event::RoundClosed { round: round.round.clone(), game: round.game, provider: round.provider })
}

/// Takes a round off the player's list of held ones.
pub(crate) fn forget_round(state: &mut PlayerState, round: &RoundState) {
    let key = RecordKey::provider_round(round.provider, &round.round);
    state.open_rounds.retain(|(open, _)| *open != key);
}

pub(crate) fn raise_receivable(draft: &mut Draft, amount: Amount, reference: BetId) {
    let currency = draft.book.currency;
    draft.facts.push(Fact::ReceivableRaised(event::ReceivableRaised { amount, currency, reference: reference.0 }));
}
