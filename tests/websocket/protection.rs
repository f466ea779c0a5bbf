//! Player protection over the WebSocket: reality checks, limits, time-outs, exclusion, logout.

use serde_json::{Value, json};

use crate::support::{TestServer, new_id, provider::Seat, ws::Ws};

#[tokio::test(flavor = "multi_thread")]
async fn a_due_reality_check_is_pushed_and_blocks_until_acknowledged() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "rita").await;
    let push = ws.push_where("reality_check", |data| !data.is_null()).await;
    assert!(push.data["seconds"].as_i64().unwrap() >= 1, "{push:?}");
    assert_eq!((&push.data["wagered"], &push.data["net"]), (&json!(0), &json!(0)));
    let problem = ws.spin(20).await.refused();
    assert_eq!(problem.code.as_str(), "reality_check_pending");
    assert!(problem.numbers["seconds"].as_i64().unwrap() >= 1);
    assert_eq!(problem.numbers["wagered"], json!(0));
    // The next check is a second away: one of these pairs fits between.
    let spun = crate::support::until("a spin after the acknowledgement", async || {
        ws.request("reality_check.ack", json!({})).await;
        ws.spin(20).await.result.ok()
    });
    let stake = spun.await["stake"].as_i64().unwrap();
    let next = ws.push_where("reality_check", |data| data["wagered"] == stake).await;
    let returned = next.data["returned"].as_i64().unwrap();
    assert_eq!(next.data["net"], returned - stake, "the check says what was played");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_reality_check_blocks_a_providers_bet_too_and_survives_a_restart() {
    let mut server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "rita").await;
    let mut seat = Seat::take(&server, "rita").await;
    ws.push_where("reality_check", |data| !data.is_null()).await;
    assert_eq!(seat.bet(new_id(), "r-1", "1.00").await.refused().code.as_str(), "reality_check_pending");
    server.stop();
    server.restart();
    seat.reconnect(&server);
    assert_eq!(seat.bet(new_id(), "r-1", "1.00").await.refused().code.as_str(), "reality_check_pending");
    let (_, welcome) = Ws::login(&server, "rita").await;
    assert!(!welcome["reality_check"].is_null(), "a new connection is told: {welcome}");
}

