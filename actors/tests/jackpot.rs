//! Jackpots over the whole tree: every contribution is carried exactly, every win was promised beforehand, and nothing of it
//! depends on who runs.

mod support;

use std::collections::HashMap;

use protocol::{
    AccountCode, Amount, EventPack, Fact, Micro, OwnerKind, RecordKey,
    event::{JackpotTriggered, RoundSettled},
};
use rules::jackpot::{JackpotState, Secret, commitment};
use storage::{
    StoredUnit,
    ledger::faults::{Fault, Gate},
};
use support::{
    House, World,
    catalogue::jackpot_id,
    play::{Call, What, book, player, spun},
};

const CASH: i64 = 100_000;

fn facts(unit: &StoredUnit) -> Vec<Fact> {
    if unit.events.is_empty() {
        return Vec::new();
    }
    EventPack::parse(&unit.events).unwrap().events.into_iter().map(|event| event.payload).collect()
}

/// The pools' balances and the record.
async fn meter(house: &House) -> (Amount, Amount, Amount, JackpotState) {
    let record = house.ledger.record(RecordKey::jackpot(jackpot_id())).await.unwrap().unwrap();
    let held = |code| record.holdings.get(&book(), code, 0);
    let state = JackpotState::decode(&record.bytes).unwrap();
    (held(AccountCode::JackpotMain), held(AccountCode::JackpotReserve), held(AccountCode::JackpotDiversion), state)
}

fn wins(units: &[StoredUnit]) -> Vec<JackpotTriggered> {
    let of = |fact| if let Fact::JackpotTriggered(win) = fact { Some(win) } else { None };
    units.iter().flat_map(facts).filter_map(of).collect()
}

/// What the pools and their carries hold, and what was contributed, seeded and paid, in micro units: nothing may be lost.
async fn assert_carried(house: &House) {
    let (main, reserve, diversion, state) = meter(house).await;
    let mut contributed = 0_i128;
    let mut seeded = 0_i128;
    let mut paid = 0_i128;
    for fact in house.units().await.iter().flat_map(facts) {
        match fact {
            Fact::RoundSettled(RoundSettled { contributions, .. }) => {
                contributed += contributions.iter().map(|share| i128::from(share.micro.0)).sum::<i128>();
            }
            Fact::BetPlaced(bet) => contributed += bet.contributions.iter().map(|share| i128::from(share.micro.0)).sum::<i128>(),
            Fact::BetVoided(bet) => contributed -= i128::from(rate(bet.stake_cash.0 + bet.stake_bonus.0)),
            Fact::JackpotSeeded(seed) => seeded += micro(seed.seed),
            Fact::JackpotTriggered(win) => {
                paid += micro(win.amount);
                seeded += micro(win.next_seed);
            }
            _ => {}
        }
    }
    // The next seed comes from the reserve as far as that goes; the rest is new money from the house.
    let from_reserve: i128 = house
        .units()
        .await
        .iter()
        .flat_map(|unit| unit.legs.clone())
        .filter(|leg| leg.from.code == AccountCode::JackpotReserve && leg.to.code == AccountCode::JackpotMain)
        .map(|leg| micro(leg.amount))
        .sum();
    let carries = i128::from(state.carry_main.0 + state.carry_reserve.0 + state.carry_diversion.0);
    let held = micro(main) + micro(reserve) + micro(diversion) + carries;
    assert_eq!(held, contributed + seeded - from_reserve - paid);
}

fn micro(amount: Amount) -> i128 {
    i128::from(amount.0) * i128::from(Micro::PER_MINOR)
}

fn rate(stake: i64) -> i64 {
    stake * i64::from(World::with_jackpot().jackpot_rate_ppm)
}

/// Spins of many players at once.
async fn spin_all(house: &House, players: u64, each: usize) {
    let mut pending = Vec::new();
    for round in 0..each {
        for n in 1..=players {
            let stake = 7 + (n as i64 * 13 + round as i64) % 90;
            pending.push(house.make(player(n), What::Spin(stake)));
        }
    }
    let answers = futures_all(house, &pending).await;
    assert!(answers.iter().all(|answer| answer.ok));
}

