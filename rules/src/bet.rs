//! Whether a bet may be placed, and what it does: instant rounds whole, held rounds up to their stake.
//!
//! The order of checks is MONEY's: account → session → game and stake → (first stake only) game cycle, reality check, session
//! time → eligibility, split, funds → stake, wager, loss limits → bonus terms. The first refusal wins and carries its numbers.
//! Later stakes of a round check exclusion, funds and limits only.

use protocol::{
    Amount, BetId, Book, Currency, Fact, JackpotId, Micro, MoneyError, ProviderId, RecordKey, RoundId, SessionId, Timestamp,
    event::{self, ContributionShare, RawJson},
};
use smallvec::{SmallVec, smallvec};

use crate::{
    bonus::{self, Split},
    brand::{Brand, Game, GameKind},
    limits,
    plan::{Decision, Done, Refused, Rejected},
    player::{Player, PlayerState, WindowUsage},
    postings::{Draft, revenue},
    protection,
    round::{RoundState, RoundStatus, Transaction, TransactionKind, TransactionStatus},
    session, windows,
};

/// A bet of a hosted instant game: accepted, drawn and settled in one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstantBet {
    pub round: RoundId,
    pub bet: BetId,
    pub stake: Amount,
}

/// A stake of a provider's round, as its callback says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBet<'a> {
    pub provider: ProviderId,
    pub round: &'a str,
    pub transaction: BetId,
    pub session: SessionId,
    pub stake: Amount,
    pub currency: Currency,
    pub is_free: bool,
}

/// An instant bet that passed every check and waits for its outcome.
#[derive(Clone, Debug)]
pub struct Accepted {
    player: Player,
    book: Book,
    bet: InstantBet,
    split: Split,
    usage: [WindowUsage; 3],
    game: protocol::GameId,
    provider: ProviderId,
    cycle: Cycle,
    contribution: Option<(JackpotId, Micro)>,
    now: Timestamp,
}

/// Decides on an instant bet, everything but its outcome.
pub fn accept_instant(brand: &Brand, game: &Game, player: &Player, bet: &InstantBet, now: Timestamp) -> Result<Accepted, Refused> {
    let decide = || {
        session::usable(&player.state, now)?;
        let round = RecordKey { kind: protocol::OwnerKind::Round, id: *bet.round.as_bytes() };
        first_stake(brand, game, &player.state, round, Some(bet.stake), None, now)?;
        funded(brand, game, player, Amount::ZERO, bet.stake, Terms::Bind, now)
    };
    let (split, usage) = decide().map_err(|why| refuse(brand, game, player, bet.stake, why, now))?;
    Ok(Accepted {
        player: player.clone(),
        book: brand.book(player.state.currency),
        bet: *bet,
        split,
        usage,
        game: game.id,
        provider: game.provider,
        cycle: Cycle::of(brand, game.kind),
        contribution: contribution(game, bet.stake)?,
        now,
    })
}

impl Accepted {
    /// The number of this draw under the player's seeds.
    pub const fn nonce(&self) -> u64 {
        self.player.state.fairness.nonce
    }

    /// Cash and bonus part of the stake.
    pub const fn stake(&self) -> (Amount, Amount) {
        (self.split.cash, self.split.bonus)
    }

