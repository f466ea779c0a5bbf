//! The reference: what a casino without bonuses owes its players, in plain numbers. It shares no code with the rules.

use std::collections::{HashMap, HashSet};

use protocol::{ErrorCode, PlayerId, frame::LimitKind};
use uuid::Uuid;

use crate::support::{
    catalogue::Thirds,
    play::{Call, What},
};

const MICRO: i128 = 1_000_000;
const DAY_MS: i64 = 86_400_000;

/// Minor units, and the version of the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub cash: i64,
    pub in_play: i64,
    pub version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stake {
    Held,
    Settled,
    RolledBack,
}

#[derive(Clone, Debug)]
struct Bet {
    id: Uuid,
    stake: i64,
    day: i64,
    is: Stake,
}

#[derive(Clone, Debug)]
struct Win {
    id: Uuid,
    micro: i128,
    is_live: bool,
}

#[derive(Clone, Debug, Default)]
struct Round {
    is_closed: bool,
    bets: Vec<Bet>,
    wins: Vec<Win>,
}

#[derive(Clone, Debug, Default)]
struct Account {
    balance: Balance,
    /// When the session was last used.
    session: Option<i64>,
    spins: u64,
    /// Of everything won at the provider and not taken back.
    won_micro: i128,
    wagered: (i64, i64),
    limit: Option<i64>,
    relaxing: Option<(Option<i64>, i64)>,
    rounds: HashMap<String, Round>,
    open: Option<String>,
}

/// Everything the reference knows.
#[derive(Default)]
pub struct Reference {
    accounts: HashMap<PlayerId, Account>,
    /// Provider ids that stand in the ledger, and whether they were accepted.
    stored: HashMap<Uuid, bool>,
    tombstones: HashSet<Uuid>,
    inactivity_ms: i64,
    relax_ms: i64,
}

type Verdict = Result<(), ErrorCode>;

impl Reference {
    pub fn new(inactivity_ms: i64, relax_ms: i64) -> Self {
        Self { inactivity_ms, relax_ms, ..Self::default() }
    }

    /// What a call never seen before does: the balance after it, or why not.
    pub fn decide(&mut self, call: &Call, now: i64) -> Result<Balance, ErrorCode> {
        if !matches!(call.what, What::Open) && !self.accounts.contains_key(&call.player) {
            return Err(ErrorCode::UnknownPlayer);
        }
        let verdict = self.apply(call, now);
        if call.is_provider() && verdict != Err(ErrorCode::BetNotFound) {
            self.stored.insert(call.id, verdict.is_ok());
        }
        verdict?;
        let account = self.accounts.entry(call.player).or_default();
        account.balance.version += 1;
        Ok(account.balance)
    }

    fn apply(&mut self, call: &Call, now: i64) -> Verdict {
        let inactivity_ms = self.inactivity_ms;
        let Some(account) = self.accounts.get_mut(&call.player) else {
            self.accounts.insert(call.player, Account::default());
            return Ok(());
        };
        let is_running = account.session.is_some_and(|seen| now < seen + inactivity_ms);
        match &call.what {
            What::Open => Err(ErrorCode::InvalidValue),
            What::Fund(amount) => {
                account.balance.cash += amount;
                Ok(())
            }
            What::StartSession => {
                account.session = Some(now);
                Ok(())
            }
            What::EndSession => account.session.take().map(drop).ok_or(ErrorCode::InvalidValue),
            What::Acknowledge => Err(if account.session.is_some() { ErrorCode::InvalidValue } else { ErrorCode::NoSession }),
            What::Spin(stake) => account.spin(*stake, is_running, now),
            What::Bet { round, stake } => {
                if self.tombstones.contains(&call.id) {
                    return Err(ErrorCode::BetRolledBack);
                }
                account.bet(call.id, round, *stake, is_running, now)
            }
            What::Win { round, bet, amount, micro, is_final } => {
                account.win(call.id, round, *bet, i128::from(*amount) * MICRO + i128::from(*micro), *is_final)
            }
            What::Rollback { round, reference } => {
                if account.rounds.get(round).is_some_and(|round| round.knows(*reference)) {
                    account.roll_back(round, *reference, now);
                    return Ok(());
                }
                match self.stored.get(reference) {
                    Some(true) => return Err(ErrorCode::RoundMismatch),
                    Some(false) => {}
                    None => drop(self.tombstones.insert(*reference)),
                }
                Ok(())
            }
            What::Close { round } => account.close(round),
            What::Promo { amount, micro } => {
                account.pay(i128::from(*amount) * MICRO + i128::from(*micro));
                Ok(())
            }
            What::Limit { limit: LimitKind::Wager, value, .. } => {
                account.touch(now);
                account.set_limit(*value, now, self.relax_ms);
                Ok(())
            }
            What::Limit { .. } | What::IssueBonus(_) | What::ForfeitBonus(_) => unreachable!("the reference knows no bonus"),
        }
    }

    pub fn balance(&self, player: PlayerId) -> Option<Balance> {
        self.accounts.get(&player).map(|account| account.balance)
    }
}

impl Round {
    fn knows(&self, id: Uuid) -> bool {
        self.bets.iter().any(|bet| bet.id == id) || self.wins.iter().any(|win| win.id == id)
    }

