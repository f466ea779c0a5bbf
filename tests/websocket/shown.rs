//! What is shown beside the money: fairness, history, jackpots, the leaderboard, game launch.

use std::collections::BTreeMap;

use sandbox::fairness;
use serde_json::{Value, json};

use crate::support::{TestServer, ws::Ws};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_rotation_every_round_can_be_drawn_again() {
    let server = TestServer::start();
    let (mut ws, welcome) = Ws::login(&server, "load-000001").await;
    let committed = welcome["fairness"].clone();
    let mut rounds = Vec::new();
    for stake in [20, 40, 100, 200, 400, 20] {
        rounds.push(ws.spin(stake).await.ok());
    }
    let before = ws.request("fairness.get", json!({})).await.ok();
    assert_eq!(before["seed_hash"], committed["seed_hash"]);
    assert_eq!(before["nonce"], committed["nonce"].as_u64().unwrap() + rounds.len() as u64);
    assert!(before["previous_seed"].is_null(), "nothing is revealed yet");
    ws.request("fairness.rotate", json!({ "client_seed": "my own words" })).await.ok();
    let after = ws.request("fairness.get", json!({})).await.ok();
    assert_eq!((&after["client_seed"], &after["nonce"]), (&json!("my own words"), &json!(0)));
    assert_ne!(after["seed_hash"], before["seed_hash"]);
    let seed: [u8; 32] = hex::decode(after["previous_seed"].as_str().unwrap()).unwrap().try_into().unwrap();
    assert_eq!(fairness::seed_hash(&seed), committed["seed_hash"].as_str().unwrap(), "the seed that was committed to");
    for (nonce, round) in rounds.iter().enumerate() {
        let proof = &round["detail"]["fairness"];
        assert_eq!(proof["nonce"], nonce as u64);
        assert_eq!(proof["seed_hash"], committed["seed_hash"]);
        let stake = protocol::Amount(round["stake"].as_i64().unwrap());
        let drawn = fairness::verify(&seed, proof["client_seed"].as_str().unwrap(), nonce as u64, stake);
        assert_eq!(json!(drawn.win), round["win"], "the win follows from the seeds");
        let record = fairness::FairnessRecord::new(
            proof["seed_hash"].as_str().unwrap(),
            proof["client_seed"].as_str().unwrap(),
            nonce as u64,
        );
        let detail: Value = serde_json::from_str(&sandbox::slot::detail_json(&drawn, &record)).unwrap();
        assert_eq!(detail, round["detail"], "and so does everything shown");
    }
    for wrong in [String::new(), "x".repeat(65), "ümlaut".to_owned()] {
        assert_eq!(ws.request("fairness.rotate", json!({ "client_seed": wrong })).await.code(), "invalid_value", "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_recall_equal_the_replies() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "load-000001").await;
    let mut spins = Vec::new();
    for _ in 0..7 {
        spins.push(ws.spin(20).await.ok());
    }
    let history = ws.request("history", json!({})).await.ok();
    let rounds = history["rounds"].as_array().unwrap();
    assert_eq!(rounds.len(), spins.len());
    assert!(history["next"].is_null());
    for (round, spin) in rounds.iter().rev().zip(&spins) {
        for field in ["round", "game", "stake", "win", "detail"] {
            assert_eq!(round[field], spin[field], "{field}");
        }
        assert_eq!(round["version"], spin["balance"]["version"]);
        assert_eq!(ws.request("round", json!({ "round": round["round"] })).await.ok(), *round, "recall shows the same");
    }
    // Pages of three: newest first, each round once.
    let (mut seen, mut before) = (Vec::new(), Value::Null);
    loop {
        let mut query = json!({ "limit": 3 });
        if !before.is_null() {
            query["before"] = before;
        }
        let page = ws.request("history", query).await.ok();
        let page_rounds = page["rounds"].as_array().unwrap();
        assert!(page_rounds.len() <= 3);
        seen.extend(page_rounds.iter().cloned());
        before = page["next"].clone();
        if before.is_null() {
            break;
        }
    }
    assert_eq!(&seen, rounds);
    // Another player sees none of it.
    let (mut other, _) = Ws::login(&server, "load-000002").await;
    assert_eq!(other.request("round", json!({ "round": spins[0]["round"] })).await.code(), "unknown_round");
    assert_eq!(other.request("history", json!({})).await.ok()["rounds"], json!([]));
    assert_eq!(ws.request("round", json!({ "round": "nonsense" })).await.code(), "unknown_round");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spin_moves_the_jackpot_that_everybody_is_shown() {
    let server = TestServer::start();
    let (mut ws, welcome) = Ws::login(&server, "ana").await;
    let (mut other, _) = Ws::login(&server, "ben").await;
    let shown = welcome["jackpots"].as_array().unwrap()[0].clone();
    assert_eq!(
        (&shown["jackpot"], &shown["amount"], &shown["must_hit_by"]),
        (&json!("sunburst"), &json!(100_000), &json!(150_000))
    );
    assert_eq!(shown["commitment"].as_str().unwrap().len(), 64);
    // One per cent of the stakes, a fifth of it to the reserve: four euro bring three cents and a bit.
    ws.spin(400).await.ok();
    let amount = |data: &Value| data[0]["amount"].as_i64().unwrap();
    let push = other.push_where("jackpot", |data| amount(data) > 100_000).await;
    assert_eq!(amount(&push.data), 100_003);
    assert_eq!(push.data[0]["commitment"], shown["commitment"], "the same cycle");
    ws.spin(400).await.ok();
    let push = other.push_where("jackpot", |data| amount(data) > 100_003).await;
    assert_eq!(amount(&push.data), 100_006);
    let public = server.get("/v1/jackpots?tenant=demo").await;
    assert_eq!(amount(&public), 100_006);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leaderboard_is_a_snapshot_and_then_changes_without_a_gap() {
    let server = TestServer::start();
    let (mut watcher, _) = Ws::login(&server, "load-000001").await;
    let (mut player, _) = Ws::login(&server, "load-000002").await;
    let mut board = watcher.request("leaderboard", json!({})).await.ok();
    let mut rows: BTreeMap<String, Value> = BTreeMap::new();
    let (mut won, mut rounds) = (0, 0_u64);
    // Until three changes of the board have been seen.
    let mut changes = 0;
    let give_up = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::time::Instant::now() < give_up {
        let spun = player.spin(20).await.ok();
        rounds += 1;
        won += spun["win"].as_i64().unwrap();
        watcher.request("ping", json!({})).await.ok();
        while let Some(push) = watcher.pushes.pop_front() {
            if push.name != "leaderboard" {
                continue;
            }
            assert_eq!(push.data["sequence"], board["sequence"].as_u64().unwrap() + 1, "no gap");
            board["sequence"] = push.data["sequence"].clone();
            for row in push.data["rows"].as_array().unwrap() {
                rows.insert(row["alias"].as_str().unwrap().to_owned(), row.clone());
            }
            changes += 1;
        }
        if changes >= 3 && won > 0 {
            break;
        }
    }
    assert!(changes >= 3, "the board changed {changes} times");
    let last = crate::support::until("the board to show the last round", async || {
        let board = server.get("/v1/leaderboard?tenant=load").await;
        (board["rows"][0]["score"] == won).then_some(board)
    });
    let last = last.await;
    assert_eq!(last["rows"].as_array().unwrap().len(), 1);
    assert_eq!(last["rows"][0]["rounds"], rounds);
    assert!(rows.contains_key(last["rows"][0]["alias"].as_str().unwrap()), "the changes named the same player");
    assert!(!last.to_string().contains("load-000002"), "nobody is named");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_names_the_providers_page_and_a_hosted_game_has_none() {
    let server = TestServer::start();
    let (mut ws, _) = Ws::login(&server, "ana").await;
    let launched = ws.request("game.launch", json!({ "game": "starfall-remote" })).await.ok();
    let token = launched["launch_token"].as_str().unwrap();
    assert!(launched["url"].as_str().unwrap().ends_with(token));
    for game in ["starfall", "nothing"] {
        assert_eq!(ws.request("game.launch", json!({ "game": game })).await.code(), "unknown_game", "{game}");
    }
}
