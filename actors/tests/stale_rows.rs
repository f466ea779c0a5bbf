//! A cached row that fell behind its stored one: what is decided on it is decided again, and never stays.

mod support;

use protocol::{Amount, BetId, ErrorCode, RoundId, TraceId};
use storage::ledger::faults::{Fault, Gate};
use support::{
    House, World,
    play::{Call, Pending, What, player, refused, spun},
    until,
};

const CASH: i64 = 1_000;

/// Sends a spin straight to its player, so that a snapshot asked for afterwards is answered after the spin was taken in.
fn spin_at_once(house: &House, call: &Call, stake: i64) -> Pending {
    let (reply, pending) = actors::Responder::oneshot();
    let asked = actors::floor::Asked { trace: TraceId(call.id), reply };
    let action = actors::command::Action::Spin {
        game: support::catalogue::hosted_game(),
        stake: Amount(stake),
        round: RoundId(call.id),
        bet: BetId(call.id),
        source: std::sync::Arc::new(support::catalogue::Thirds),
    };
    house.core.floor.execute(call.player, call.key(), call.hash(), action, asked);
    pending
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refusal_decided_before_a_jackpot_came_is_decided_again() {
    let mut world = World::with_jackpot();
    if let Some(spec) = &mut world.jackpot {
        spec.ceiling = spec.seed;
    }
    let house = House::memory(world).await;
    house.seat(player(1), 10).await;
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let first = house.send(&house.make(player(1), What::Spin(10)));
    gate.arrived().await;
    // It waits behind the spin that empties the purse and wins the jackpot of fifty in one commit.
    let call = house.make(player(1), What::Spin(10));
    let pending = spin_at_once(&house, &call, 10);
    assert_eq!(house.snapshot(player(1)).await.balance.cash, Amount(10), "nothing is committed yet");
    gate.open();
    assert!(first.await.unwrap().ok);
    let answer = pending.await.unwrap();
    assert_eq!(spun(&answer).balance.cash, Amount(50 - 10), "fifty were there when it was committed");
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refusal_decided_before_a_predecessors_funds_came_is_decided_again() {
    let house = House::memory(World::plain()).await;
    for what in [What::Open, What::StartSession] {
        assert!(house.act(player(1), what).await.ok);
    }
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let fund = house.make(player(1), What::Fund(CASH));
    let first = house.send(&fund);
    gate.arrived().await;
    let registry = &house.core.floor.shared().registry;
    registry.running_player(player(1)).unwrap().kill();
    until("the player's actor is gone", || registry.running_player(player(1)).is_none()).await;
    assert_eq!(refused(&first.await.unwrap()), ErrorCode::Unknown, "unknown, not no");
    // The successor reads the row without the funds, and refuses on it.
    let call = house.make(player(1), What::Spin(10));
    let pending = spin_at_once(&house, &call, 10);
    assert_eq!(house.snapshot(player(1)).await.balance.cash, Amount(0));
    gate.open();
    assert_eq!(spun(&pending.await.unwrap()).balance.cash, Amount(CASH - 10), "the funds stood before it");
    assert!(house.call(&fund).await.replayed);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_player_sees_its_own_write_after_an_unknown_outcome() {
    let house = House::memory(World::plain()).await;
    house.seat(player(1), CASH).await;
    house.place.inject(0, Fault::UnknownStored);
    assert!(house.spin(player(1), 10).await.ok);
    assert_eq!(house.snapshot(player(1)).await.balance, house.stored_balance(player(1)).await);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_player_opened_by_a_predecessors_commit_in_flight_is_known_afterwards() {
    let house = House::memory(World::plain()).await;
    let gate = Gate::new();
    house.place.inject(0, Fault::Slow(gate.clone()));
    let open = house.make(player(1), What::Open);
    let first = house.send(&open);
    gate.arrived().await;
    let registry = &house.core.floor.shared().registry;
    let actor = registry.running_player(player(1)).unwrap();
    actor.kill();
    until("the player's actor is gone", || registry.running_player(player(1)).is_none()).await;
    assert_eq!(refused(&first.await.unwrap()), ErrorCode::Unknown, "unknown, not no");
    // The successor reads no row and submits the same key behind the commit in flight.
    let second = house.send(&open);
    until("the successor runs", || registry.running_player(player(1)).is_some()).await;
    assert_eq!(house.core.floor.snapshot(player(1)).await.err(), Some(ErrorCode::UnknownPlayer));
    gate.open();
    let answer = second.await.unwrap();
    assert!(answer.ok && answer.replayed, "{answer:?}");
    assert!(house.act(player(1), What::Fund(CASH)).await.ok);
    house.end().await;
}