    fn has_live_bets(&self) -> bool {
        self.bets.iter().any(|bet| bet.is != Stake::RolledBack)
    }
}

impl Account {
    fn touch(&mut self, now: i64) {
        if let Some(seen) = &mut self.session {
            *seen = now.max(*seen);
        }
    }

    /// Funds first, then the limit; counts the stake when both allow it.
    fn stake(&mut self, stake: i64, now: i64) -> Verdict {
        let day = now.div_euclid(DAY_MS);
        let wagered = if self.wagered.0 == day { self.wagered.1 } else { 0 };
        if stake > self.balance.cash {
            return Err(ErrorCode::InsufficientFunds);
        }
        if self.limit.is_some_and(|limit| wagered + stake > limit) {
            return Err(ErrorCode::WagerLimit);
        }
        self.wagered = (day, wagered + stake);
        self.balance.cash -= stake;
        self.touch(now);
        Ok(())
    }

    fn spin(&mut self, stake: i64, is_running: bool, now: i64) -> Verdict {
        if !is_running {
            return Err(ErrorCode::NoSession);
        }
        self.stake(stake, now)?;
        self.balance.cash += Thirds::win(stake, self.spins);
        self.spins += 1;
        Ok(())
    }

    fn bet(&mut self, id: Uuid, name: &str, stake: i64, is_running: bool, now: i64) -> Verdict {
        let round = self.rounds.get(name);
        let is_first = round.is_none_or(|round| !round.has_live_bets());
        if is_first && !is_running {
            return Err(ErrorCode::NoSession);
        }
        if round.is_some_and(|round| round.is_closed) {
            return Err(ErrorCode::RoundClosed);
        }
        if is_first && self.open.as_deref().is_some_and(|open| open != name) {
            return Err(ErrorCode::RoundOpen);
        }
        self.stake(stake, now)?;
        self.balance.in_play += stake;
        self.open = Some(name.to_owned());
        let bet = Bet { id, stake, day: now.div_euclid(DAY_MS), is: Stake::Held };
        self.rounds.entry(name.to_owned()).or_default().bets.push(bet);
        Ok(())
    }

    fn win(&mut self, id: Uuid, name: &str, bet: Uuid, micro: i128, is_final: bool) -> Verdict {
        let round = self.rounds.get_mut(name).ok_or(ErrorCode::BetNotFound)?;
        if round.wins.iter().any(|win| win.id == bet) {
            return Err(ErrorCode::RoundMismatch);
        }
        match round.bets.iter().find(|of| of.id == bet).map(|bet| bet.is) {
            None => return Err(ErrorCode::BetNotFound),
            Some(Stake::RolledBack) => return Err(ErrorCode::BetRolledBack),
            Some(_) => {}
        }
        round.wins.push(Win { id, micro, is_live: true });
        if is_final {
            self.close(name)?;
        }
        self.pay(micro);
        Ok(())
    }

    fn close(&mut self, name: &str) -> Verdict {
        let round = self.rounds.get_mut(name).ok_or(ErrorCode::UnknownRound)?;
        for bet in round.bets.iter_mut().filter(|bet| bet.is == Stake::Held) {
            bet.is = Stake::Settled;
            self.balance.in_play -= bet.stake;
        }
        round.is_closed = true;
        self.open.take_if(|open| open == name);
        Ok(())
    }

    /// Whole units are paid once they are whole; the player has won what it has won, to the millionth.
    fn pay(&mut self, micro: i128) {
        let before = self.won_micro.div_euclid(MICRO);
        self.won_micro += micro;
        let units = self.won_micro.div_euclid(MICRO) - before;
        // What cannot be taken back is owed, and never taken from what comes later.
        self.balance.cash = (self.balance.cash + units as i64).max(0);
    }

    fn roll_back(&mut self, name: &str, reference: Uuid, now: i64) {
        let Some(round) = self.rounds.get_mut(name) else { return };
        let mut taken_back = 0;
        if let Some(bet) = round.bets.iter_mut().find(|bet| bet.id == reference && bet.is != Stake::RolledBack) {
            if bet.is == Stake::Held {
                self.balance.in_play -= bet.stake;
            }
            self.balance.cash += bet.stake;
            if bet.day == self.wagered.0 && bet.day <= now.div_euclid(DAY_MS) {
                self.wagered.1 -= bet.stake;
            }
            bet.is = Stake::RolledBack;
        } else if let Some(win) = round.wins.iter_mut().find(|win| win.id == reference && win.is_live) {
            win.is_live = false;
            taken_back = win.micro;
        } else {
            return;
        }
        if !round.bets.iter().any(|bet| bet.is == Stake::Held) {
            self.open.take_if(|open| open == name);
        }
        self.pay(-taken_back);
    }

    fn set_limit(&mut self, value: Option<i64>, now: i64, relax_ms: i64) {
        let tightens = match (value, self.limit) {
            (Some(new), Some(old)) => new <= old,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        let is_confirmed = self.relaxing.is_some_and(|(wish, at)| wish == value && at <= now);
        if tightens || is_confirmed {
            self.limit = value;
            self.relaxing = None;
        } else if self.relaxing.is_none_or(|(wish, _)| wish != value) {
            self.relaxing = Some((value, now + relax_ms));
        }
    }
}
