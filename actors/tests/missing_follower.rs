//! A follower whose store never opened is the slowest of all.

mod support;

use std::sync::atomic::Ordering;

use support::{Kind, Place, World, play::player, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_follower_that_never_opened_holds_the_least_position() {
    let place = Place::new(Kind::Memory, World::plain());
    place.journal_is_away.store(true, Ordering::SeqCst);
    let house = place.open().await;
    house.seat(player(1), 100).await;
    let (head, positions) = (house.head().await, &house.core.positions);
    until("the others are at the head", || ["projections", "showman"].iter().all(|name| positions.of(name) == head)).await;
    assert!(positions.least() < head, "retention and an orderly stop must wait for the journal");
    house.place.journal_is_away.store(false, Ordering::SeqCst);
    until("the journal is at the head", || positions.of("compliance") == head).await;
    house.end().await;
}
