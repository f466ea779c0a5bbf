//! Compares what players were told with what the ledger holds. This module never trusts the server's own sums: it folds
//! every exported leg itself.
//!
//! | finding | what it means |
//! |---|---|
//! | `acked_lost` | acknowledged, or finally refused by a rule, and not in the ledger |
//! | `duplicated` | a key in two units, or a unit of one of our players that none of its operations made |
//! | `mismatched_balances` | an acknowledged reply differs from the stored one, or from the fold of the legs up to its unit |
//! | `unanswered` | still without an answer after all repeats |
//! | `out_of_order` | sequences of the export that are not gapless |

use std::{borrow::Cow, collections::HashMap};

use anyhow::{Context, Result};
use protocol::{AccountCode, ErrorCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    args::Mode,
    provider::PROVIDER_ID,
    record::{Answer, Ids, Numbers, Op, PlayerLog, hash_of},
    wire,
};

/// Findings described in words; the counters go on.
const EXAMPLES_MAX: usize = 20;

/// One exported unit, as far as this module reads it.
#[derive(Deserialize)]
struct Unit<'a> {
    shard: u16,
    sequence: u64,
    #[serde(borrow)]
    key: Key<'a>,
    at: i64,
    #[serde(borrow)]
    legs: Vec<Leg<'a>>,
    #[serde(borrow)]
    records: Vec<Record<'a>>,
    #[serde(default, borrow)]
    reply: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Leg<'a> {
    #[serde(borrow)]
    currency: Cow<'a, str>,
    #[serde(borrow)]
    from: Account<'a>,
    #[serde(borrow)]
    to: Account<'a>,
    amount: i64,
}

#[derive(Deserialize)]
struct Account<'a> {
    #[serde(borrow)]
    owner: Cow<'a, str>,
    code: AccountCode,
}

#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    version: u64,
}

/// The player's money as its legs say, in one currency.
#[derive(Clone, Copy, Debug, Default)]
struct Fold {
    cash: i64,
    bonus: i64,
    in_play: i64,
    version: u64,
    /// The currency of the first leg seen; the players of a load test have one.
    currency: Option<[u8; 4]>,
}

impl Fold {
    const fn total(&self) -> i64 {
        self.cash.wrapping_add(self.bonus).wrapping_add(self.in_play)
    }

    fn add(&mut self, code: AccountCode, currency: &str, amount: i64) {
        let mut short = [0; 4];
        short.iter_mut().zip(currency.bytes()).for_each(|(to, from)| *to = from);
        if *self.currency.get_or_insert(short) != short {
            return;
        }
        let part = match code {
            AccountCode::Cash => &mut self.cash,
            AccountCode::Bonus => &mut self.bonus,
            AccountCode::InPlayCash | AccountCode::InPlayBonus => &mut self.in_play,
            _ => return,
        };
        *part = part.wrapping_add(amount);
    }
}

/// What was found, in numbers and in examples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub units: u64,
    pub legs: u64,
    pub accepted: u64,
    pub refused: u64,
    pub acked_lost: u64,
    pub duplicated: u64,
    pub mismatched_balances: u64,
    pub unanswered: u64,
    pub out_of_order: u64,
    /// Replies whose stored bytes are exactly those the player got.
    pub same_bytes: u64,
    pub examples: Vec<String>,
}