    /// The whole round, settled with what it won.
    pub fn settle(self, win: Amount, detail: Option<RawJson>) -> Decision {
        if win.0 < 0 {
            return Err(MoneyError::Negative.into());
        }
        let Self { player, book, bet, split, usage, game, provider, cycle, contribution, now } = self;
        let mut draft = Draft::owning(book, player);
        let revenue = revenue(provider);
        draft.stake_to_house(revenue, split.cash, split.bonus, split.grant)?;
        let (win_cash, win_bonus) = bonus::share(win, split.cash, split.bonus);
        draft.pay_cash(revenue, win_cash)?;
        bonus::give_back(&mut draft, revenue, win_bonus, split.grant)?;
        let progress = bonus::add_progress(&mut draft, split.grant, split.weighted, now);
        let completed = if progress.is_some() { bonus::convert_if_met(&mut draft, now)? } else { None };
        let state = draft.state();
        state.usage = usage;
        count_stake(state, None, bet.stake, split.cash, now);
        let placed = limits::numbers(&usage);
        limits::correct(state, &placed, 0, win_cash.0.saturating_neg());
        if let Some(session) = &mut state.session {
            session.returned = Amount(session.returned.0.saturating_add(win.0));
        }
        cycle.note(state, game, now);
        state.fairness.nonce = state.fairness.nonce.saturating_add(1);
        if let Some((jackpot, micro)) = contribution {
            draft.contribute(jackpot, micro, true);
        }
        let balance = draft.balance()?;
        draft.facts.push(Fact::RoundSettled(event::RoundSettled {
            round: bet.round,
            bet: bet.bet,
            game,
            provider,
            currency: book.currency,
            stake_cash: split.cash,
            stake_bonus: split.bonus,
            win_cash,
            win_bonus,
            contributions: contribution.map(|(jackpot, micro)| ContributionShare { jackpot, micro }).into_iter().collect(),
            progress,
            detail,
            balance,
        }));
        draft.facts.extend(completed);
        let done = Done::Spun { round: bet.round, stake_cash: split.cash, stake_bonus: split.bonus, win_cash, win_bonus };
        Ok(draft.plan(done))
    }
}

/// Takes a stake of a held round into play. `round` is its record with the record's version, `None` before the first stake.
pub fn hold(
    brand: &Brand,
    game: &Game,
    player: &Player,
    round: Option<(u64, &RoundState)>,
    bet: &HeldBet<'_>,
    now: Timestamp,
) -> Decision {
    let (split, usage, is_first) = check_held(brand, game, player, round.map(|(_, state)| state), bet, now)
        .map_err(|why| refuse(brand, game, player, bet.stake, why, now))?;
    let mut draft = Draft::new(brand, player);
    draft.hold(split.cash, split.bonus, split.grant)?;
    let contribution = contribution(game, bet.stake)?;
    let contributions: SmallVec<[ContributionShare; 1]> =
        contribution.map(|(jackpot, micro)| ContributionShare { jackpot, micro }).into_iter().collect();
    let state = draft.state();
    state.usage = usage;
    count_stake(state, Some(bet.session), bet.stake, split.cash, now);
    if is_first {
        Cycle::of(brand, game.kind).note(state, game.id, now);
    }
    let key = RecordKey::provider_round(bet.provider, bet.round);
    if state.open_rounds.iter().all(|(open, _)| *open != key) {
        state.open_rounds.push((key, game.id));
    }
    if let Some((jackpot, micro)) = contribution {
        draft.contribute(jackpot, micro, false);
    }
    let kind = TransactionKind::Bet {
        is_free: bet.is_free,
        windows: limits::numbers(&usage),
        weighted: split.weighted,
        contributions: contributions.clone(),
        returned: Amount::ZERO,
    };
    let taken = Transaction {
        id: bet.transaction,
        at: now,
        kind,
        cash: split.cash,
        bonus: split.bonus,
        grant: split.grant,
        status: TransactionStatus::Held,
    };
    let balance = draft.balance()?;
    draft.facts.push(Fact::BetPlaced(event::BetPlaced {
        round: bet.round.to_owned(),
        bet: bet.transaction,
        game: game.id,
        provider: bet.provider,
        currency: bet.currency,
        stake_cash: split.cash,
        stake_bonus: split.bonus,
        is_free: bet.is_free,
        contributions: contributions.into_vec(),
        balance,
    }));
    if !bet.is_free {
        let (round, bet) = (bet.round.to_owned(), bet.transaction);
        draft.facts.push(Fact::WalletHold(event::WalletHold { round, bet, cash: split.cash, bonus: split.bonus }));
    }
    let (version, state) = extended(player, game, round, bet, is_first, taken, now);
    let mut plan = draft.plan_round(version, state, Done::BetAccepted);
    plan.absent = smallvec![RecordKey::tombstone(bet.provider, &bet.transaction.0)];
    Ok(plan)
}

