//! A spin's arithmetic, repeated ids, conflicts, and what a resumed client is told.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{
    TestServer, new_id,
    ws::{Ws, frame},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_spin_moves_cash_by_exactly_stake_and_win_and_the_version_by_one() {
    let server = TestServer::start();
    let (mut ws, welcome) = Ws::login(&server, "ana").await;
    assert_eq!(welcome["currency"], "EUR");
    assert_eq!(welcome["exponent"], 2);
    assert_eq!(welcome["balance"]["cash"], 10_000);
    assert_eq!(welcome["resumed"], false);
    let mut balance = welcome["balance"].clone();
    for stake in [20, 40, 100, 200, 20, 20] {
        let spun = ws.spin(stake).await.ok();
        assert_eq!(spun["stake"], stake);
        assert_eq!(spun["game"], "starfall");
        let (before, win) = (balance["cash"].as_i64().unwrap(), spun["win"].as_i64().unwrap());
        assert_eq!(spun["balance"]["cash"], before - stake + win, "cash after = cash before - stake + win: {spun}");
        assert_eq!(spun["balance"]["version"], balance["version"].as_u64().unwrap() + 1, "one commit, one version");
        assert_eq!(spun["balance"]["in_play"], 0);
        balance = spun["balance"].clone();
    }
    assert_eq!(ws.balance().await, balance, "what is read is what was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_id_gets_the_same_bytes_also_after_a_kill() {
    let mut server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let (id, refused_id) = (new_id(), new_id());
    let first = ws.spin_as(id, 40).await;
    assert!(!first.replayed);
    let refused = ws.spin_as(refused_id, 33).await;
    assert_eq!(refused.code(), "stake_step");
    let again = ws.spin_as(id, 40).await;
    assert!(again.replayed, "the flag says that it is stored");
    assert_eq!(again.body, first.body, "byte for byte");
    let balance = ws.balance().await;
    server.kill9();
    server.restart();
    let (mut ws, welcome) = Ws::login(&server, "ana").await;
    assert_eq!(welcome["resumed"], true, "the play session goes on");
    let after_kill = ws.spin_as(id, 40).await;
    assert!(after_kill.replayed);
    assert_eq!(after_kill.body, first.body, "byte for byte, after SIGKILL");
    let refused_again = ws.spin_as(refused_id, 33).await;
    assert!(refused_again.replayed, "a final refusal is stored too");
    assert_eq!(refused_again.body, refused.body);
    assert_eq!(ws.balance().await["cash"], balance["cash"], "nothing moved twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_with_other_content_is_a_conflict_and_moves_nothing() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let id = new_id();
    ws.spin_as(id, 40).await.ok();
    let balance = ws.balance().await;
    assert_eq!(ws.spin_as(id, 20).await.code(), "id_conflict");
    assert_eq!(ws.request_as(id, "fairness.rotate", json!({ "client_seed": "x" })).await.code(), "id_conflict");
    assert_eq!(ws.balance().await, balance);
    // Ids are scoped to the player: another's same id is another command.
    let (mut other, _) = Ws::login(&server, "load-000001").await;
    let reply = other.spin_as(id, 20).await;
    assert!(!reply.replayed);
    assert_eq!(reply.code(), "ok");
    // White space and the order of keys are no content.
    let text = format!(r#"{{ "type":"spin", "data": {{"stake":40,  "game":"starfall"}}, "id":"{id}", "v":1 }}"#);
    ws.send_text(text).await;
    let reply = ws.reply().await;
    assert!(reply.replayed && reply.code() == "ok", "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_requests_of_one_id_at_once_are_one_round() {
    let server = TestServer::start();
    let (mut ws, welcome) = Ws::login(&server, "load-000002").await;
    let id = new_id();
    let text = frame(id, "spin", &json!({ "game": "starfall", "stake": 20 }));
    for _ in 0..4 {
        ws.send_text(text.clone()).await;
    }
    let mut bodies = Vec::new();
    for _ in 0..4 {
        let reply = ws.reply().await;
        assert_eq!(reply.code(), "ok");
        bodies.push((reply.body, reply.replayed));
    }
    assert!(bodies.iter().all(|(body, _)| *body == bodies[0].0), "{bodies:?}");
    assert_eq!(bodies.iter().filter(|(_, replayed)| !replayed).count(), 1, "carried out once");
    let version = welcome["balance"]["version"].as_u64().unwrap();
    assert_eq!(ws.balance().await["version"], version + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_client_is_told_exactly_the_rounds_it_missed() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "load-000003").await;
    let mut spins = Vec::new();
    for _ in 0..6 {
        spins.push(ws.spin(20).await.ok());
    }
    let seen = spins[2]["balance"]["version"].as_u64().unwrap();
    ws.close().await;
    let (mut ws, welcome) = Ws::resume(&server, "load-000003", Some(seen)).await;
    assert_eq!(welcome["resumed"], true);
    let missed = welcome["missed"].as_array().unwrap();
    let rounds: Vec<_> = missed.iter().map(|round| &round["round"]).collect();
    let expected: Vec<_> = spins[3..].iter().map(|spin| &spin["round"]).collect();
    assert_eq!(rounds, expected, "oldest first, none too many, none too few");
    for (round, spin) in missed.iter().zip(&spins[3..]) {
        assert_eq!((&round["stake"], &round["win"], &round["detail"]), (&spin["stake"], &spin["win"], &spin["detail"]));
    }
    let newest = spins[5]["balance"]["version"].as_u64().unwrap();
    let token = server.token("load-000003").await;
    let again = ws.request("hello", json!({ "token": token, "resume_from": newest })).await.ok();
    assert_eq!(again["missed"], json!([]), "who has seen all has missed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_unanswered_at_a_cut_is_carried_out_once() {
    let server = TestServer::start();
    let (mut ws, welcome) = Ws::login(&server, "load-000004").await;
    let ids: Vec<_> = (0..10).map(|_| new_id()).collect();
    for id in &ids {
        ws.send_text(frame(*id, "spin", &json!({ "game": "starfall", "stake": 20 }))).await;
    }
    // The connection is cut without reading a single answer.
    drop(ws);
    let (mut ws, _) = Ws::login(&server, "load-000004").await;
    let mut cash = welcome["balance"]["cash"].as_i64().unwrap();
    for id in &ids {
        let spun = ws.spin_as(*id, 20).await.ok();
        cash += spun["win"].as_i64().unwrap() - 20;
    }
    assert_eq!(ws.balance().await["cash"], cash);
    let history = ws.request("history", json!({})).await.ok();
    assert_eq!(history["rounds"].as_array().unwrap().len(), ids.len(), "each is one round");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_by_the_server_at_both_levels() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    ws.send(Message::Ping("x".into())).await;
    let pong = ws.request("ping", json!({})).await.ok();
    assert!(pong["server_time"].as_i64().unwrap() > 0);
}
