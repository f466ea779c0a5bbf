//! Bets and wins of a round, their replays, their amounts, and who sees them.

use protocol::provider::path;
use serde_json::json;

use crate::support::{
    TestServer, new_id,
    provider::{Seat, minor},
    ws::Ws,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_is_held_until_the_final_win() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let bet = new_id();
    let held = seat.bet(bet, "r-1", "2.50").await.ok();
    assert_eq!((&held["outcome"], &held["transaction_id"]), (&json!("bet_accepted"), &json!(bet)));
    assert_eq!((&held["cash"], &held["in_play"], &held["currency"]), (&json!("97.50"), &json!("2.50"), &json!("EUR")));
    assert_eq!(seat.balance().await, (9_750, 250), "in play is shown while it is held");
    let part = seat.win(new_id(), "r-1", bet, "1.00", false).await.ok();
    assert_eq!((&part["cash"], &part["in_play"]), (&json!("98.50"), &json!("2.50")), "paid, and nothing released");
    let last = seat.win(new_id(), "r-1", bet, "4.00", true).await.ok();
    assert_eq!((&last["outcome"], &last["cash"], &last["in_play"]), (&json!("win_paid"), &json!("102.50"), &json!("0.00")));
    assert_eq!(seat.bet(new_id(), "r-1", "1.00").await.said(), "round_closed");
    // A late win on a closed round is paid.
    assert_eq!(seat.win(new_id(), "r-1", bet, "1.00", false).await.ok()["cash"], "103.50");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_round_ends_by_a_zero_win_or_by_its_close() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let bet = new_id();
    seat.bet(bet, "r-1", "1.00").await.ok();
    assert_eq!(seat.win(new_id(), "r-1", bet, "0.00", true).await.said(), "win_paid");
    assert_eq!(seat.balance().await, (9_900, 0));
    seat.bet(new_id(), "r-2", "1.00").await.ok();
    let closed = seat.close("r-2").await.ok();
    assert_eq!(
        (&closed["outcome"], &closed["cash"], &closed["in_play"]),
        (&json!("round_closed"), &json!("98.00"), &json!("0.00"))
    );
    assert_eq!(seat.close("r-2").await.said(), "round_closed", "closing again moves nothing");
    assert_eq!(seat.balance().await, (9_800, 0));
    assert_eq!(seat.close("r-unknown").await.said(), "unknown_round");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_takes_several_bets_and_wins_and_one_round_of_a_game_is_open() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "load-000001").await;
    let bets = [new_id(), new_id(), new_id()];
    for bet in bets {
        seat.bet(bet, "r-1", "1.00").await.ok();
    }
    assert_eq!(seat.balance().await, (seat.cash - 300, 300));
    let problem = seat.bet(new_id(), "r-2", "1.00").await.refused();
    assert_eq!(problem.code.as_str(), "round_open");
    assert!(problem.numbers.contains_key("round"));
    seat.win(new_id(), "r-1", bets[0], "5.00", false).await.ok();
    seat.win(new_id(), "r-1", bets[2], "0.30", false).await.ok();
    assert_eq!(seat.balance().await, (seat.cash - 300 + 530, 300));
    seat.win(new_id(), "r-1", bets[1], "0.00", true).await.ok();
    assert_eq!(seat.balance().await, (seat.cash + 230, 0), "the final win releases every stake");
    assert_eq!(seat.bet(new_id(), "r-2", "1.00").await.said(), "bet_accepted");
    // The round is the player's: another's bet or win does not fit it.
    let other = Seat::take(&server, "load-000002").await;
    assert_eq!(other.bet(new_id(), "r-2", "1.00").await.said(), "round_mismatch");
    assert_eq!(other.win(new_id(), "r-1", bets[0], "1.00", false).await.said(), "round_mismatch");
    assert_eq!(other.close("r-2").await.said(), "round_mismatch");
    assert_eq!(other.balance().await, (other.cash, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_holds_so_many_bets_and_wins_are_never_refused_for_it() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "load-000001").await;
    const TRANSACTIONS_MAX: usize = 64;
    let mut bets = Vec::new();
    for _ in 0..TRANSACTIONS_MAX {
        let bet = new_id();
        seat.bet(bet, "r-1", "0.10").await.ok();
        bets.push(bet);
    }
    assert_eq!(seat.bet(new_id(), "r-1", "0.10").await.said(), "too_many_bets");
    for bet in &bets {
        for _ in 0..2 {
            assert_eq!(seat.win(new_id(), "r-1", *bet, "0.10", false).await.said(), "win_paid");
        }
    }
    assert_eq!(seat.close("r-1").await.said(), "round_closed");
    assert_eq!(seat.balance().await, (seat.cash + 640, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_byte_for_byte_and_marked_also_after_a_kill() {
    let mut server = TestServer::start();
    let mut seat = Seat::take(&server, "ana").await;
    let (bet, win, refused) = (new_id(), new_id(), new_id());
    let calls = [
        (path::BET, seat.bet_body(bet, "r-1", "1.00")),
        (path::BET, seat.bet_body(refused, "r-2", "1.00")),
        (path::WIN, seat.win_body(win, "r-1", bet, "7.00", true)),
        (path::ROLLBACK, seat.rollback_body(new_id(), "r-9", new_id())),
    ];
    let mut first = Vec::new();
    for (path, body) in &calls {
        let answer = seat.call(path, body).await;
        assert!(!answer.0.replayed, "{path}");
        first.push(answer.0);
    }
    assert_eq!(first.iter().map(|reply| reply.status).collect::<Vec<_>>(), [200, 409, 200, 200]);
    let balance = seat.balance().await;
    for kills in 0..2 {
        for ((path, body), first) in calls.iter().zip(&first) {
            let again = seat.call(path, body).await.0;
            assert!(again.replayed, "{path} after {kills} kills");
            assert_eq!((again.status, &again.body), (first.status, &first.body), "{path} after {kills} kills");
        }
        assert_eq!(seat.balance().await, balance);
        server.kill9();
        server.restart();
        seat.reconnect(&server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_with_other_content_is_a_conflict() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let bet = new_id();
    seat.bet(bet, "r-1", "1.00").await.ok();
    assert_eq!(seat.bet(bet, "r-1", "2.00").await.said(), "id_conflict");
    assert_eq!(seat.win(bet, "r-1", bet, "9.00", true).await.said(), "id_conflict");
    assert_eq!(seat.rollback(bet, "r-1", bet).await.said(), "id_conflict");
    assert_eq!(seat.promo(bet, "spring", "9.00").await.said(), "id_conflict");
    // Another player's same transaction id is the same provider's id.
    let other = Seat::take(&server, "cyd").await;
    assert_eq!(other.bet(bet, "r-2", "1.00").await.said(), "id_conflict");
    assert_eq!(seat.balance().await, (9_900, 100));
    assert_eq!(other.balance().await, (50_000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_bets_of_one_id_at_once_are_one_bet() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let body = seat.bet_body(new_id(), "r-1", "1.00");
    let (a, b, c) = tokio::join!(seat.call(path::BET, &body), seat.call(path::BET, &body), seat.call(path::BET, &body));
    let answers = [a, b, c];
    assert!(answers.iter().all(|answer| answer.0.body == answers[0].0.body && answer.0.status == 200), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| !answer.0.replayed).count(), 1);
    assert_eq!(seat.balance().await, (9_900, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_win_for_an_unknown_bet_is_not_stored_and_succeeds_once_the_bet_came() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let (bet, win) = (new_id(), new_id());
    for _ in 0..2 {
        let answer = seat.win(win, "r-1", bet, "5.00", true).await;
        assert!(!answer.0.replayed, "nothing is stored");
        let problem = answer.refused();
        assert_eq!((problem.code.as_str(), problem.status), ("bet_not_found", 404));
        assert_eq!(problem.retry, protocol::problem::Retry::Later);
    }
    seat.bet(bet, "r-1", "1.00").await.ok();
    let other = seat.win(new_id(), "r-1", new_id(), "5.00", false).await;
    assert_eq!(other.said(), "bet_not_found", "the round is known, that bet is not");
    let paid = seat.win(win, "r-1", bet, "5.00", true).await;
    assert!(!paid.0.replayed);
    assert_eq!(paid.ok()["cash"], "104.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn wins_below_a_unit_are_carried_exactly_until_they_make_one() {
    let mut server = TestServer::start();
    let mut seat = Seat::take(&server, "ana").await;
    let bet = new_id();
    seat.bet(bet, "r-1", "1.00").await.ok();
    let mut cash = Vec::new();
    // Three times a third of a cent and a bit: 0.9999, then one ten-thousandth more makes the unit.
    for amount in ["0.003333", "0.003333", "0.003333", "0.000001"] {
        cash.push(minor(&seat.win(new_id(), "r-1", bet, amount, false).await.ok()["cash"]));
    }
    assert_eq!(cash, [9_900, 9_900, 9_900, 9_901]);
    seat.win(new_id(), "r-1", bet, "0.00999999", false).await.ok();
    server.kill9();
    server.restart();
    seat.reconnect(&server);
    let last = seat.win(new_id(), "r-1", bet, "1.00000001", true).await.ok();
    assert_eq!(last["cash"], "100.02", "the carry survives a kill");
    let fine = seat.win(new_id(), "r-1", bet, "0.000000001", false).await;
    assert_eq!(fine.said(), "invalid_amount", "seven places below the unit are too fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn wins_come_after_logout_and_bets_do_not() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let seat = Seat::take(&server, "ana").await;
    let bet = new_id();
    seat.bet(bet, "r-1", "1.00").await.ok();
    ws.request("session.end", json!({})).await.ok();
    assert_eq!(seat.bet(new_id(), "r-2", "1.00").await.said(), "no_session");
    assert_eq!(seat.win(new_id(), "r-1", bet, "2.00", true).await.said(), "win_paid");
    assert_eq!(seat.balance().await, (10_100, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_bet_stakes_nothing_and_its_win_is_cash() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ben").await;
    let with_stake = new_id();
    let mut body = seat.bet_body(with_stake, "r-1", "1.00");
    body["is_free"] = json!(true);
    assert_eq!(seat.call(path::BET, &body).await.said(), "invalid_value");
    let bet = new_id();
    let mut body = seat.bet_body(bet, "r-1", "0.00");
    body["is_free"] = json!(true);
    let placed = seat.call(path::BET, &body).await.ok();
    assert_eq!((&placed["cash"], &placed["in_play"]), (&json!("50.00"), &json!("0.00")));
    let paid = seat.win(new_id(), "r-1", bet, "3.00", true).await.ok();
    assert_eq!((&paid["cash"], &paid["bonus"]), (&json!("53.00"), &json!("20.00")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotional_win_is_paid_once_and_names_its_campaign() {
    let server = TestServer::start();
    let seat = Seat::take(&server, "ana").await;
    let id = new_id();
    let paid = seat.promo(id, "spring", "5.00").await;
    assert_eq!((paid.said().as_str(), &paid.ok()["cash"]), ("promo_paid", &json!("105.00")));
    let again = seat.promo(id, "spring", "5.00").await;
    assert!(again.0.replayed);
    assert_eq!(again.0.body, paid.0.body);
    assert_eq!(seat.promo(new_id(), "", "5.00").await.said(), "invalid_value");
    assert_eq!(seat.promo(new_id(), "spring", "-5.00").await.said(), "invalid_amount");
    assert_eq!(seat.balance().await, (10_500, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_players_connection_sees_what_a_provider_does() {
    let server = TestServer::start();
    let (mut ws, welcome) = Ws::login(&server, "ana").await;
    let seat = Seat::take(&server, "ana").await;
    assert_eq!(json!(seat.session), welcome["session"], "one play session spans both channels");
    let bet = new_id();
    let held = seat.bet(bet, "r-1", "1.00").await.ok();
    let balance = ws.push_where("balance", |data| data["balance"]["in_play"] == 100 || data["in_play"] == 100).await;
    assert!(balance.data.to_string().contains("9900"), "{balance:?}");
    let round = ws.push("round").await;
    assert_eq!((&round.data["round"], &round.data["game"]), (&json!("r-1"), &json!("starfall-remote")));
    assert_eq!(round.data["status"], "open");
    assert_eq!(ws.balance().await["version"], held["version"]);
    seat.win(new_id(), "r-1", bet, "3.00", true).await.ok();
    let round = ws.push("round").await;
    assert_eq!(round.data["status"], "settled");
    assert_eq!(ws.balance().await["cash"], 10_200);
    // The round is in the history of the player, and told to a client that resumes.
    let history = ws.request("history", json!({})).await.ok();
    let shown = &history["rounds"][0];
    assert_eq!((&shown["round"], &shown["stake"], &shown["win"]), (&json!("r-1"), &json!(100), &json!(300)));
    let (_, resumed) = Ws::resume(&server, "ana", welcome["balance"]["version"].as_u64()).await;
    assert_eq!(resumed["missed"][0]["round"], "r-1");
    assert_eq!(resumed["missed"].as_array().unwrap().len(), 1);
}
