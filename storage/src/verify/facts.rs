//! Whether a unit's facts say what its legs moved. Money that moves without a fact, or a fact without its money, is a violation.
//!
//! Where bonus money falls to bonus cost inside a settlement or a reversal (its grant is gone), the facts name only the player's
//! part; there the check on revenue allows exactly what revenue and bonus cost exchanged in the same unit, and nothing else.

use protocol::{AccountCode, Amount, Fact, OwnerKind};

use super::VerifyReport;
use crate::unit::StoredUnit;

/// What the unit moved, by kind of transfer; minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moved {
    /// Into revenue, less what left it.
    revenue: i128,
    /// Exchanged by revenue and bonus cost, either way.
    revenue_and_bonus_cost: i128,
    /// From a player's funds into play.
    held: i128,
    /// Out of play, not into revenue.
    returned: i128,
    /// Out of play into revenue.
    released: i128,
    funded: i128,
    /// Bonus cost to cash, outside settlements.
    promo: i128,
    issued: i128,
    converted: i128,
    /// Bonus to bonus cost.
    withdrawn: i128,
    /// Into the main pool from the house or its reserve, less what went back.
    jackpot_main: i128,
    jackpot_reserve: i128,
    jackpot_paid: i128,
}

pub fn check(unit: &StoredUnit, facts: &[Fact], report: &mut VerifyReport) {
    let says_money = facts.iter().any(is_money);
    if unit.legs.is_empty() && !says_money {
        return;
    }
    if !says_money {
        return report.violation(format!("unit {}: {} legs move money, and no event says so", unit.sequence, unit.legs.len()));
    }
    let moved = moved_by_legs(unit);
    let said = said_by_facts(facts);
    let slack = moved.revenue_and_bonus_cost;
    let mut differ = |what: &str, moved: i128, said: i128| {
        if moved != said {
            report.violation(format!("unit {}: its legs move {moved} as {what}, its events say {said}", unit.sequence));
        }
    };
    if (moved.revenue - said.revenue).abs() > slack {
        differ("revenue", moved.revenue, said.revenue);
    }
    if moved.released > said.released {
        differ("stakes released", moved.released, said.released);
    }
    differ("stakes held", moved.held, said.held);
    differ("stakes returned", moved.returned, said.returned);
    differ("funds", moved.funded, said.funded);
    differ("promotion", moved.promo, said.promo);
    differ("bonus issued", moved.issued, said.issued);
    differ("bonus converted", moved.converted, said.converted);
    differ("bonus withdrawn", moved.withdrawn, said.withdrawn);
    differ("jackpot pool", moved.jackpot_main, said.jackpot_main);
    differ("jackpot reserve", moved.jackpot_reserve, said.jackpot_reserve);
    differ("jackpot win", moved.jackpot_paid, said.jackpot_paid);
}

fn is_money(fact: &Fact) -> bool {
    use Fact::*;
    matches!(
        fact,
        RoundSettled(_)
            | BetPlaced(_)
            | BetSettled(_)
            | BetVoided(_)
            | WinReversed(_)
            | Funded(_)
            | PromoPaid(_)
            | JackpotSeeded(_)
            | JackpotMetered(_)
            | JackpotTriggered(_)
            | BonusIssued(_)
            | BonusCompleted(_)
            | BonusForfeited(_)
            | BonusExpired(_)
    )
}

fn moved_by_legs(unit: &StoredUnit) -> Moved {
    use AccountCode::*;
    let mut moved = Moved::default();
    for leg in &unit.legs {
        let amount = i128::from(leg.amount.0);
        let of_player = leg.to.owner.kind == OwnerKind::Player;
        match (leg.from.code, leg.to.code) {
            (InPlayCash | InPlayBonus, Revenue) => {
                moved.released += amount;
                moved.revenue += amount;
            }
            (BonusCost, Revenue) => {
                moved.revenue += amount;
                moved.revenue_and_bonus_cost += amount;
            }
            (Revenue, BonusCost) => {
                moved.revenue -= amount;
                moved.revenue_and_bonus_cost += amount;
            }
            (_, Revenue) => moved.revenue += amount,
            (Revenue, _) => moved.revenue -= amount,
            (Cash | Bonus, InPlayCash | InPlayBonus) => moved.held += amount,
            (InPlayCash | InPlayBonus, _) => moved.returned += amount,
            (Bank | PspClearing, Cash) if of_player => moved.funded += amount,
            (BonusCost, Cash) => moved.promo += amount,
            (BonusCost, Bonus) => moved.issued += amount,
            (Bonus, Cash) => moved.converted += amount,
            (Bonus, BonusCost) => moved.withdrawn += amount,
            (JackpotMain, Cash) if of_player => moved.jackpot_paid += amount,
            (JackpotExpense | JackpotReserve, JackpotMain) => moved.jackpot_main += amount,
            (JackpotMain, JackpotExpense) => moved.jackpot_main -= amount,
            (JackpotExpense, JackpotReserve) => moved.jackpot_reserve += amount,
            (JackpotReserve, JackpotExpense) => moved.jackpot_reserve -= amount,
            _ => {}
        }
    }
    moved
}

fn said_by_facts(facts: &[Fact]) -> Moved {
    let mut said = Moved::default();
    let sum = |a: Amount, b: Amount| i128::from(a.0) + i128::from(b.0);
    for fact in facts {
        match fact {
            Fact::RoundSettled(it) => said.revenue += sum(it.stake_cash, it.stake_bonus) - sum(it.win_cash, it.win_bonus),
            Fact::BetPlaced(it) => said.held += sum(it.stake_cash, it.stake_bonus),
            Fact::BetSettled(it) => {
                said.released += sum(it.stake_cash, it.stake_bonus);
                said.revenue += sum(it.stake_cash, it.stake_bonus) - sum(it.win_cash, it.win_bonus);
            }
            Fact::BetVoided(it) if it.was_settled => said.revenue -= sum(it.stake_cash, it.stake_bonus),
            Fact::BetVoided(it) => said.returned += sum(it.stake_cash, it.stake_bonus),
            Fact::WinReversed(it) => said.revenue += sum(it.cash, it.bonus),
            Fact::Funded(it) => said.funded += i128::from(it.amount.0),
            Fact::PromoPaid(it) => said.promo += i128::from(it.amount.0),
            Fact::BonusIssued(it) => said.issued += i128::from(it.amount.0),
            Fact::BonusCompleted(it) => {
                said.converted += i128::from(it.converted.0);
                said.withdrawn += i128::from(it.capped.0);
            }
            Fact::BonusForfeited(it) | Fact::BonusExpired(it) => said.withdrawn += i128::from(it.forfeited.0),
            Fact::JackpotSeeded(it) => said.jackpot_main += i128::from(it.seed.0),
            Fact::JackpotMetered(it) => {
                said.jackpot_main += i128::from(it.main.0);
                said.jackpot_reserve += i128::from(it.reserve.0);
            }
            Fact::JackpotTriggered(it) => {
                said.jackpot_paid += i128::from(it.amount.0);
                said.jackpot_main += i128::from(it.next_seed.0);
            }
            _ => {}
        }
    }
    said
}