impl Findings {
    pub const fn are_clean(&self) -> bool {
        self.acked_lost == 0
            && self.duplicated == 0
            && self.mismatched_balances == 0
            && self.unanswered == 0
            && self.out_of_order == 0
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

/// Takes the exported units in order; [`Reconciler::finish`] tells what does not add up.
pub struct Reconciler {
    mode: Mode,
    ids: Ids,
    /// Units committed before do not belong to this run.
    started_ms: i64,
    logs: Vec<PlayerLog>,
    folds: Vec<Fold>,
    by_player: HashMap<Uuid, usize>,
    sequences: HashMap<u16, u64>,
    findings: Findings,
}

impl Reconciler {
    /// `logs` stand at their players' numbers.
    pub fn new(mode: Mode, ids: Ids, started_ms: i64, logs: Vec<PlayerLog>) -> Self {
        let by_player =
            logs.iter().enumerate().filter(|(_, log)| !log.player.is_nil()).map(|(index, log)| (log.player, index)).collect();
        let folds = vec![Fold::default(); logs.len()];
        Self { mode, ids, started_ms, logs, folds, by_player, sequences: HashMap::new(), findings: Findings::default() }
    }

    fn player_of(&self, owner: &str) -> Option<usize> {
        let id = Uuid::try_parse(owner.strip_prefix("player:")?).ok()?;
        self.by_player.get(&id).copied()
    }

    /// Takes one line of the export.
    pub fn take(&mut self, line: &[u8]) -> Result<()> {
        let unit: Unit<'_> =
            serde_json::from_slice(line).with_context(|| format!("unit {} of the export", self.findings.units + 1))?;
        self.findings.units += 1;
        self.findings.legs += unit.legs.len() as u64;
        let last = self.sequences.entry(unit.shard).or_default();
        if unit.sequence != *last + 1 {
            self.findings.out_of_order += 1;
            let last = *last;
            self.findings.example(|| format!("shard {}: unit {} follows {last}", unit.shard, unit.sequence));
        }
        self.sequences.insert(unit.shard, unit.sequence);

        let owner = self.find_operation(&unit);
        let before = owner.map(|(player, _)| self.folds[player]);
        let touched = self.fold(&unit);
        match (owner, before) {
            (Some((player, op)), Some(before)) => self.check(&unit, player, op, before),
            _ => self.check_stranger(&unit, touched),
        }
        Ok(())
    }

    /// The operation a unit's key names.
    fn find_operation(&self, unit: &Unit<'_>) -> Option<(usize, usize)> {
        let id = Uuid::try_parse(&unit.key.id).ok()?;
        let (player, op) = self.ids.locate(id)?;
        let log = self.logs.get(player)?;
        let scoped = match self.mode {
            Mode::Ws => self.player_of(&unit.key.source) == Some(player),
            Mode::Provider => unit.key.source.strip_prefix("provider:") == Some(PROVIDER_ID),
        };
        (scoped && log.ops.get(op).is_some_and(|op| op.id == id)).then_some((player, op))
    }

    /// Applies the legs; gives back one of our players that they touch.
    fn fold(&mut self, unit: &Unit<'_>) -> Option<usize> {
        let mut touched = None;
        for leg in &unit.legs {
            for (account, amount) in [(&leg.from, leg.amount.wrapping_neg()), (&leg.to, leg.amount)] {
                if let Some(player) = self.player_of(&account.owner) {
                    self.folds[player].add(account.code, &leg.currency, amount);
                    touched = Some(player);
                }
            }
        }
        for record in &unit.records {
            if let Some(player) = self.player_of(&record.key) {
                self.folds[player].version = record.version;
            }
        }
        touched
    }

    fn check(&mut self, unit: &Unit<'_>, player: usize, op: usize, before: Fold) {
        let fold = self.folds[player];
        let entry = &mut self.logs[player].ops[op];
        entry.units = entry.units.saturating_add(1);
        let op = *entry;
        if op.units > 1 {
            self.findings.duplicated += 1;
            self.findings.example(|| format!("{} is in two units, the second is {}/{}", op.id, unit.shard, unit.sequence));
            return;
        }
        let reply = unit.reply.map_or("", RawValue::get);
        if op.answer != Answer::Open && hash_of(reply.as_bytes()) == op.reply_hash {
            self.findings.same_bytes += 1;
        }
        let wrong = match op.answer {
            Answer::Open => None,
            Answer::Accepted(numbers) => wrong_acceptance(self.mode, &op, numbers, reply, before, fold),
            Answer::Refused(code) => wrong_refusal(code, reply, unit),
        };
        if let Some(wrong) = wrong {
            self.findings.mismatched_balances += 1;
            self.findings.example(|| format!("{} at {}/{}: {wrong}", op.id, unit.shard, unit.sequence));
        }
    }

    /// A unit that no operation of ours made may pay or fund a player only when the server itself made it.
    fn check_stranger(&mut self, unit: &Unit<'_>, touched: Option<usize>) {
        let by_the_server = unit.key.source.starts_with("system:");
        if touched.is_some() && !by_the_server && unit.at >= self.started_ms {
            self.findings.duplicated += 1;
            let (source, id) = (&unit.key.source, &unit.key.id);
            self.findings.example(|| {
                format!("{}/{} moves a player's money for {source}/{id}, which nobody sent", unit.shard, unit.sequence)
            });
        }
    }

    pub fn finish(mut self) -> Findings {
        for log in &self.logs {
            for op in &log.ops {
                let missing = match op.answer {
                    Answer::Open => {
                        self.findings.unanswered += 1;
                        self.findings.example(|| format!("{} was never answered", op.id));
                        continue;
                    }
                    Answer::Accepted(_) => {
                        self.findings.accepted += 1;
                        op.units == 0
                    }
                    Answer::Refused(code) => {
                        self.findings.refused += 1;
                        op.units == 0 && !wire::is_unrecorded(code)
                    }
                };
                if missing {
                    self.findings.acked_lost += 1;
                    self.findings.example(|| format!("{} was answered ({:?}) and is not in the ledger", op.id, op.answer));
                }
            }
        }
        self.findings
    }
}

/// What is wrong with an accepted operation's unit.
fn wrong_acceptance(mode: Mode, op: &Op, told: Numbers, reply: &str, before: Fold, after: Fold) -> Option<String> {
    if hash_of(reply.as_bytes()) != op.reply_hash {
        let stored = match mode {
            // The stake only serves to compute the net change, which is not compared here.
            Mode::Ws => wire::read_spin(reply, 0).ok().map(|(numbers, _)| numbers),
            Mode::Provider => wire::read_money(reply).ok().flatten(),
        };
        if stored != Some(told) {
            return Some(format!("told {told:?}, stored {reply}"));
        }
    }
    let folded = Numbers { cash: after.cash, bonus: after.bonus, in_play: after.in_play, version: after.version, win: told.win };
    if folded != told {
        return Some(format!("told {told:?}, the legs say {folded:?}"));
    }
    let moved = after.total().wrapping_sub(before.total());
    op.net.filter(|net| *net != moved).map(|net| format!("the reply means {net}, the legs move {moved}"))
}

fn wrong_refusal(code: ErrorCode, reply: &str, unit: &Unit<'_>) -> Option<String> {
    if !unit.legs.is_empty() {
        return Some(format!("refused ({code}), yet {} legs moved", unit.legs.len()));
    }
    match wire::read_refusal(reply) {
        Ok(stored) if stored.code == code => None,
        _ => Some(format!("refused with {code}, stored {reply}")),
    }
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
