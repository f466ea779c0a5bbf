//! Balances as the legs make them, beside balances as they are stored.

use std::collections::BTreeMap;

use protocol::{AccountCode, AccountId, Amount, Book, Fact, OwnerKind, RecordKey};

use super::{JackpotSums, VerifyReport};
use crate::{ledger::StoredRecord, unit::StoredUnit};

#[derive(Default)]
pub struct Fold {
    /// By owner first, so that a record's accounts lie together.
    balances: BTreeMap<(RecordKey, Book, AccountCode, u32), i128>,
    sums: BTreeMap<Book, i128>,
    jackpots: BTreeMap<RecordKey, JackpotSums>,
}

impl Fold {
    /// Adds a unit's legs, gross and in order, and sees that no guarded account goes below zero on the way.
    pub fn unit(&mut self, unit: &StoredUnit, facts: &[Fact], report: &mut VerifyReport) {
        let is_metered = facts.iter().any(|fact| matches!(fact, Fact::JackpotMetered(_)));
        for leg in &unit.legs {
            if !leg.amount.is_positive() {
                report.violation(format!("unit {}: a leg moves {}", unit.sequence, leg.amount.0));
            }
            for (account, delta) in [(leg.from, -i128::from(leg.amount.0)), (leg.to, i128::from(leg.amount.0))] {
                let balance = self.balances.entry((account.owner, leg.book, account.code, account.sub)).or_default();
                *balance += delta;
                if *balance < 0 && delta < 0 && account.code.never_negative() {
                    report.violation(format!("unit {}: {account} goes to {balance}", unit.sequence));
                }
                let is_house = account.owner.kind == OwnerKind::House;
                if !is_house && !unit.records.iter().any(|(key, ..)| *key == account.owner) {
                    report.violation(format!("unit {}: moves {account} without its record", unit.sequence));
                }
            }
            self.jackpot_leg(leg.from.owner, leg.to.owner, i128::from(leg.amount.0), is_metered);
        }
    }

    /// Contributions are what metering moves between the house and a pool; seeds what the house gives otherwise.
    fn jackpot_leg(&mut self, from: RecordKey, to: RecordKey, amount: i128, is_metered: bool) {
        let is_pool = |owner: RecordKey| owner.kind == OwnerKind::Jackpot;
        if from == to {
            return;
        }
        for (pool, other, signed) in [(to, from, amount), (from, to, -amount)] {
            if !is_pool(pool) {
                continue;
            }
            let sums = self.jackpots.entry(pool).or_default();
            match other.kind {
                OwnerKind::House if is_metered => sums.contributions += signed,
                OwnerKind::House => sums.seeds += signed,
                _ => sums.paid -= signed,
            }
        }
    }

    /// Holds a record's balances against the fold; what agrees is taken out of it.
    pub fn stored_record(&mut self, record: &StoredRecord, report: &mut VerifyReport) {
        for holding in record.holdings.iter() {
            let account = AccountId { owner: record.key, code: holding.code, sub: holding.sub };
            self.stored(holding.book, account, holding.amount, report);
            if record.key.kind == OwnerKind::Jackpot {
                let sums = self.jackpots.entry(record.key).or_default();
                let amount = i128::from(holding.amount.0);
                match holding.code {
                    AccountCode::JackpotMain => sums.main += amount,
                    AccountCode::JackpotReserve => sums.reserve += amount,
                    AccountCode::JackpotDiversion => sums.diversion += amount,
                    _ => report.violation(format!("{account} is no account of a jackpot")),
                }
            }
        }
    }

    pub fn stored_house(&mut self, book: Book, account: AccountId, balance: Amount, report: &mut VerifyReport) {
        self.stored(book, account, balance, report);
    }

    fn stored(&mut self, book: Book, account: AccountId, balance: Amount, report: &mut VerifyReport) {
        let folded = self.balances.remove(&(account.owner, book, account.code, account.sub)).unwrap_or_default();
        if folded != i128::from(balance.0) {
            report.violation(format!("{account} holds {}; its legs make {folded} ({})", balance.0, name_of(&book)));
        }
        if balance.0 < 0 && account.code.never_negative() {
            report.violation(format!("{account} is stored below zero: {}", balance.0));
        }
        *self.sums.entry(book).or_default() += i128::from(balance.0);
    }

    /// What needs everything read: balances nobody stores, the sums, the jackpots.
    pub fn close(self, report: &mut VerifyReport) {
        for ((owner, book, code, sub), balance) in self.balances.into_iter().filter(|(_, balance)| *balance != 0) {
            let account = AccountId { owner, code, sub };
            report.violation(format!("{account} is not stored; its legs make {balance} ({})", name_of(&book)));
        }
        for (book, sum) in self.sums {
            if sum != 0 {
                report.violation(format!("{} sums to {sum}, not to zero", name_of(&book)));
            }
            report.sums.insert(name_of(&book), sum);
        }
        for (jackpot, sums) in self.jackpots {
            if !sums.holds() {
                report.violation(format!("{jackpot} does not hold what it was given: {sums:?}"));
            }
            report.jackpots.insert(jackpot.to_string(), sums);
        }
    }
}

fn name_of(book: &Book) -> String {
    format!("{}/{}/{}", book.tenant, book.licence, book.currency)
}
