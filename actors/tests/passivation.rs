//! Actors come and go, connections too: what a player sees does not depend on who happens to be awake.

mod support;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use actors::floor::{Connection, Push};
use protocol::{Amount, ErrorCode, frame::push};
use support::{
    House, World,
    play::{What, player, refused, spun},
    until, until_async,
};
use tokio::sync::mpsc;

const CASH: i64 = 1_000;

fn connection(id: u64, pushes_max: usize) -> (Connection, mpsc::Receiver<Push>, Arc<AtomicU64>) {
    let (pushes, received) = mpsc::channel(pushes_max);
    let dropped = Arc::new(AtomicU64::new(0));
    let seated = Connection {
        id,
        pushes,
        dropped: Arc::clone(&dropped),
        tenant: support::catalogue::tenant(),
        watches_board: Arc::default(),
    };
    (seated, received, dropped)
}

/// The next push of a name; others in between are passed over.
async fn next(received: &mut mpsc::Receiver<Push>, name: &str) -> Push {
    let found = async {
        loop {
            let push = received.recv().await.expect("the connection is open");
            if push.name == name {
                return push;
            }
        }
    };
    tokio::time::timeout(support::WAIT_MAX, found).await.unwrap_or_else(|_| panic!("no push {name}"))
}

async fn everybody_leaves(house: &House) {
    let registry = &house.core.floor.shared().registry;
    until("nobody is awake", || {
        registry.passivate_players(Duration::ZERO);
        registry.passivate_rounds(Duration::ZERO);
        registry.players_len() == 0 && registry.rounds_len() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn idle_actors_leave_and_come_back_as_they_were() {
    let house = House::sqlite(World::plain()).await;
    for n in 1..=10 {
        house.seat(player(n), CASH).await;
        assert!(house.spin(player(n), 10).await.ok);
        assert!(house.bet(player(n), &format!("r{n}"), 30).await.1.ok);
    }
    let before: Vec<String> = snapshots(&house).await;
    everybody_leaves(&house).await;
    assert_eq!(snapshots(&house).await, before);
    everybody_leaves(&house).await;
    for n in 1..=10 {
        let round = format!("r{n}");
        assert!(house.close_round(player(n), &round).await.ok);
        let late = house.make(player(n), What::Bet { round, stake: 5 });
        assert_eq!(refused(&house.call(&late).await), ErrorCode::RoundClosed, "the round remembers, too");
    }
    house.end().await;
}

async fn snapshots(house: &House) -> Vec<String> {
    let mut all = Vec::new();
    for n in 1..=10 {
        all.push(format!("{:?}", house.snapshot(player(n)).await));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_sweep_lets_idle_actors_go_by_itself() {
    let mut place = support::Place::new(support::Kind::Memory, World::plain());
    place.settings.player_idle = Duration::from_millis(1);
    place.settings.round_idle = Duration::from_millis(1);
    let house = place.open().await;
    house.seat(player(1), CASH).await;
    assert!(house.bet(player(1), "r1", 30).await.1.ok);
    let registry = &house.core.floor.shared().registry;
    until("the sweep came by", || registry.players_len() == 0 && registry.rounds_len() == 0).await;
    assert!(house.close_round(player(1), "r1").await.ok);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_connected_player_stays_awake() {
    let house = House::memory(World::plain()).await;
    house.seat(player(1), CASH).await;
    house.seat(player(2), CASH).await;
    let (seated, _received, _) = connection(1, 16);
    assert!(house.core.floor.connect(player(1), seated).is_none());
    let registry = &house.core.floor.shared().registry;
    until("the other one leaves", || {
        registry.passivate_players(Duration::ZERO);
        registry.running_player(player(2)).is_none()
    })
    .await;
    assert!(registry.running_player(player(1)).is_some());
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_ends_by_inactivity_whether_or_not_somebody_is_awake() {
    let house = House::memory(World::plain()).await;
    house.seat(player(1), CASH).await;
    let inactivity_ms = house.place.world.policy.session_inactivity_s * 1_000;
    house.place.env.advance_ms(inactivity_ms - 1);
    assert!(house.spin(player(1), 10).await.ok, "one moment is left, and the bet counts as activity");
    everybody_leaves(&house).await;
    house.place.env.advance_ms(inactivity_ms);
    assert_eq!(refused(&house.spin(player(1), 10).await), ErrorCode::NoSession);
    // A connection makes the player tick: what is due is fired and told.
    let (seated, mut received, _) = connection(1, 16);
    drop(house.core.floor.connect(player(1), seated));
    let ended = next(&mut received, push::SESSION).await;
    assert!(ended.data.contains("inactivity"), "{}", ended.data);
    assert!(house.snapshot(player(1)).await.session.is_none());
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_due_reality_check_reaches_a_connected_player_and_binds_until_acknowledged() {
    let mut world = World::plain();
    world.policy.reality_check_s = Some(1);
    let house = House::memory(world).await;
    house.seat(player(1), CASH).await;
    let (seated, mut received, _) = connection(1, 64);
    drop(house.core.floor.connect(player(1), seated));
    // The tick is armed for the check; it looks at the house's clock when it comes.
    until_async("the tick is armed", || async { house.core.floor.snapshot(player(1)).await.is_ok() }).await;
    house.place.env.advance_ms(1_000);
    let check = next(&mut received, push::REALITY_CHECK).await;
    let view: protocol::frame::RealityCheckView = serde_json::from_str(&check.data).unwrap();
    assert_eq!(view.seconds, 1);
    assert_eq!(refused(&house.spin(player(1), 10).await), ErrorCode::RealityCheckPending);
    let (_, held) = house.bet(player(1), "r1", 10).await;
    assert_eq!(refused(&held), ErrorCode::RealityCheckPending, "on every channel");
    assert!(house.act(player(1), What::Acknowledge).await.ok);
    assert_eq!(&*next(&mut received, push::REALITY_CHECK).await.data, "null");
    assert!(house.spin(player(1), 10).await.ok);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_connection_takes_the_seat_of_the_first() {
    let house = House::memory(World::plain()).await;
    house.seat(player(1), CASH).await;
    let (first, mut to_first, _) = connection(1, 16);
    let (second, mut to_second, _) = connection(2, 16);
    assert!(house.core.floor.connect(player(1), first).is_none());
    let replaced = house.core.floor.connect(player(1), second).expect("the first comes back, to be told");
    assert_eq!(replaced.id, 1);
    drop(replaced);
    // The first one's farewell, late as it is, does not unseat the second.
    house.core.floor.disconnect(player(1), 1);
    assert!(house.act(player(1), What::Fund(7)).await.ok);
    let balance: protocol::Balance = serde_json::from_str(&next(&mut to_second, push::BALANCE).await.data).unwrap();
    assert_eq!(balance.cash, Amount(CASH + 7));
    while let Some(push) = to_first.recv().await {
        assert_ne!(push.name, push::BALANCE, "nothing more reaches the first");
    }
    house.core.floor.disconnect(player(1), 2);
    assert_eq!(house.core.floor.shared().registry.connections_len(), 0);
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_does_not_read_loses_pushes_and_never_holds_a_bet() {
    let house = House::memory(World::plain()).await;
    house.seat(player(1), CASH).await;
    let (seated, mut received, dropped) = connection(1, 1);
    drop(house.core.floor.connect(player(1), seated));
    for _ in 0..5 {
        assert!(house.act(player(1), What::Fund(1)).await.ok);
    }
    assert!(spun(&house.spin(player(1), 10).await).balance.cash > Amount(0));
    assert_eq!(dropped.load(std::sync::atomic::Ordering::SeqCst), 4, "one was taken, four were counted");
    let balance: protocol::Balance = serde_json::from_str(&next(&mut received, push::BALANCE).await.data).unwrap();
    assert_eq!(balance.cash, Amount(CASH + 1));
    house.end().await;
}
