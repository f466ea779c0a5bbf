//! The real tree beside a small reference, under the same random commands, with a failing store and dying actors beneath: every
//! answer, every balance and every repeat must be what the reference says. `PITBOSS_SEED=n` replays one run.

mod reference;
mod support;

use std::{collections::HashMap, time::Duration};

use actors::Answer;
use protocol::{
    Currency, ErrorCode, PlayerId, RecordKey,
    frame::{LimitKind, LimitWindow},
    provider::MoneyReply,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use reference::{Balance, Reference};
use storage::{StorageError, ledger::faults::Fault};
use support::{
    House, Kind, Place, World,
    play::{Call, What, book, fold, numbered, player},
};
use tokio::task::JoinSet;
use uuid::Uuid;

const SEEDS: u64 = 40;
const STEPS: usize = 150;
const RUNS_AT_ONCE_MAX: usize = 4;
/// These are predicted exactly; the one after them plays with bonuses and is only held to its own words.
const PREDICTED: u64 = 3;
const BONUS_PLAYER: u64 = PREDICTED + 1;

struct Run {
    seed: u64,
    random: StdRng,
    house: House,
    reference: Reference,
    /// Every call that was told something that stands, with what it was told.
    told: Vec<(Call, Answer)>,
    ids: u64,
    grants: Vec<Uuid>,
}

/// Whether the server itself stood in the way; then the same call comes again.
fn is_the_servers(code: Option<ErrorCode>) -> bool {
    use ErrorCode::{Busy, DeadlinePassed, Internal, LimitUnknown, Unavailable, Unknown};
    matches!(code, Some(Busy | DeadlinePassed | Internal | LimitUnknown | Unavailable | Unknown))
}

impl Run {
    async fn new(seed: u64) -> Self {
        let mut place = Place::new(Kind::Memory, World::plain());
        place.settings.restart_backoff_first = Duration::from_millis(1);
        place.settings.restart_backoff_max = Duration::from_millis(2);
        place.settings.restarts_max = 100_000;
        let policy = &place.world.policy;
        let (inactivity_ms, relax_ms) = (policy.session_inactivity_s * 1_000, policy.limit_relax_s * 1_000);
        let reference = Reference::new(inactivity_ms, relax_ms);
        let house = place.open().await;
        let random = StdRng::seed_from_u64(seed);
        Self { seed, random, house, reference, told: Vec::new(), ids: 0, grants: Vec::new() }
    }

    async fn play(mut self) {
        for n in 1..=BONUS_PLAYER {
            // The last predicted one has to be opened by chance.
            let opening: &[What] = if n == PREDICTED { &[] } else { &[What::Open, What::Fund(2_000), What::StartSession] };
            for what in opening {
                let call = self.fresh(player(n), what.clone());
                self.step(call).await;
            }
        }
        for _ in 0..STEPS {
            self.disturb();
            let call = self.next_call();
            self.step(call).await;
        }
        self.settle_accounts().await;
        self.house.end().await;
    }

    /// Faults of the store, deaths and the passing of time.
    fn disturb(&mut self) {
        let passes = self.random.random_range(0..3);
        let fault = match self.random.random_range(0..30) {
            0 => Some(Fault::FailBefore(StorageError::Full)),
            1 => Some(Fault::UnknownStored),
            2 => Some(Fault::UnknownLost),
            3 => Some(Fault::Fence),
            _ => None,
        };
        if let Some(fault) = fault {
            self.house.place.inject(passes, fault);
        }
        if self.random.random_ratio(1, 10) {
            let of = player(self.random.random_range(1..=BONUS_PLAYER));
            let actor = self.house.core.floor.shared().registry.running_player(of);
            actor.iter().for_each(|actor| actor.kill());
        }
        let ms = match self.random.random_range(0..20) {
            0 => self.random.random_range(0..40 * 60_000),
            1 => self.random.random_range(0..2 * 86_400_000),
            _ => self.random.random_range(0..5_000),
        };
        self.house.place.env.advance_ms(ms);
    }

    fn fresh(&mut self, player: PlayerId, what: What) -> Call {
        self.ids += 1;
        Call { player, id: numbered(0x20, self.ids), what }
    }

    fn next_call(&mut self) -> Call {
        if self.random.random_ratio(1, 6) && !self.told.is_empty() {
            let (old, _) = &self.told[self.random.random_range(0..self.told.len())];
            let mut call = old.clone();
            if self.random.random_ratio(1, 3) {
                call.what = other_body(&call.what);
            }
            return call;
        }
        let of = self.random.random_range(1..=BONUS_PLAYER);
        let what = self.what(of);
        let call = self.fresh(player(of), what);
        // Now and then an id a rollback has named already; what the bonus player does, the reference does not hear of.
        let references: Vec<Uuid> = self.told.iter().filter_map(|(call, _)| unknown_reference(call)).collect();
        if of != BONUS_PLAYER && matches!(call.what, What::Bet { .. }) && !references.is_empty() && self.random.random_ratio(1, 8) {
            let id = references[self.random.random_range(0..references.len())];
            if self.told.iter().all(|(told, _)| told.id != id) {
                return Call { id, ..call };
            }
        }
        call
    }

    fn what(&mut self, of: u64) -> What {
        let round = format!("{of}-{}", self.random.random_range(0..4));
        let stake = self.random.random_range(1..400);
        match self.random.random_range(0..if of == BONUS_PLAYER { 110 } else { 100 }) {
            0..5 => What::Open,
            5..12 => What::Fund(self.random.random_range(1..500)),
            12..22 => What::StartSession,
            22..24 => What::EndSession,
            24..44 => What::Spin(stake),
            44..64 => What::Bet { round, stake },
            64..76 => {
                let (amount, micro) = (self.random.random_range(0..300), self.random.random_range(0..1_000_000));
                let bet = self.some_id(of, &round);
                let micro = if self.random.random_bool(0.5) { micro } else { 0 };
                What::Win { round, bet, amount, micro, is_final: self.random.random_bool(0.4) }
            }
            76..86 => What::Rollback { reference: self.some_id(of, &round), round },
            86..91 => What::Close { round },
            91..94 => What::Promo { amount: self.random.random_range(0..50), micro: self.random.random_range(0..1_000_000) },
            94..98 => {
                let value = self.random.random_bool(0.7).then(|| self.random.random_range(500..3_000));
                What::Limit { limit: LimitKind::Wager, window: Some(LimitWindow::Day), value }
            }
            98..100 => What::Acknowledge,
            100..106 => {
                self.ids += 1;
                let grant = numbered(0x30, self.ids);
                self.grants.push(grant);
                What::IssueBonus(grant)
            }
            _ => What::ForfeitBonus(self.grants.last().copied().unwrap_or_else(|| numbered(0x30, 0))),
        }
    }

    /// Mostly a transaction of the round, sometimes one of another, sometimes one nobody knows.
    fn some_id(&mut self, of: u64, round: &str) -> Uuid {
        let anywhere = self.random.random_ratio(1, 8);
        let in_round = |call: &Call| match &call.what {
            What::Bet { round: at, .. } | What::Win { round: at, .. } => at == round,
            _ => false,
        };
        let fits = |(call, _): &&(Call, Answer)| call.player == player(of) && call.is_provider() && (anywhere || in_round(call));
        let known: Vec<Uuid> = self.told.iter().filter(fits).map(|(call, _)| call.id).collect();
        if known.is_empty() || self.random.random_ratio(1, 12) {
            self.ids += 1;
            return numbered(0x20, self.ids);
        }
        known[self.random.random_range(0..known.len())]
    }

    /// Sends a call, twice at once now and then, until the server has an answer, and holds the answer against the reference.
    async fn step(&mut self, call: Call) {
        let twin = self.random.random_ratio(1, 10).then(|| self.house.send(&call));
        let mut answer = self.house.call(&call).await;
        while is_the_servers(answer.code) {
            answer = self.house.call(&call).await;
        }
        if let Some(twin) = twin {
            let twin = twin.await.unwrap();
            if !is_the_servers(twin.code) {
                assert_eq!(twin.body, answer.body, "seed {}: twins of {call:?}", self.seed);
            }
        }
        let seed = self.seed;
        if let Some((first, told)) = self.told.iter().find(|(told, _)| told.key() == call.key()) {
            if first.hash() == call.hash() {
                assert!(answer.replayed, "seed {seed}: {call:?} came again: {answer:?}");
                assert_eq!(answer.body, told.body, "seed {seed}: {call:?} came again");
            } else {
                assert_eq!(answer.code, Some(ErrorCode::IdConflict), "seed {seed}: {first:?} came as {call:?}: {answer:?}");
            }
            return;
        }
        if call.player != player(BONUS_PLAYER) {
            let now = actors::Env::now(self.house.place.env.as_ref()).0;
            let expected = self.reference.decide(&call, now);
            match (&expected, answer.ok) {
                (Ok(balance), true) => assert_eq!(*balance, balance_in(&answer), "seed {seed}: {call:?}: {answer:?}"),
                (Err(code), false) => assert_eq!(Some(*code), answer.code, "seed {seed}: {call:?}: {answer:?}"),
                _ => panic!("seed {seed}: {call:?}: expected {expected:?}, was told {answer:?}"),
            }
        }
        let stands = !matches!(answer.code, Some(ErrorCode::UnknownPlayer | ErrorCode::BetNotFound));
        assert_eq!(self.house.unit_of(&call).await.is_some(), stands, "seed {seed}: {call:?}: {answer:?}");
        if stands {
            self.told.push((call, answer));
        }
    }

    /// At the end every row says what the reference says, and what the legs say.
    async fn settle_accounts(&mut self) {
        let units = self.house.units().await;
        for of in (1..=BONUS_PLAYER).map(player) {
            let Some(record) = self.house.ledger.record(RecordKey::player(of)).await.unwrap() else {
                assert_eq!(self.reference.balance(of), None, "seed {}", self.seed);
                continue;
            };
            assert_eq!(record.holdings, fold(&units, RecordKey::player(of)), "seed {}: {of}", self.seed);
            let stored = rules::player::balance_of(&record.holdings, &book(), record.version).unwrap();
            assert_eq!(self.house.snapshot(of).await.balance, stored, "seed {}: {of}", self.seed);
            if let Some(expected) = self.reference.balance(of) {
                let stored = Balance { cash: stored.cash.0, in_play: stored.in_play.0, version: stored.version };
                assert_eq!(stored, expected, "seed {}: {of}", self.seed);
            }
        }
        let mut replies = HashMap::new();
        for unit in &units {
            assert!(replies.insert(unit.key.clone(), unit.reply.clone()).is_none(), "seed {}: {} twice", self.seed, unit.key);
        }
        for (call, answer) in &self.told {
            assert_eq!(replies.get(&call.key()), Some(&answer.to_stored()), "seed {}: {call:?}", self.seed);
        }
    }
}

/// The same kind of call with other content.
fn other_body(what: &What) -> What {
    match what.clone() {
        What::Fund(amount) => What::Fund(amount + 1),
        What::Spin(stake) => What::Spin(stake + 1),
        What::Bet { round, stake } => What::Bet { round, stake: stake + 1 },
        What::Win { round, bet, amount, micro, is_final } => What::Win { round, bet, amount: amount + 1, micro, is_final },
        What::Promo { amount, micro } => What::Promo { amount: amount + 1, micro },
        other => other,
    }
}

fn unknown_reference(call: &Call) -> Option<Uuid> {
    match &call.what {
        What::Rollback { reference, .. } if call.player != player(BONUS_PLAYER) => Some(*reference),
        _ => None,
    }
}

fn balance_in(answer: &Answer) -> Balance {
    if let Ok(reply) = serde_json::from_slice::<MoneyReply>(&answer.body) {
        let minor = |text: &str| Currency::EUR.parse_exact(text).unwrap().0.0;
        let (cash, in_play) = (minor(&reply.balance.cash), minor(&reply.balance.in_play));
        return Balance { cash, in_play, version: reply.balance.version };
    }
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let balance: protocol::Balance = serde_json::from_value(body["balance"].clone()).unwrap();
    Balance { cash: balance.cash.0, in_play: balance.in_play.0, version: balance.version }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_tree_does_what_the_reference_says_whatever_fails() {
    let seeds = match std::env::var("PITBOSS_SEED") {
        Ok(seed) => vec![seed.parse().expect("PITBOSS_SEED is a number")],
        Err(_) => (1..=SEEDS).collect(),
    };
    let mut runs = JoinSet::new();
    for seed in seeds {
        if runs.len() >= RUNS_AT_ONCE_MAX {
            join_one(&mut runs).await;
        }
        runs.spawn(async move {
            println!("PITBOSS_SEED={seed}");
            Run::new(seed).await.play().await;
        });
    }
    while !runs.is_empty() {
        join_one(&mut runs).await;
    }
}

async fn join_one(runs: &mut JoinSet<()>) {
    if let Some(Err(error)) = runs.join_next().await {
        std::panic::resume_unwind(error.into_panic());
    }
}