fn extended(
    player: &Player,
    game: &Game,
    round: Option<(u64, &RoundState)>,
    bet: &HeldBet<'_>,
    is_first: bool,
    taken: Transaction,
    now: Timestamp,
) -> (u64, RoundState) {
    let (version, mut state) = match round {
        Some((version, state)) => (version, state.clone()),
        None => {
            let state = RoundState {
                provider: bet.provider,
                round: bet.round.to_owned(),
                player: player.id,
                session: bet.session,
                game: game.id,
                opened_at: now,
                status: RoundStatus::Open,
                transactions: SmallVec::new(),
            };
            (0, state)
        }
    };
    if is_first {
        state.session = bet.session;
    }
    state.transactions.push(taken);
    (version, state)
}

type Checked = (Split, [WindowUsage; 3]);

fn check_held(
    brand: &Brand,
    game: &Game,
    player: &Player,
    round: Option<&RoundState>,
    bet: &HeldBet<'_>,
    now: Timestamp,
) -> Result<(Split, [WindowUsage; 3], bool), Rejected> {
    let state = &player.state;
    session::usable(state, now)?;
    let is_first = round.is_none_or(|round| !round.has_live_bets());
    if is_first && session::running(brand, state, now).is_none_or(|running| running.id != bet.session) {
        return Err(Rejected::NoSession);
    }
    if bet.currency != state.currency {
        return Err(Rejected::WrongCurrency);
    }
    if bet.provider != game.provider {
        return Err(Rejected::UnknownGame);
    }
    if bet.is_free && !bet.stake.is_zero() {
        return Err(Rejected::InvalidValue { what: "a free round's bet has no stake" });
    }
    if let Some(round) = round {
        fits_round(round, game, player, bet, is_first)?;
    }
    let key = RecordKey::provider_round(bet.provider, bet.round);
    let stake = (!bet.is_free).then_some(bet.stake);
    if is_first {
        let known = state.open_rounds.iter().any(|(open, _)| *open == key);
        let entry_bytes = if known { 0 } else { game.id.as_str().len() + 18 };
        first_stake(brand, game, state, key, stake, Some(entry_bytes), now)?;
    } else if stake.is_some_and(|stake| !stake.is_positive()) {
        return Err(Rejected::StakeTooLow { min: Amount(1) });
    }
    if bet.is_free {
        let usage = limits::rolled(&state.usage, windows::window_numbers(&brand.time_zone, now));
        return Ok((Split::default(), usage, is_first));
    }
    let before = round.map_or(Amount::ZERO, RoundState::live_stake);
    let terms = if is_first { Terms::Bind } else { Terms::Waived };
    let (split, usage): Checked = funded(brand, game, player, before, bet.stake, terms, now)?;
    Ok((split, usage, is_first))
}

fn fits_round(round: &RoundState, game: &Game, player: &Player, bet: &HeldBet<'_>, is_first: bool) -> Result<(), Rejected> {
    let same = round.player == player.id && round.game == game.id && round.provider == bet.provider;
    if !same || (!is_first && round.session != bet.session) {
        return Err(Rejected::RoundMismatch);
    }
    if round.status != RoundStatus::Open {
        return Err(Rejected::RoundClosed);
    }
    if round.transactions.iter().any(|transaction| transaction.id == bet.transaction) {
        return Err(Rejected::ReferenceMismatch { transaction: bet.transaction });
    }
    if round.transactions.len() >= RoundState::TRANSACTIONS_MAX {
        return Err(Rejected::TooManyBets);
    }
    Ok(())
}

