//! The pipeline behind the ledger: it may stall, die and be rebuilt; bets never wait for it, and nothing is told twice.

mod support;

use std::{sync::atomic::Ordering, time::Duration};

use actors::pipeline::showman::{Fold, View};
use protocol::frame::LeaderboardRow;
use ractor::ActorStatus;
use storage::ledger::faults::Fault;
use support::{
    House, Kind, Place, World,
    catalogue::tenant,
    play::{What, player},
    until,
};

const CASH: i64 = 100_000;
const PLAYERS: u64 = 8;

async fn quick(kind: Kind, world: World) -> House {
    let mut place = Place::new(kind, world);
    place.settings.restart_backoff_first = Duration::from_millis(2);
    place.settings.restart_backoff_max = Duration::from_millis(20);
    place.settings.restarts_max = 10_000;
    place.open().await
}

async fn seat_all(house: &House) {
    for n in 1..=PLAYERS {
        house.seat(player(n), CASH).await;
    }
}

async fn play(house: &House, from: i64) {
    for n in 1..=PLAYERS {
        let spin = house.make(player(n), What::Spin(10 + from + n as i64));
        assert!(house.insist(&spin).await.ok);
        let round = format!("{n}-{from}");
        let (bet, placed) = house.bet(player(n), &round, 20).await;
        assert!(placed.ok);
        assert!(house.win(player(n), &round, bet, from * n as i64, true).await.ok);
    }
}

/// The view once it shows the head.
async fn shown(house: &House) -> View {
    let head = house.head().await;
    until("the show is at the head", || house.core.show.view().position == head).await;
    house.core.show.view()
}

fn rows(view: &View) -> Vec<LeaderboardRow> {
    view.boards[&tenant()].rows.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_shown_is_the_fold_of_the_units_however_it_came_about() {
    let house = quick(Kind::Memory, World::with_jackpot()).await;
    seat_all(&house).await;
    for step in 0..6 {
        play(&house, step).await;
    }
    let live = shown(&house).await;
    assert_eq!(rows(&live).len(), PLAYERS as usize);
    let mut fold = Fold::default();
    for unit in house.units().await {
        fold.apply(&unit).unwrap();
    }
    let now = actors::Env::now(house.place.env.as_ref());
    assert_eq!(fold.top(tenant(), now, 20), rows(&live));
    assert_eq!(fold.money_rows(), live.money);
    // Again from a checkpoint, and again from nothing at all.
    let house = house.restart().await;
    let resumed = shown(&house).await;
    assert_eq!((rows(&resumed), &resumed.money, &resumed.jackpots), (rows(&live), &live.money, &live.jackpots));
    let place = house.close().await;
    std::fs::remove_file(place.checkpoint()).unwrap();
    let house = place.open().await;
    let rebuilt = shown(&house).await;
    assert_eq!((rows(&rebuilt), &rebuilt.money, &rebuilt.jackpots), (rows(&live), &live.money, &live.jackpots));
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_consumer_that_cannot_work_lags_alone_and_catches_up() {
    let house = quick(Kind::Memory, World::plain()).await;
    seat_all(&house).await;
    house.caught_up().await;
    let stalled_at = house.core.positions.of("compliance");
    house.place.journal_is_away.store(true, Ordering::SeqCst);
    // Which of them is the journalist does not matter: whoever dies comes back, but for that one.
    for child in house.core.children().await.into_iter().skip(1) {
        child.kill();
    }
    for step in 0..4 {
        play(&house, step).await;
    }
    // What the journal keeps, too: sessions are its business.
    assert!(house.act(player(1), What::EndSession).await.ok);
    let head = house.head().await;
    let positions = &house.core.positions;
    let others = ["projections", "showman"];
    until("the others are at the head", || others.iter().all(|name| positions.of(name) == head)).await;
    assert!(positions.of("compliance") <= stalled_at && positions.least() <= stalled_at, "the lag shows");
    assert!(head >= stalled_at + 4 * PLAYERS * 3);
    house.place.journal_is_away.store(false, Ordering::SeqCst);
    house.caught_up().await;
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_followers_resume_without_double_effects() {
    for kind in [Kind::Memory, Kind::Sqlite] {
        let house = quick(kind, World::with_jackpot()).await;
        seat_all(&house).await;
        for step in 0..10 {
            for child in house.core.children().await.into_iter().skip(1) {
                child.kill();
            }
            play(&house, step).await;
        }
        house.caught_up().await;
        assert!(house.stats.live.restarts.load(Ordering::SeqCst) >= 4);
        // The end compares projections line by line and the journal event by event.
        house.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_feed_did_not_bring_is_read_from_the_ledger() {
    let mut place = Place::new(Kind::Memory, World::plain());
    // No batch ever passes the feed: the relay lives by the ledger alone.
    place.settings.relay_batches_max = 0;
    let house = place.open().await;
    seat_all(&house).await;
    play(&house, 1).await;
    house.caught_up().await;
    house.end().await;

    // A batch whose writer never knew that it was stored is not fed either; the next one shows the gap.
    let house = quick(Kind::Memory, World::plain()).await;
    seat_all(&house).await;
    house.place.inject(0, Fault::UnknownStored);
    assert!(house.insist(&house.make(player(1), What::Spin(10))).await.ok);
    assert!(house.insist(&house.make(player(2), What::Spin(10))).await.ok);
    house.caught_up().await;
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn segments_that_are_gone_are_copied_again() {
    let house = quick(Kind::Sqlite, World::plain()).await;
    seat_all(&house).await;
    play(&house, 1).await;
    let place = house.close().await;
    std::fs::remove_dir_all(place.segments()).unwrap();
    let house = place.open().await;
    play(&house, 2).await;
    house.caught_up().await;
    house.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_relay_holds_no_bet_back() {
    let house = quick(Kind::Memory, World::plain()).await;
    seat_all(&house).await;
    let children = house.core.children().await;
    for child in &children[1..] {
        child.kill();
    }
    until("they are gone", || children[1..].iter().all(|child| child.get_status() == ActorStatus::Stopped)).await;
    let call = house.make(player(1), What::Spin(10));
    assert!(house.insist(&call).await.ok);
    house.caught_up().await;
    house.end().await;
}
