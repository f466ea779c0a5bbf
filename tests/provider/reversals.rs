//! Rollbacks: of what is held, settled, won, unknown, refused, and of what comes too late.

use protocol::provider::path;
use serde_json::json;

use crate::support::{TestServer, new_id, provider::Seat, ws::Ws};

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_of_an_unknown_id_refuses_the_late_bet_for_ever() {
    let mut server = TestServer::start();
    let mut seat = Seat::take(&server, "ana").await;
    let other = Seat::take(&server, "cyd").await;
    let (late, named_wrongly) = (new_id(), new_id());
    assert_eq!(seat.rollback(new_id(), "r-1", late).await.said(), "tombstoned");
    // The studio may name another player in the rollback than in the bet.
    assert_eq!(other.rollback(new_id(), "r-2", named_wrongly).await.said(), "tombstoned");
    assert_eq!(seat.bet(late, "r-1", "1.00").await.said(), "bet_rolled_back");
    server.kill9();
    server.restart();
    seat.reconnect(&server);
    assert_eq!(seat.bet(named_wrongly, "r-2", "1.00").await.said(), "bet_rolled_back");
    let again = seat.bet(late, "r-1", "1.00").await;
    assert!(again.0.replayed, "the refusal is stored");
    assert_eq!(again.said(), "bet_rolled_back");
    assert_eq!(seat.win(new_id(), "r-1", late, "9.00", true).await.said(), "bet_not_found");
    assert_eq!(seat.balance().await, (10_000, 0));
    assert_eq!(seat.bet(new_id(), "r-3", "1.00").await.said(), "bet_accepted", "others are welcome");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_bet_comes_back_whole_and_once() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let bet = new_id();
    seat.bet(bet, "r-1", "2.00").await.ok();
    let back = seat.rollback(new_id(), "r-1", bet).await.ok();
    assert_eq!((&back["outcome"], &back["cash"], &back["in_play"]), (&json!("rolled_back"), &json!("100.00"), &json!("0.00")));
    assert!(back.get("receivable").is_none());
    assert_eq!(seat.rollback(new_id(), "r-1", bet).await.said(), "already_rolled_back");
    assert_eq!(seat.win(new_id(), "r-1", bet, "9.00", true).await.said(), "bet_rolled_back");
    assert_eq!(seat.balance().await, (10_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_bets_comes_back_and_the_round_goes_on() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let (first, second) = (new_id(), new_id());
    seat.bet(first, "r-1", "2.00").await.ok();
    seat.bet(second, "r-1", "3.00").await.ok();
    seat.rollback(new_id(), "r-1", first).await.ok();
    assert_eq!(seat.balance().await, (9_700, 300));
    seat.win(new_id(), "r-1", second, "1.00", true).await.ok();
    assert_eq!(seat.balance().await, (9_800, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_bet_and_its_win_are_taken_back_one_by_one() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let (bet, win) = (new_id(), new_id());
    seat.bet(bet, "r-1", "2.00").await.ok();
    seat.win(win, "r-1", bet, "5.00", true).await.ok();
    assert_eq!(seat.balance().await, (10_300, 0));
    assert_eq!(seat.rollback(new_id(), "r-1", win).await.ok()["cash"], "98.00", "the win is taken");
    assert_eq!(seat.rollback(new_id(), "r-1", bet).await.ok()["cash"], "100.00", "the stake is given");
    let elsewhere = seat.rollback(new_id(), "r-2", bet).await;
    assert_eq!(elsewhere.said(), "round_mismatch", "a reference of another round");
    assert_eq!(seat.balance().await, (10_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reversal_cannot_take_becomes_receivable() {
    let mut server = TestServer::start();
    let mut seat = Seat::take(&server, "ana").await;
    let (bet, win) = (new_id(), new_id());
    seat.bet(bet, "r-1", "1.00").await.ok();
    seat.win(win, "r-1", bet, "10.00", true).await.ok();
    // All of the cash goes into bets that lose, ten euro each at most.
    for number in 0..11 {
        let (cash, _) = seat.balance().await;
        let (bet, round) = (new_id(), format!("r-lose-{number}"));
        let stake = cash.min(1_000);
        if stake == 0 {
            break;
        }
        seat.bet(bet, &round, &format!("{}.{:02}", stake / 100, stake % 100)).await.ok();
        seat.win(new_id(), &round, bet, "0.00", true).await.ok();
    }
    assert_eq!(seat.balance().await, (0, 0));
    let id = new_id();
    let taken = seat.rollback(id, "r-1", win).await;
    let reply = taken.ok();
    assert_eq!((&reply["outcome"], &reply["receivable"], &reply["cash"]), (&json!("rolled_back"), &json!("10.00"), &json!("0.00")));
    server.stop();
    let units = server.export();
    let unit = units.iter().find(|unit| {
        unit["key"]["id"].as_str().is_some_and(|key| key.contains(&id.simple().to_string()) || key.contains(&id.to_string()))
    });
    let unit = unit.expect("the rollback's unit").to_string();
    assert!(unit.contains("wallet.receivable.raised"), "{unit}");
    server.restart();
    seat.reconnect(&server);
    let again = seat.rollback(id, "r-1", win).await;
    assert!(again.0.replayed);
    assert_eq!(again.0.body, taken.0.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_bet_is_rolled_back_without_moving_anything() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "cyd").await;
    let refused = new_id();
    assert_eq!(seat.bet(refused, "r-1", "3.00").await.said(), "stake_limit");
    assert_eq!(seat.rollback(new_id(), "r-1", refused).await.said(), "tombstoned");
    assert_eq!(seat.balance().await, (50_000, 0));
    assert_eq!(seat.bet(refused, "r-1", "3.00").await.said(), "stake_limit", "its stored refusal stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_and_a_win_come_after_self_exclusion() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let seat = Seat::take(&server, "ana").await;
    let (kept, returned) = (new_id(), new_id());
    seat.bet(kept, "r-1", "1.00").await.ok();
    seat.bet(returned, "r-1", "2.00").await.ok();
    ws.request("rg.self_exclude", json!({ "months": 6 })).await.ok();
    assert_eq!(seat.bet(new_id(), "r-1", "1.00").await.said(), "self_excluded", "a later stake of the round too");
    assert_eq!(seat.rollback(new_id(), "r-1", returned).await.said(), "rolled_back");
    assert_eq!(seat.win(new_id(), "r-1", kept, "4.00", false).await.said(), "win_paid");
    assert_eq!(seat.close("r-1").await.said(), "round_closed");
    assert_eq!(seat.balance().await, (10_300, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_was_taken_back_frees_its_limit() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "cyd").await;
    let mut bets = Vec::new();
    for number in 0..10 {
        let (bet, round) = (new_id(), format!("r-{number}"));
        seat.bet(bet, &round, "2.00").await.ok();
        seat.win(new_id(), &round, bet, "0.00", true).await.ok();
        bets.push((bet, round));
    }
    let problem = seat.bet(new_id(), "r-over", "2.00").await.refused();
    assert_eq!(
        (problem.code.as_str(), &problem.numbers["limit"], &problem.numbers["spent"]),
        ("loss_limit", &json!(2_000), &json!(2_000))
    );
    let (bet, round) = &bets[3];
    assert_eq!(seat.rollback(new_id(), round, *bet).await.said(), "rolled_back");
    assert_eq!(seat.bet(new_id(), "r-again", "2.00").await.said(), "bet_accepted");
    let body = json!({ "transaction_id": new_id(), "player_id": seat.player, "round_id": "r-again" });
    assert_eq!(seat.call(path::ROUND_CLOSE, &body).await.said(), "round_closed");
}