/// The checks between the account's and the funds', for the first stake of a round. `stake` is `None` for a free bet; `entry`
/// is what an open round adds to the player's row, `None` for an instant one.
fn first_stake(
    brand: &Brand,
    game: &Game,
    state: &PlayerState,
    round: RecordKey,
    stake: Option<Amount>,
    entry_bytes: Option<usize>,
    now: Timestamp,
) -> Result<(), Rejected> {
    let session = session::running(brand, state, now).ok_or(Rejected::NoSession)?;
    if !game.enabled {
        return Err(Rejected::GameDisabled);
    }
    if let Some(stake) = stake {
        check_stake_of_game(game, stake)?;
    }
    if let Some((open, _)) = state.open_rounds.iter().find(|(open, of)| *of == game.id && *open != round) {
        return Err(Rejected::RoundOpen { round: open.to_string() });
    }
    let cycle = Cycle::of(brand, game.kind);
    cycle.check(state, game.id, now)?;
    protection::check_reality(brand, state, session, now)?;
    limits::check_session_time(brand, state, session, now)?;
    match entry_bytes {
        Some(bytes) if bytes > 0 => {
            let is_full = state.open_rounds.len() >= PlayerState::OPEN_ROUNDS_MAX;
            let cycle_bytes = if cycle.is_noted(state, game.id) { 0 } else { game.id.as_str().len() + 7 };
            if is_full || state.room_bytes() < bytes + cycle_bytes { Err(Rejected::TooManyBets) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

fn check_stake_of_game(game: &Game, stake: Amount) -> Result<(), Rejected> {
    let min = game.min_stake.max(Amount(1));
    if stake < min {
        return Err(Rejected::StakeTooLow { min });
    }
    if stake > game.max_stake {
        return Err(Rejected::StakeTooHigh { max: game.max_stake });
    }
    if !game.steps.is_empty() && !game.steps.contains(&stake) {
        return Err(Rejected::StakeStep { steps: game.steps.clone() });
    }
    Ok(())
}

/// Whether bonus terms are checked: later stakes of a round check exclusion, limits and funds only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Terms {
    Bind,
    Waived,
}

fn funded(
    brand: &Brand,
    game: &Game,
    player: &Player,
    round_stake: Amount,
    stake: Amount,
    terms: Terms,
    now: Timestamp,
) -> Result<Checked, Rejected> {
    let state = &player.state;
    let split = Split::of(game, player, &brand.book(state.currency), stake, now)?;
    let usage = limits::rolled(&state.usage, windows::window_numbers(&brand.time_zone, now));
    limits::check(brand, state, &usage, round_stake, stake, split.cash)?;
    if terms == Terms::Bind {
        split.check_terms(state, Amount(round_stake.0.saturating_add(stake.0)))?;
    }
    Ok((split, usage))
}

/// Counts a stake in the running windows and, unless the round belongs to an earlier one, in the session.
fn count_stake(state: &mut PlayerState, of: Option<SessionId>, stake: Amount, cash: Amount, now: Timestamp) {
    let placed = limits::numbers(&state.usage);
    limits::correct(state, &placed, stake.0, cash.0);
    if let Some(session) = state.session.as_mut().filter(|session| of.is_none_or(|of| of == session.id)) {
        session.wagered = Amount(session.wagered.0.saturating_add(stake.0));
    }
    session::touch(state, now);
}

/// Stake × rate: a rate in parts per million of a minor unit is a whole number of micro units.
fn contribution(game: &Game, stake: Amount) -> Result<Option<(JackpotId, Micro)>, MoneyError> {
    let Some(rate) = game.jackpot.filter(|rate| rate.rate_ppm > 0 && stake.is_positive()) else {
        return Ok(None);
    };
    Ok(Some((rate.jackpot, Micro(stake.checked_mul(i64::from(rate.rate_ppm))?.0))))
}

/// The least time from start to start of rounds of one game.
#[derive(Clone, Copy, Debug)]
struct Cycle {
    own_ms: i64,
    /// The longest of all kinds: entries older than this bind nothing.
    longest_ms: i64,
}

impl Cycle {
    fn of(brand: &Brand, kind: GameKind) -> Self {
        let policy = &brand.policy;
        let own_ms = match kind {
            GameKind::Slot => policy.slot_cycle_ms,
            GameKind::Table => policy.table_cycle_ms,
        };
        Self { own_ms, longest_ms: policy.slot_cycle_ms.max(policy.table_cycle_ms) }
    }

    fn is_noted(&self, state: &PlayerState, game: protocol::GameId) -> bool {
        self.own_ms <= 0 || state.last_rounds.iter().any(|(of, _)| *of == game)
    }

    fn check(&self, state: &PlayerState, game: protocol::GameId, now: Timestamp) -> Result<(), Rejected> {
        if self.own_ms <= 0 {
            return Ok(());
        }
        let refuse = |wait_ms: i64| if wait_ms > 0 { Err(Rejected::GameCycle { wait_ms }) } else { Ok(()) };
        if let Some((_, started)) = state.last_rounds.iter().find(|(of, _)| *of == game) {
            return refuse(started.plus_ms(self.own_ms).since_ms(now));
        }
        let binding = || state.last_rounds.iter().filter(|(_, at)| at.plus_ms(self.longest_ms) > now);
        let is_full = binding().count() >= PlayerState::LAST_ROUNDS_MAX || state.room_bytes() < game.as_str().len() + 7;
        // The row has no place for another game's start: the oldest must run out first.
        let oldest = binding().map(|(_, at)| *at).min().filter(|_| is_full);
        oldest.map_or(Ok(()), |at| refuse(at.plus_ms(self.longest_ms).since_ms(now)))
    }

    fn note(&self, state: &mut PlayerState, game: protocol::GameId, now: Timestamp) {
        if self.own_ms <= 0 {
            return;
        }
        state.last_rounds.retain(|(of, at)| *of != game && at.plus_ms(self.longest_ms) > now);
        state.last_rounds.push((game, now));
    }
}

impl RoundState {
    fn live_bets(&self) -> impl Iterator<Item = &Transaction> {
        use TransactionStatus::{Held, Settled};
        self.transactions.iter().filter(|t| t.is_bet() && matches!(t.status, Held | Settled))
    }

    /// Whether a bet of the round stands: what was rolled back is no cycle and no stake.
    pub(crate) fn has_live_bets(&self) -> bool {
        self.live_bets().next().is_some()
    }

    /// The sum the stake ceiling is held against.
    fn live_stake(&self) -> Amount {
        Amount(self.live_bets().fold(0, |sum: i64, bet| sum.saturating_add(bet.cash.0).saturating_add(bet.bonus.0)))
    }
}

impl Transaction {
    pub(crate) const fn is_bet(&self) -> bool {
        matches!(self.kind, TransactionKind::Bet { .. })
    }
}

/// A refused debit, with its facts; a reality check that became due is shown by the refusal itself.
fn refuse(brand: &Brand, game: &Game, player: &Player, stake: Amount, why: Rejected, now: Timestamp) -> Refused {
    let currency = player.state.currency;
    let debit = Fact::DebitRefused(event::DebitRefused { game: game.id, stake, currency, code: why.code() });
    if matches!(why, Rejected::RealityCheckPending { .. }) {
        let mut draft = Draft::new(brand, player);
        draft.facts.push(debit);
        if protection::show_reality_check(brand, &mut draft, now) {
            return session::refused_with(draft, why);
        }
        return Refused { why, facts: draft.facts, player: None };
    }
    let mut facts = smallvec![debit];
    facts.extend(limits::hit(brand, &why, stake));
    Refused { why, facts, player: None }
}
