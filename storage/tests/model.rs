//! Random batches against a model of a few lines: both ledgers must refuse, store and answer exactly what it says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use storage::{
    CommitError, Guard, Ledger, Refusal, UnitOfWork,
    memory::MemoryLedger,
    sqlite::SqliteLedger,
    testing::{bank, bare, book, cash, deposit, leg, player, revenue, spin, write},
    verify::verify_ledger,
};
use tempfile::TempDir;

const PLAYERS: u64 = 3;
const KEYS: u64 = 24;

/// One unit, in terms small enough to collide often. Versions are relative to the right one.
#[derive(Clone, Debug)]
enum Step {
    Deposit {
        key: u64,
        player: u64,
        off: u64,
        amount: i64,
    },
    Spin {
        key: u64,
        player: u64,
        off: u64,
        stake: i64,
        win: i64,
    },
    Transfer {
        key: u64,
        from: u64,
        to: u64,
        amount: i64,
    },
    Guarded {
        key: u64,
        player: u64,
        off: u64,
    },
    /// The same key with another body.
    Twisted {
        key: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (key, who) = (0..KEYS, 0..PLAYERS);
    let off = prop_oneof![9 => Just(0_u64), 1 => Just(1_u64)];
    prop_oneof![
        3 => (key.clone(), who.clone(), off.clone(), 1..200_i64)
            .prop_map(|(key, player, off, amount)| Step::Deposit { key, player, off, amount }),
        4 => (key.clone(), who.clone(), off.clone(), 1..120_i64, 0..150_i64)
            .prop_map(|(key, player, off, stake, win)| Step::Spin { key, player, off, stake, win }),
        1 => (key.clone(), who.clone(), who.clone(), 1..100_i64)
            .prop_map(|(key, from, to, amount)| Step::Transfer { key, from, to, amount }),
        1 => (key.clone(), who, off).prop_map(|(key, player, off)| Step::Guarded { key, player, off }),
        1 => key.prop_map(|key| Step::Twisted { key }),
    ]
}

/// What the ledger must hold: no more than a reader could check by hand.
#[derive(Clone, Default)]
struct Model {
    keys: BTreeMap<u64, ([u8; 32], u64)>,
    players: BTreeMap<u64, (u64, i64)>,
    bank: i64,
    revenue: i64,
    sequence: u64,
}

#[derive(Debug, PartialEq)]
enum Expected {
    Stored,
    Replay(u64),
    Conflict,
    SameBatch,
    Stale,
    Invalid,
}

impl Model {
    fn version(&self, player: u64) -> u64 {
        self.players.get(&player).map_or(0, |(version, _)| *version)
    }

    fn cash(&self, player: u64) -> i64 {
        self.players.get(&player).map_or(0, |(_, cash)| *cash)
    }

    fn unit(&self, step: &Step) -> UnitOfWork {
        match *step {
            Step::Deposit { key, player: who, off, amount } => deposit(key, player(who), self.version(who) + off, amount),
            Step::Spin { key, player: who, off, stake, win } => spin(key, player(who), self.version(who) + off, stake, win),
            Step::Transfer { key, from, to, amount } => {
                let mut unit = bare(key);
                unit.legs.push(leg(cash(player(from)), cash(player(to)), amount));
                unit.records.push(write(player(from), self.version(from)));
                unit.records.push(write(player(to), self.version(to)));
                unit
            }
            Step::Guarded { key, player: who, off } => {
                let mut unit = bare(key);
                unit.guards.push(Guard { key: player(who), version: self.version(who) + off });
                unit
            }
            Step::Twisted { key } => UnitOfWork { body_hash: [0xee; 32], ..bare(key) },
        }
    }