/// Sends everything first, then waits, so that commits are of many units.
async fn futures_all(house: &House, calls: &[Call]) -> Vec<actors::Answer> {
    let sent: Vec<_> = calls.iter().map(|call| house.send(call)).collect();
    let mut answers = Vec::new();
    for (pending, call) in sent.into_iter().zip(calls) {
        let answer = pending.await.unwrap();
        answers.push(if support::play::is_final(&answer) { answer } else { house.insist(call).await });
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn contributions_of_many_players_are_carried_to_the_last_millionth() {
    let house = House::sqlite(World::with_jackpot()).await;
    for n in 1..=20 {
        house.seat(player(n), CASH).await;
    }
    spin_all(&house, 20, 15).await;
    assert!(wins(&house.units().await).len() >= 3, "the ceiling is low, it is won again and again");
    assert_carried(&house).await;
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_win_was_promised_and_each_cycle_follows_the_last() {
    let house = House::memory(World::with_jackpot()).await;
    for n in 1..=5 {
        house.seat(player(n), CASH).await;
    }
    spin_all(&house, 5, 40).await;
    let units = house.units().await;
    let mut promised: HashMap<u64, String> = HashMap::new();
    for fact in units.iter().flat_map(facts) {
        if let Fact::JackpotSeeded(seed) = fact {
            promised.insert(seed.cycle, seed.commitment);
        }
    }
    let wins = wins(&units);
    assert!(wins.len() >= 3);
    for (index, win) in wins.iter().enumerate() {
        assert_eq!(win.cycle, index as u64 + 1, "cycles follow one another");
        let mut secret = Secret { threshold: win.threshold, nonce: [0; 32] };
        hex::decode_to_slice(&win.nonce, &mut secret.nonce).unwrap();
        assert_eq!(promised.get(&win.cycle), Some(&hex::encode(commitment(win.jackpot, win.cycle, &secret))));
        let spec = World::with_jackpot().jackpot.unwrap();
        assert!(micro(spec.seed) <= i128::from(win.threshold.0) && i128::from(win.threshold.0) <= micro(spec.ceiling));
        assert!(micro(win.amount) + i128::from(Micro::PER_MINOR) > i128::from(win.threshold.0), "the pool had reached it");
        assert!(win.amount <= spec.ceiling, "must hit by");
        promised.insert(win.cycle + 1, win.next_commitment.clone());
    }
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_win_stands_in_the_commit_of_the_bet_that_crossed() {
    let mut world = World::with_jackpot();
    if let Some(spec) = &mut world.jackpot {
        spec.ceiling = spec.seed;
    }
    let house = House::memory(world).await;
    house.seat(player(1), CASH).await;
    let head = house.head().await;
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let pending = house.send(&house.make(player(1), What::Spin(100)));
    gate.arrived().await;
    assert_eq!(house.head().await, head);
    // One commit is let through; were the win another one, it would fail here and be lost.
    house.place.inject(0, Fault::FailBefore(storage::StorageError::Full));
    gate.open();
    let answer = pending.await.unwrap();
    let units = house.units().await;
    let win = wins(&units).pop().unwrap();
    assert_eq!((win.player, win.round), (player(1), spun(&answer).round.to_string()));
    let paid = units.iter().flat_map(|unit| &unit.legs).find(|leg| leg.from.code == AccountCode::JackpotMain).unwrap();
    assert_eq!((paid.to.owner, paid.to.code, paid.amount), (RecordKey::player(player(1)), AccountCode::Cash, win.amount));
    assert!(
        units
            .iter()
            .flat_map(|unit| &unit.legs)
            .all(|leg| { leg.from.owner.kind != OwnerKind::Jackpot || leg.to.code != AccountCode::Revenue })
    );
    assert!(!house.spin(player(1), 100).await.ok, "the planned fault was still there");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_restart_keeps_meters_and_secrets() {
    let house = House::sqlite(World::with_jackpot()).await;
    house.seat(player(1), CASH).await;
    for stake in [7, 19, 23] {
        assert!(house.spin(player(1), stake).await.ok);
    }
    let before = meter(&house).await;
    let house = house.restart().await;
    assert_eq!(meter(&house).await, before);
    let wins_before = wins(&house.units().await).len();
    let promised = hex::encode(before.3.commitment);
    while wins(&house.units().await).len() == wins_before {
        assert!(house.spin(player(1), 1_000).await.ok);
    }
    let win = wins(&house.units().await)[wins_before].clone();
    let mut secret = Secret { threshold: win.threshold, nonce: [0; 32] };
    hex::decode_to_slice(&win.nonce, &mut secret.nonce).unwrap();
    assert_eq!(hex::encode(commitment(win.jackpot, win.cycle, &secret)), promised);
    assert_carried(&house).await;
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rollback_takes_back_exactly_what_its_bet_gave() {
    let house = House::memory(World::with_jackpot()).await;
    house.seat(player(1), CASH).await;
    house.bet(player(1), "r0", 33).await;
    let before = meter(&house).await;
    let (bet, placed) = house.bet(player(1), "r0", 777).await;
    assert!(placed.ok);
    let after = meter(&house).await;
    assert_ne!(after, before);
    assert!(house.rollback(player(1), "r0", bet).await.ok);
    let back = meter(&house).await;
    assert_eq!(back, before, "to the last millionth");
    assert_carried(&house).await;
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_held_bet_triggers_at_its_settlement_and_not_before() {
    let mut world = World::with_jackpot();
    if let Some(spec) = &mut world.jackpot {
        // The first contribution crosses.
        spec.ceiling = spec.seed;
    }
    let house = House::memory(world).await;
    house.seat(player(1), CASH).await;
    let (bet, placed) = house.bet(player(1), "r1", 500).await;
    assert!(placed.ok);
    assert!(wins(&house.units().await).is_empty(), "its round is open: it may still be taken back");
    assert!(house.win(player(1), "r1", bet, 0, true).await.ok);
    let wins = wins(&house.units().await);
    assert_eq!(wins.len(), 1);
    assert_eq!((wins[0].player, wins[0].round.as_str()), (player(1), "r1"));
    house.end().await;
}
