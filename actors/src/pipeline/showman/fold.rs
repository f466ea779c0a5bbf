//! The fold behind the show: pure state from committed units, in order.

use std::collections::{BTreeMap, VecDeque};

use protocol::{
    Amount, Currency, EventPack, Fact, JackpotId, TenantId, Timestamp,
    event::FactError,
    frame::{JackpotView, LeaderboardRow},
};
use rules::jackpot::JackpotSpec;
use serde::{Deserialize, Serialize};
use storage::StoredUnit;

use super::board::Board;

/// Everything shown, with the position it was folded to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fold {
    pub position: u64,
    boards: BTreeMap<TenantId, Board>,
    jackpots: BTreeMap<JackpotId, MeterView>,
    money: BTreeMap<Currency, Money>,
    /// Bets by second of the last [`Fold::SECONDS_KEPT`], newest last.
    bets: VecDeque<(i64, u64)>,
    open_bets: i64,
}

/// Stakes and payouts of settled bets since the fold began, minor units (MONEY.md, Words for analysts).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Money {
    pub currency: Currency,
    pub stakes: i128,
    pub payouts: i128,
    /// Stakes minus payouts.
    pub ggr: i128,
}

/// A jackpot as its events tell it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MeterView {
    cycle: u64,
    shown: Amount,
    commitment: String,
}

impl MeterView {
    pub fn view(&self, spec: &JackpotSpec) -> JackpotView {
        JackpotView {
            jackpot: spec.id,
            name: spec.name.clone(),
            currency: spec.currency,
            amount: self.shown,
            must_hit_by: spec.ceiling,
            cycle: self.cycle,
            commitment: self.commitment.clone(),
        }
    }
}

const DAY_MS: i64 = 86_400_000;

impl Fold {
    const SECONDS_KEPT: usize = 120;

    /// Folds one unit; one at or below the position was folded before and changes nothing.
    pub fn apply(&mut self, unit: &StoredUnit) -> Result<(), FactError> {
        if unit.sequence <= self.position {
            return Ok(());
        }
        self.position = unit.sequence;
        if unit.events.is_empty() {
            return Ok(());
        }
        let pack = EventPack::parse(&unit.events)?;
        pack.events.iter().for_each(|event| self.fact(&pack, unit.sequence, &event.payload));
        Ok(())
    }

    fn fact(&mut self, pack: &EventPack, sequence: u64, fact: &Fact) {
        let at = pack.header.at;
        match fact {
            Fact::RoundSettled(f) => {
                self.bet_at(at);
                let win = sum(f.win_cash, f.win_bonus);
                self.money(f.currency, sum(f.stake_cash, f.stake_bonus), win);
                self.score(pack, win, 1, sequence);
            }
            Fact::BetPlaced(_) => {
                self.bet_at(at);
                self.open_bets += 1;
            }
            Fact::BetSettled(f) => {
                let (stake, win) = (sum(f.stake_cash, f.stake_bonus), sum(f.win_cash, f.win_bonus));
                self.open_bets -= i64::from(stake > 0);
                self.money(f.currency, stake, win);
                self.score(pack, win, u64::from(stake > 0), sequence);
            }
            Fact::BetVoided(f) if f.was_settled => self.money(f.currency, -sum(f.stake_cash, f.stake_bonus), 0),
            Fact::BetVoided(_) => self.open_bets -= 1,
            Fact::WinReversed(f) => {
                let win = sum(f.cash, f.bonus) + i128::from(f.receivable.0);
                self.money(f.currency, 0, -win);
                self.score(pack, -win, 0, sequence);
            }
            Fact::JackpotSeeded(f) => {
                let meter = MeterView { cycle: f.cycle, shown: f.seed, commitment: f.commitment.clone() };
                self.jackpots.insert(f.jackpot, meter);
            }
            Fact::JackpotMetered(f) => self.jackpots.entry(f.jackpot).or_default().shown = f.shown,
            Fact::JackpotTriggered(f) => {
                let meter = MeterView { cycle: f.cycle + 1, shown: f.next_seed, commitment: f.next_commitment.clone() };
                self.jackpots.insert(f.jackpot, meter);
            }
            _ => {}
        }
    }

    fn bet_at(&mut self, at: Timestamp) {
        let second = at.0.div_euclid(1_000);
        match self.bets.iter_mut().rev().find(|(known, _)| *known == second) {
            Some((_, count)) => *count += 1,
            None => self.bets.push_back((second, 1)),
        }
        while self.bets.len() > Self::SECONDS_KEPT {
            self.bets.pop_front();
        }
    }

    fn money(&mut self, currency: Currency, stake: i128, payout: i128) {
        let money = self.money.entry(currency).or_insert_with(|| Money { currency, stakes: 0, payouts: 0, ggr: 0 });
        money.stakes += stake;
        money.payouts += payout;
        money.ggr = money.stakes - money.payouts;
    }

    fn score(&mut self, pack: &EventPack, returned: i128, rounds: u64, sequence: u64) {
        let Some(player) = pack.header.player else { return };
        let day = pack.header.at.0.div_euclid(DAY_MS);
        let board = self.boards.entry(pack.header.tenant).or_insert_with(|| Board::new(day));
        if day > board.day {
            *board = Board::new(day);
        }
        // A late event of an older day belongs to a board that is over.
        if day == board.day {
            board.add(player, Amount(i64::try_from(returned).unwrap_or(i64::MAX)), rounds, sequence);
        }
    }

    /// The first rows of the tenant's board as of a moment; an older day's board is over.
    pub fn top(&self, tenant: TenantId, now: Timestamp, rows_max: usize) -> Vec<LeaderboardRow> {
        let day = now.0.div_euclid(DAY_MS);
        self.boards.get(&tenant).filter(|board| board.day == day).map(|board| board.top(rows_max)).unwrap_or_default()
    }

    pub fn jackpot(&self, jackpot: JackpotId) -> Option<&MeterView> {
        self.jackpots.get(&jackpot)
    }

    pub fn money_rows(&self) -> Vec<Money> {
        self.money.values().cloned().collect()
    }

    /// Bets placed within the last `seconds`.
    pub fn bets_since(&self, now: Timestamp, seconds: i64) -> u64 {
        let from = now.0.div_euclid(1_000) - seconds;
        self.bets.iter().filter(|(second, _)| *second > from).map(|(_, count)| count).sum()
    }

    pub const fn open_bets(&self) -> i64 {
        self.open_bets
    }

    /// Restores what is derived, after reading a checkpoint.
    pub fn index(&mut self) {
        self.boards.values_mut().for_each(Board::index);
    }
}

fn sum(a: Amount, b: Amount) -> i128 {
    i128::from(a.0) + i128::from(b.0)
}
