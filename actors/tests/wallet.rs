//! The wallet under every fault a store can have: nothing is lost, nothing stands twice, and unknown is never told as no.

mod support;

use std::time::Duration;

use protocol::{Amount, ErrorCode};
use ractor::ActorStatus;
use storage::{
    StorageError,
    ledger::faults::{Fault, Gate},
};
use support::{
    House, World,
    play::{What, cash_of, fold, player, refused, spun},
    until,
};

const CASH: i64 = 1_000;

async fn seated(world: World) -> House {
    let house = House::memory(world).await;
    house.seat(player(1), CASH).await;
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_fails_before_it_began_stores_nothing_and_says_so() {
    let house = seated(World::plain()).await;
    let head = house.head().await;
    house.place.inject(0, Fault::FailBefore(StorageError::Full));
    let call = house.make(player(1), What::Spin(10));
    assert_eq!(refused(&house.call(&call).await), ErrorCode::Unavailable);
    assert_eq!(house.head().await, head);
    assert!(house.unit_of(&call).await.is_none());
    assert_eq!(spun(&house.call(&call).await).balance.cash, Amount(CASH - 10), "the same id is free to come again");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_stands_although_its_writer_cannot_know_is_answered_by_its_first_reply() {
    let house = seated(World::plain()).await;
    let head = house.head().await;
    house.place.inject(0, Fault::UnknownStored);
    let call = house.make(player(1), What::Spin(10));
    let answer = house.call(&call).await;
    assert!(answer.replayed, "the retry found the first: {answer:?}");
    assert_eq!(spun(&answer).balance.cash, Amount(CASH - 10));
    assert_eq!(house.head().await, head + 1, "stored once");
    assert_eq!(house.call(&call).await, answer);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_was_lost_is_submitted_again_and_stands_once() {
    let house = seated(World::plain()).await;
    let head = house.head().await;
    house.place.inject(0, Fault::UnknownLost);
    let call = house.make(player(1), What::Spin(10));
    let answer = house.call(&call).await;
    assert!(!answer.replayed, "nothing was there to replay: {answer:?}");
    assert_eq!(spun(&answer).balance.cash, Amount(CASH - 10));
    assert_eq!(house.head().await, head + 1);
    assert_eq!(house.ledger.head(0).await.unwrap().epoch, 2, "the first incarnation ended");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fenced_wallet_ends_and_its_successor_goes_on() {
    let house = seated(World::plain()).await;
    house.place.inject(0, Fault::Fence);
    let answer = house.spin(player(1), 10).await;
    assert_eq!(spun(&answer).balance.cash, Amount(CASH - 10));
    assert_eq!(house.ledger.head(0).await.unwrap().epoch, 3, "a stranger's epoch, then the successor's");
    assert_eq!(house.stats.live.restarts.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert!(house.spin(player(1), 10).await.ok);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_waits_for_the_commit_in_flight() {
    let house = seated(World::plain()).await;
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let call = house.make(player(1), What::Spin(10));
    let mut pending = house.send(&call);
    gate.arrived().await;
    let floor = house.core.floor.clone();
    let closing = tokio::spawn(house.close());
    // Closed to newcomers is the first thing a stop does; the command inside still waits for its commit.
    until("the doors close", || floor.shared().admission.enter().is_none()).await;
    assert!(pending.try_recv().is_err() && !closing.is_finished());
    gate.open();
    let place = closing.await.unwrap();
    assert!(pending.try_recv().unwrap().ok, "answered before the stop was over");
    let house = place.open().await;
    assert!(house.unit_of(&call).await.is_some());
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wallet_killed_in_mid_commit_does_not_take_the_commit_along() {
    let house = seated(World::plain()).await;
    let head = house.head().await;
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let call = house.make(player(1), What::Spin(10));
    let pending = house.send(&call);
    gate.arrived().await;
    let wallet = house.core.children().await.remove(0);
    wallet.kill();
    until("the wallet is gone", || wallet.get_status() == ActorStatus::Stopped).await;
    gate.open();
    let answer = pending.await.unwrap();
    assert_eq!(spun(&answer).balance.cash, Amount(CASH - 10));
    assert_eq!(house.head().await, head + 1);
    assert!(house.spin(player(1), 10).await.ok, "the successor took the shard");
    assert_eq!(house.stats.live.restarts.load(std::sync::atomic::Ordering::SeqCst), 1);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn over_the_admission_bound_everybody_is_told_busy_and_places_come_back() {
    let mut place = support::Place::new(support::Kind::Memory, World::plain());
    place.settings.commands_under_way_max = 2;
    let house = place.open().await;
    for n in 1..=3 {
        house.seat(player(n), CASH).await;
    }
    let under_way = || house.core.floor.shared().admission.under_way();
    until("the seats are taken", || under_way() == 0).await;
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let inside = [house.send(&house.make(player(1), What::Spin(10))), house.send(&house.make(player(2), What::Spin(10)))];
    gate.arrived().await;
    let third = house.make(player(3), What::Spin(10));
    assert_eq!(refused(&house.call(&third).await), ErrorCode::Busy);
    assert!(house.unit_of(&third).await.is_none());
    gate.open();
    for pending in inside {
        assert!(pending.await.unwrap().ok);
    }
    until("the places are free", || under_way() == 0).await;
    assert!(house.call(&third).await.ok);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn behind_a_plan_in_flight_only_so_many_wait() {
    let mut place = support::Place::new(support::Kind::Memory, World::plain());
    place.settings.player_waiting_max = 2;
    let house = place.open().await;
    house.seat(player(1), CASH).await;
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let first = house.send(&house.make(player(1), What::Spin(10)));
    gate.arrived().await;
    // Funds go straight to the player's actor, so their order is the order they were sent in.
    let waiting: Vec<_> = (0..2).map(|_| house.send(&house.make(player(1), What::Fund(1)))).collect();
    let over = house.make(player(1), What::Fund(1));
    assert_eq!(refused(&house.call(&over).await), ErrorCode::Busy);
    gate.open();
    for pending in std::iter::once(first).chain(waiting) {
        assert!(pending.await.unwrap().ok);
    }
    assert!(house.call(&over).await.ok);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_command_past_its_deadline_is_not_decided() {
    const DEADLINE: Duration = Duration::from_millis(50);
    let mut place = support::Place::new(support::Kind::Memory, World::plain());
    place.settings.command_deadline = DEADLINE;
    let house = place.open().await;
    house.seat(player(1), CASH).await;
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let first = house.make(player(1), What::Spin(10));
    let pending = loop {
        let mut pending = house.send(&first);
        tokio::select! {
            () = gate.arrived() => break pending,
            answer = &mut pending => assert_eq!(refused(&answer.unwrap()), ErrorCode::DeadlinePassed),
        }
    };
    let late = house.make(player(1), What::Fund(10));
    let waiting = house.send(&late);
    // The deadline has to pass for real: commands carry one of the machine's clock.
    tokio::time::sleep(DEADLINE * 2).await;
    gate.open();
    assert!(pending.await.unwrap().ok, "once submitted nothing times out into a refusal");
    assert_eq!(refused(&waiting.await.unwrap()), ErrorCode::DeadlinePassed);
    assert!(house.unit_of(&late).await.is_none());
    assert!(house.insist(&late).await.ok);
    house.end().await;
}

/// Every bet wins the jackpot, so that every bet moves its player's row twice.
fn always_won() -> World {
    let mut world = World::with_jackpot();
    if let Some(spec) = &mut world.jackpot {
        spec.ceiling = spec.seed;
    }
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_plan_made_stale_by_a_jackpot_win_is_decided_again() {
    let house = seated(always_won()).await;
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let first = house.send(&house.make(player(1), What::Spin(10)));
    gate.arrived().await;
    let waiting: Vec<_> = (0..3).map(|_| house.send(&house.make(player(1), What::Fund(5)))).collect();
    gate.open();
    assert!(first.await.unwrap().ok);
    // The first of them is decided the moment the spin's plan is known to stand, before its player hears of the fifty.
    let mut cash = CASH - 10 + 50;
    for pending in waiting {
        let answer = pending.await.unwrap();
        cash += 5;
        assert!(answer.ok && !answer.replayed, "{answer:?}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["balance"]["cash"], cash);
    }
    assert_eq!(house.stored_balance(player(1)).await.cash, Amount(cash));
    assert_eq!(cash_of(&fold(&house.units().await, protocol::RecordKey::player(player(1)))), cash);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wallet_that_fails_too_often_is_the_end_of_the_tree() {
    let mut place = support::Place::new(support::Kind::Memory, World::plain());
    place.settings.restarts_max = 2;
    place.settings.restart_backoff_first = Duration::from_millis(1);
    let house = place.open().await;
    let wallets = &house.core.floor.shared().wallets;
    for _ in 0..3 {
        until("the shard has a wallet", || wallets.are_ready()).await;
        let wallet = wallets.cells().remove(0);
        wallet.kill();
        until("its end was noticed", || wallets.cells().first().is_none_or(|now| now.get_id() != wallet.get_id())).await;
    }
    let reason = tokio::time::timeout(support::WAIT_MAX, house.core.failed()).await.expect("the tree says that it cannot go on");
    assert!(reason.contains("failed too often"), "{reason}");
}
