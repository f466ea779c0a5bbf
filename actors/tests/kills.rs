//! Actors are killed at random under load, in mid-commit too: every call ends with one final answer, stands once with that
//! answer, passes no limit, and the tree grows back.

mod support;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actors::Answer;
use protocol::{
    Amount, ErrorCode, PlayerId, RecordKey,
    frame::{LimitKind, LimitWindow},
};
use ractor::{ActorId, ActorStatus};
use rand::{Rng, SeedableRng, rngs::StdRng};
use storage::ledger::faults::{Fault, Gate};
use support::{
    House, Kind, Place, World,
    play::{Call, What, cash_of, fold, is_final, player, spun},
    until,
};

const PLAYERS: u64 = 50;
const CASH: i64 = 10_000;
/// Small enough that every player meets it.
const WAGER_LIMIT: i64 = 200;
const STEPS: u64 = 8;

/// What one player was finally told, in order.
type Told = Vec<(Call, Answer)>;

async fn play(house: Arc<House>, of: PlayerId) -> Told {
    let mut told: Told = Vec::new();
    let mut random = StdRng::seed_from_u64(of.0.as_u128() as u64);
    for step in 0..STEPS {
        if random.random_bool(0.5) {
            let call = house.make(of, What::Spin(random.random_range(5..30)));
            let answer = house.insist(&call).await;
            told.push((call, answer));
            continue;
        }
        let round = format!("{}-{step}", of.0.simple());
        let bet = house.make(of, What::Bet { round: round.clone(), stake: random.random_range(5..30) });
        let answer = house.insist(&bet).await;
        let is_in = answer.ok;
        let id = bet.id;
        told.push((bet, answer));
        if is_in {
            let win = house.make(of, What::Win { round, bet: id, amount: random.random_range(0..40), micro: 0, is_final: true });
            let answer = house.insist(&win).await;
            told.push((win, answer));
        }
    }
    told
}

/// Kills until told to stop; answers the wallets and pipeline parts it killed.
async fn kill(house: Arc<House>, over: Arc<AtomicBool>) -> HashSet<ActorId> {
    let mut killed = HashSet::new();
    let mut random = StdRng::seed_from_u64(7);
    let registry = &house.core.floor.shared().registry;
    while !over.load(Ordering::SeqCst) {
        // Every other time somebody dies while a commit stands inside the store.
        let gate = random.random_bool(0.5).then(Gate::new);
        if let Some(gate) = &gate {
            house.place.inject(0, Fault::Slow(Arc::clone(gate)));
            drop(tokio::time::timeout(Duration::from_millis(50), gate.arrived()).await);
        }
        let players = registry.running_players(PLAYERS as usize);
        for _ in 0..random.random_range(0..4_usize).min(players.len()) {
            players[random.random_range(0..players.len())].kill();
        }
        let rounds = registry.running_rounds(PLAYERS as usize);
        for _ in 0..random.random_range(0..3_usize).min(rounds.len()) {
            rounds[random.random_range(0..rounds.len())].kill();
        }
        let children = house.core.children().await;
        if let Some(child) = children.get(random.random_range(0..8)).filter(|child| child.get_status() == ActorStatus::Running) {
            killed.insert(child.get_id());
            child.kill();
        }
        if let Some(gate) = gate {
            gate.open();
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..15))).await;
    }
    killed
}

async fn survive(kind: Kind) {
    let mut place = Place::new(kind, World::plain());
    place.settings.restarts_max = 100_000;
    place.settings.restart_backoff_first = Duration::from_millis(2);
    place.settings.restart_backoff_max = Duration::from_millis(10);
    let house = Arc::new(place.open().await);
    for n in 1..=PLAYERS {
        house.seat(player(n), CASH).await;
        let what = What::Limit { limit: LimitKind::Wager, window: Some(LimitWindow::Day), value: Some(WAGER_LIMIT) };
        assert!(house.act(player(n), what).await.ok);
    }
    let over = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn(kill(Arc::clone(&house), Arc::clone(&over)));
    let playing: Vec<_> = (1..=PLAYERS).map(|n| tokio::spawn(play(Arc::clone(&house), player(n)))).collect();
    let mut told: HashMap<PlayerId, Told> = HashMap::new();
    for (task, n) in playing.into_iter().zip(1..) {
        told.insert(player(n), task.await.unwrap());
    }
    over.store(true, Ordering::SeqCst);
    let killed = killer.await.unwrap();
    assert!(!killed.is_empty());
    until("every death was counted", || house.stats.live.restarts.load(Ordering::SeqCst) >= killed.len() as u64).await;

    stands_once(&house, &told).await;
    for (of, told) in &told {
        limits_and_balance(&house, *of, told).await;
    }
    let fresh = player(PLAYERS + 1);
    house.seat(fresh, CASH).await;
    assert!(house.insist(&house.make(fresh, What::Spin(10))).await.ok, "the tree stands again");
    house.caught_up().await;
    Arc::into_inner(house).expect("all tasks are over").end().await;
}

/// Every call that was answered is stored once, with the reply that was told.
async fn stands_once(house: &House, told: &HashMap<PlayerId, Told>) {
    let units = house.units().await;
    let mut stored = HashMap::new();
    for unit in &units {
        assert!(stored.insert(unit.key.clone(), unit).is_none(), "{} stands twice", unit.key);
    }
    for (call, answer) in told.values().flatten() {
        assert!(is_final(answer));
        let unit = stored.get(&call.key()).unwrap_or_else(|| panic!("{call:?} was told {answer:?} and is not stored"));
        assert_eq!(unit.reply, answer.to_stored(), "{call:?}");
    }
}

/// What a player was told adds up to its balance, and the limit refused exactly the stakes that would have passed it.
async fn limits_and_balance(house: &House, of: PlayerId, told: &Told) {
    let (mut cash, mut wagered) = (CASH, 0);
    for (call, answer) in told {
        let stake = match &call.what {
            What::Spin(stake) | What::Bet { stake, .. } => *stake,
            What::Win { amount, .. } => {
                assert!(answer.ok, "a win is never refused: {answer:?}");
                cash += amount;
                continue;
            }
            _ => continue,
        };
        if !answer.ok {
            assert_eq!(answer.code, Some(ErrorCode::WagerLimit), "{call:?}: {answer:?}");
            assert!(wagered + stake > WAGER_LIMIT, "refused with {wagered} wagered and {stake} more");
            continue;
        }
        wagered += stake;
        cash -= stake;
        if matches!(call.what, What::Spin(_)) {
            cash += spun(answer).win.0;
        }
    }
    assert!(wagered <= WAGER_LIMIT, "{wagered} wagered");
    let balance = house.stored_balance(of).await;
    assert_eq!((balance.cash, balance.in_play), (Amount(cash), Amount(0)), "{of}");
    assert_eq!(cash_of(&fold(&house.units().await, RecordKey::player(of))), cash);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_when_actors_are_killed_over_memory() {
    survive(Kind::Memory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_or_doubled_when_actors_are_killed_over_sqlite() {
    survive(Kind::Sqlite).await;
}
