//! The studio that the demo starts plays by the real contract, end to end, and its money agrees with the casino's.

#[expect(dead_code, reason = "shared by all integration tests; each uses a part of it")]
mod support;

use serde_json::{Value, json};
use support::{TestServer, http_client, provider::minor, until, ws::Ws};

struct Table {
    studio: String,
    play_session: Value,
    launched: Value,
}

async fn studio_post(studio: &str, path: &str, body: &Value) -> (u16, Value) {
    let response = http_client().post(format!("{studio}{path}")).json(body).send().await.expect("an answer");
    (response.status().as_u16(), response.json().await.expect("JSON"))
}

impl Table {
    async fn sit(server: &TestServer, player: &str) -> Self {
        let launch = server.launch(player, "starfall-remote").await;
        let studio = server.sandbox_url();
        assert!(launch["url"].as_str().unwrap().starts_with(&format!("{studio}/play?token=")), "{launch}");
        let page = http_client().get(launch["url"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(page.status(), 200, "the launched page is there");
        let body = json!({ "token": launch["launch_token"], "client_seed": "lucky words" });
        let (status, launched) = studio_post(&studio, "/api/launch", &body).await;
        assert_eq!(status, 200, "{launched}");
        Self { studio, play_session: launched["play_session"].clone(), launched }
    }

    async fn spin(&self, stake: i64) -> (u16, Value) {
        studio_post(&self.studio, "/api/spin", &json!({ "play_session": self.play_session, "stake": stake })).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_at_the_studio_settle_at_the_casino() {
    let mut server = TestServer::with(&[("demo.sandbox", "true")]);
    let (mut ws, welcome) = Ws::login(&server, "ana").await;
    let table = Table::sit(&server, "ana").await;
    let mut cash = welcome["balance"]["cash"].as_i64().unwrap();
    assert_eq!(minor(&table.launched["balance"]["cash"]), cash);
    let mut rounds = Vec::new();
    for stake in [20, 50, 100, 20, 10] {
        let (status, spun) = table.spin(stake).await;
        assert_eq!((status, &spun["step"]), (200, &json!("paid")), "{spun}");
        cash += spun["win"].as_i64().unwrap() - stake;
        assert_eq!(minor(&spun["balance"]["cash"]), cash, "{spun}");
        assert_eq!(minor(&spun["balance"]["in_play"]), 0);
        assert_eq!(ws.balance().await["cash"], cash, "the casino says the same");
        rounds.push((stake, spun));
    }
    let history = ws.request("history", json!({})).await.ok();
    let shown = history["rounds"].as_array().unwrap();
    assert_eq!(shown.len(), rounds.len());
    for (round, (stake, spun)) in shown.iter().rev().zip(&rounds) {
        assert_eq!((&round["stake"], &round["win"]), (&json!(stake), &spun["win"]));
        assert_eq!(round["status"], "settled");
    }
    // The revealed seed draws every round again.
    let (_, revealed) = studio_post(&table.studio, "/api/reveal", &json!({ "play_session": table.play_session })).await;
    let seed: [u8; 32] = hex::decode(revealed["server_seed"].as_str().unwrap()).unwrap().try_into().unwrap();
    assert_eq!(sandbox::fairness::seed_hash(&seed), table.launched["fairness"]["seed_hash"].as_str().unwrap());
    for (stake, spun) in &rounds {
        let nonce = spun["fairness"]["nonce"].as_u64().unwrap();
        let drawn = sandbox::fairness::verify(&seed, "lucky words", nonce, protocol::Amount(*stake));
        assert_eq!(json!(drawn.win), spun["win"], "nonce {nonce}");
    }
    server.stop();
    let placed = server.export().iter().filter(|unit| unit.to_string().contains("\"bet.placed\"")).count();
    assert_eq!(placed, rounds.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_casino_refuses_the_studio_tells_and_owes_nothing() {
    let server = TestServer::with(&[("demo.sandbox", "true")]);
    let (mut ws, _) = Ws::login(&server, "cyd").await;
    let table = Table::sit(&server, "cyd").await;
    let (status, problem) = table.spin(500).await;
    assert_eq!((status, &problem["code"], &problem["limit"]), (403, &json!("stake_limit"), &json!(200)));
    assert_eq!(table.spin(33).await.1["code"], "stake_step");
    ws.request("session.end", json!({})).await.ok();
    assert_eq!(table.spin(20).await.1["code"], "no_session");
    let health: Value = http_client().get(format!("{}/healthz", table.studio)).send().await.unwrap().json().await.unwrap();
    assert_eq!((&health["owed"], &health["stuck"]), (&json!(0), &json!(0)), "{health}");
    assert_eq!(ws.balance().await["cash"], 50_000);
    let (status, _) = studio_post(&table.studio, "/api/launch", &json!({ "token": "nonsense" })).await;
    assert_eq!(status, 401);
}

/// The studio's process: the only child of the server.
fn studio_pid(server: &TestServer) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).ok()?;
    let mut children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    children.find_map(|text| text.split_ascii_whitespace().next()?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_studio_that_is_killed_comes_back_at_its_address() {
    let server = TestServer::with(&[("demo.sandbox", "true")]);
    let table = Table::sit(&server, "ana").await;
    assert_eq!(table.spin(20).await.0, 200);
    let first = studio_pid(&server).expect("the studio runs");
    // SAFETY: kill(2) takes plain numbers; this is the child of the server that this test started.
    assert_eq!(unsafe { libc::kill(first, libc::SIGKILL) }, 0);
    until("another studio", async || studio_pid(&server).filter(|pid| *pid != first)).await;
    let health = format!("{}/healthz", table.studio);
    until("the studio to answer", async || http_client().get(&health).send().await.ok()).await;
    let again = Table::sit(&server, "ana").await;
    assert_eq!(again.studio, table.studio);
    assert_eq!(again.spin(20).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_studio_ends_with_the_server_however_that_ends() {
    let mut server = TestServer::with(&[("demo.sandbox", "true")]);
    for kill in [true, false] {
        let studio = studio_pid(&server).expect("the studio runs");
        if kill {
            server.kill9()
        } else {
            server.stop()
        }
        until("the end of the studio", async || (!std::path::Path::new(&format!("/proc/{studio}/exe")).exists()).then_some(()))
            .await;
        if kill {
            server.restart();
        }
    }
}