fn limit<'a>(limits: &'a Value, kind: &str, window: Option<&str>) -> &'a Value {
    let limits = limits["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["limit"] == kind && limit["window"].as_str() == window).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_players_own_limits_refuse_with_their_numbers() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "cyd").await;
    let problem = ws.spin(400).await.refused();
    assert_eq!(problem.code.as_str(), "stake_limit");
    assert_eq!(problem.numbers["limit"], 200);
    // Plays until the net loss of 20 EUR refuses, or says where it stood when the wager limit came first.
    let mut net_loss = 0;
    const SPINS_MAX: usize = 60;
    let mut refused = None;
    for _ in 0..SPINS_MAX {
        match ws.spin(200).await.result {
            Ok(spun) => net_loss += 200 - spun["win"].as_i64().unwrap(),
            Err(problem) => {
                refused = Some(problem);
                break;
            }
        }
    }
    let problem = refused.expect("100 EUR of wager a day end it within 50 spins");
    assert_eq!(problem.numbers["window"], "day");
    let limits = ws.request("limit.get", json!({})).await.ok();
    let (loss, wager) = (limit(&limits, "loss", Some("day")), limit(&limits, "wager", Some("day")));
    assert_eq!(loss["spent"], net_loss, "net loss is stakes less returns");
    match problem.code.as_str() {
        "loss_limit" => {
            assert_eq!((&problem.numbers["limit"], &problem.numbers["spent"]), (&json!(2_000), &json!(net_loss)));
            assert!(net_loss + 200 > 2_000, "one more stake would pass it");
        }
        "wager_limit" => assert_eq!(problem.numbers["limit"], 10_000),
        other => panic!("{other}"),
    }
    assert_eq!(loss["own"], 2_000);
    assert_eq!(loss["operator"], 200_000);
    assert_eq!(loss["effective"], 2_000, "the stricter is in force");
    assert_eq!(wager["effective"], 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn tightening_is_immediate_and_relaxing_waits() {
    let server = TestServer::start();
    let (mut ws, welcome) = Ws::login(&server, "ana").await;
    let now = welcome["server_time"].as_i64().unwrap();
    let tightened = ws.request("limit.set", json!({ "limit": "stake", "value": 40 })).await.ok();
    assert_eq!(tightened["pending"], false);
    let problem = ws.spin(100).await.refused();
    assert_eq!((problem.code.as_str(), &problem.numbers["limit"]), ("stake_limit", &json!(40)));
    assert_eq!(ws.spin(40).await.code(), "ok");
    let relaxed = ws.request("limit.set", json!({ "limit": "stake", "value": 200 })).await.ok();
    assert_eq!(relaxed["pending"], true);
    assert!(relaxed["effective_at"].as_i64().unwrap() >= now + 86_400_000, "a day: {relaxed}");
    assert_eq!(ws.spin(100).await.code(), "stake_limit", "not yet");
    let limits = ws.request("limit.get", json!({})).await.ok();
    let stake = limit(&limits, "stake", None);
    assert_eq!((&stake["own"], &stake["effective"], &stake["pending"]["value"]), (&json!(40), &json!(40), &json!(200)));
    // A confirmation before its time confirms nothing; removing the limit waits as well.
    let again = ws.request("limit.set", json!({ "limit": "stake", "value": 200 })).await.ok();
    assert_eq!((&again["pending"], &again["effective_at"]), (&json!(true), &relaxed["effective_at"]));
    assert_eq!(ws.request("limit.set", json!({ "limit": "stake" })).await.ok()["pending"], true);
    assert_eq!(ws.spin(100).await.code(), "stake_limit");
    // Tightening cancels what waits.
    assert_eq!(ws.request("limit.set", json!({ "limit": "stake", "value": 20 })).await.ok()["pending"], false);
    let limits = ws.request("limit.get", json!({})).await.ok();
    assert!(limit(&limits, "stake", None)["pending"].is_null());
    assert_eq!(ws.spin(40).await.code(), "stake_limit");
    for wrong in [
        json!({ "limit": "stake", "value": -1 }),
        json!({ "limit": "loss", "value": 5 }),
        json!({ "limit": "stake", "window": "day", "value": 5 }),
    ] {
        assert_eq!(ws.request("limit.set", wrong.clone()).await.code(), "invalid_value", "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relaxation_is_in_force_after_its_time_and_a_second_command() {
    let server = TestServer::configured(&[], &[("limit_relax_s = 86400", "limit_relax_s = 1")]);
    let (mut ws, _) = Ws::login(&server, "load-000001").await;
    ws.request("limit.set", json!({ "limit": "stake", "value": 20 })).await.ok();
    let wish = json!({ "limit": "stake", "value": 100 });
    assert_eq!(ws.request("limit.set", wish.clone()).await.ok()["pending"], true);
    assert_eq!(ws.spin(100).await.code(), "stake_limit");
    let confirmed = crate::support::until("the confirmation to count", async || {
        let told = ws.request("limit.set", wish.clone()).await.ok();
        (told["pending"] == false).then_some(told)
    });
    confirmed.await;
    assert_eq!(ws.spin(100).await.code(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_out_excludes_at_once_and_wins_still_come() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let seat = Seat::take(&server, "ana").await;
    let bet = new_id();
    seat.bet(bet, "r-1", "1.00").await.ok();
    for hours in [0, 23, 6 * 7 * 24 + 1] {
        assert_eq!(ws.request("rg.time_out", json!({ "hours": hours })).await.code(), "invalid_value", "{hours}");
    }
    let taken = ws.request("rg.time_out", json!({ "hours": 24 })).await.ok();
    let until = taken["until"].as_i64().unwrap();
    let problem = ws.spin(20).await.refused();
    assert_eq!((problem.code.as_str(), &problem.numbers["until"]), ("timed_out", &json!(until)));
    assert_eq!(seat.bet(new_id(), "r-2", "1.00").await.said(), "timed_out");
    assert_eq!(seat.win(new_id(), "r-1", bet, "3.00", true).await.said(), "win_paid", "a win is never refused for it");
    assert_eq!(ws.request("rg.time_out", json!({ "hours": 24 * 7 })).await.code(), "ok", "lengthened");
    assert_eq!(ws.request("rg.time_out", json!({ "hours": 24 })).await.code(), "invalid_value", "never shortened");
    // Nobody starts a session while it lasts.
    let token = server.token("ana").await;
    let mut again = Ws::open(&server).await;
    assert_eq!(again.request("hello", json!({ "token": token })).await.code(), "timed_out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_exclusion_refuses_bets_and_hellos_and_pays_wins_across_a_restart() {
    let mut server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let mut seat = Seat::take(&server, "ana").await;
    let bet = new_id();
    seat.bet(bet, "r-1", "1.00").await.ok();
    assert_eq!(ws.request("rg.self_exclude", json!({ "months": 5 })).await.code(), "invalid_value");
    assert!(ws.request("rg.self_exclude", json!({})).await.ok()["until"].is_null(), "for ever");
    assert_eq!(ws.spin(20).await.code(), "self_excluded");
    server.stop();
    server.restart();
    seat.reconnect(&server);
    assert_eq!(seat.bet(new_id(), "r-2", "1.00").await.said(), "self_excluded");
    assert_eq!(seat.win(new_id(), "r-1", bet, "3.00", true).await.said(), "win_paid");
    let token = server.token("ana").await;
    let mut again = Ws::open(&server).await;
    assert_eq!(again.request("hello", json!({ "token": token })).await.code(), "self_excluded");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_of_the_session_there_is_none() {
    let server = TestServer::start();
    let (mut ws, first) = Ws::login(&server, "ana").await;
    ws.request("session.end", json!({})).await.ok();
    assert_eq!(ws.spin(20).await.code(), "no_session");
    let token = server.token("ana").await;
    let again = ws.request("hello", json!({ "token": token })).await.ok();
    assert_ne!(again["session"], first["session"], "a new play session");
    assert_eq!(again["resumed"], false);
    assert_eq!(ws.spin(20).await.code(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bet_over_the_funds_says_what_is_there() {
    let server = TestServer::configured(&[], &[("balance = \"1000000.00\"", "balance = \"0.50\"")]);
    let (mut ws, _) = Ws::login(&server, "load-000001").await;
    let problem = ws.spin(100).await.refused();
    assert_eq!((problem.code.as_str(), &problem.numbers["available"]), ("insufficient_funds", &json!(50)));
    assert_eq!(ws.spin(40).await.code(), "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slots_next_round_waits_for_the_game_cycle() {
    let server = TestServer::configured(&[], &[("slot_cycle_ms = 0", "slot_cycle_ms = 1500")]);
    let (mut ws, _) = Ws::login(&server, "ana").await;
    ws.spin(20).await.ok();
    let problem = ws.spin(20).await.refused();
    assert_eq!(problem.code.as_str(), "game_cycle");
    let wait_ms = problem.numbers["wait_ms"].as_i64().unwrap();
    assert!((1..=1_500).contains(&wait_ms), "{wait_ms}");
    crate::support::until("the next round", async || ws.spin(20).await.result.ok()).await;
}