    /// Judges a step over this state; `committed` is the state before the batch.
    fn judge(&mut self, step: &Step, unit: &UnitOfWork, committed: &Self) -> Expected {
        let (key, off) = match *step {
            Step::Deposit { key, off, .. } | Step::Spin { key, off, .. } | Step::Guarded { key, off, .. } => (key, off),
            Step::Transfer { key, .. } | Step::Twisted { key } => (key, 0),
        };
        if let Some((body, sequence)) = committed.keys.get(&key) {
            return if *body == unit.body_hash { Expected::Replay(*sequence) } else { Expected::Conflict };
        }
        if self.keys.contains_key(&key) {
            return Expected::SameBatch;
        }
        if off != 0 {
            return Expected::Stale;
        }
        let moves: Vec<(u64, i64)> = match *step {
            Step::Deposit { player, amount, .. } => vec![(player, amount)],
            Step::Spin { player, stake, win, .. } => vec![(player, -stake), (player, win)],
            Step::Transfer { from, to, .. } if from == to => return Expected::Invalid,
            Step::Transfer { from, to, amount, .. } => vec![(from, -amount), (to, amount)],
            Step::Guarded { .. } | Step::Twisted { .. } => vec![],
        };
        if moves.first().is_some_and(|(player, delta)| self.cash(*player) + delta < 0) {
            return Expected::Invalid;
        }
        for (player, delta) in &moves {
            self.players.entry(*player).or_default().1 += delta;
        }
        let mut touched: Vec<u64> = moves.iter().map(|(player, _)| *player).collect();
        touched.dedup();
        touched.iter().for_each(|player| self.players.entry(*player).or_default().0 += 1);
        match *step {
            Step::Deposit { amount, .. } => self.bank -= amount,
            Step::Spin { stake, win, .. } => self.revenue += stake - win,
            _ => {}
        }
        self.sequence += 1;
        self.keys.insert(key, (unit.body_hash, self.sequence));
        Expected::Stored
    }
}

fn told(refusal: &Refusal) -> Expected {
    match refusal {
        Refusal::Replay { sequence, .. } => Expected::Replay(*sequence),
        Refusal::Conflict => Expected::Conflict,
        Refusal::SameBatch => Expected::SameBatch,
        Refusal::Stale { .. } => Expected::Stale,
        Refusal::Invalid { .. } => Expected::Invalid,
    }
}

/// Commits the batches as the wallet does: refused units are taken out, the rest is sent again.
async fn run(ledger: &dyn Ledger, batches: &[Vec<Step>]) {
    let mut model = Model::default();
    let mut writer = ledger.open_shard(0).await.unwrap();
    for batch in batches {
        let committed = model.clone();
        let (mut expected, mut kept, mut units) = (Vec::new(), Vec::new(), Vec::new());
        for (index, step) in batch.iter().enumerate() {
            // Decided on the state with the batch's accepted units, as actors that follow one another do.
            let unit = model.unit(step);
            match model.judge(step, &unit, &committed) {
                Expected::Stored => kept.push(unit.clone()),
                refusal => expected.push((index, refusal)),
            }
            units.push(unit);
        }
        let result = writer.commit(units).await;
        if expected.is_empty() {
            assert_eq!(result.unwrap().len(), kept.len());
            continue;
        }
        let Err(CommitError::Refused(refusals)) = result else { panic!("expected {expected:?}, got {result:?}") };
        let refusals: Vec<_> = refusals.iter().map(|(index, refusal)| (*index, told(refusal))).collect();
        assert_eq!(refusals, expected);
        assert_eq!(ledger.head(0).await.unwrap().sequence, committed.sequence);
        assert_eq!(writer.commit(kept.clone()).await.unwrap().len(), kept.len());
    }
    same(ledger, &model).await;
}

async fn same(ledger: &dyn Ledger, model: &Model) {
    assert_eq!(ledger.head(0).await.unwrap().sequence, model.sequence);
    for who in 0..PLAYERS {
        let record = ledger.record(player(who)).await.unwrap();
        let seen = record.map_or((0, 0), |record| (record.version, record.holdings.get(&book(), protocol::AccountCode::Cash, 0).0));
        assert_eq!(seen, (model.version(who), model.cash(who)));
    }
    let house = ledger.house_accounts().await.unwrap();
    let balance = |account| house.iter().find(|(_, id, _)| *id == account).map_or(0, |(_, _, amount)| amount.0);
    assert_eq!((balance(bank()), balance(revenue())), (model.bank, model.revenue));
    let report = verify_ledger(ledger, &[]).await.unwrap();
    // Transfers between players have no fact of their own here; everything else must be whole.
    let others: Vec<_> = report.violations.iter().filter(|violation| !violation.contains("no event says so")).collect();
    assert!(others.is_empty(), "{others:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ledgers_do_what_the_model_says(batches in prop::collection::vec(prop::collection::vec(step(), 1..12), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            run(&MemoryLedger::new(1), &batches).await;
            let dir = TempDir::new().unwrap();
            let ledger = SqliteLedger::open(dir.path(), Default::default()).await.unwrap();
            run(&ledger, &batches).await;
        });
    }
}
