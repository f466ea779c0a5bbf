//! Stops, kills and second starts: nothing is lost, nothing is doubled, everything is found as it was.

#[expect(dead_code, reason = "shared by all integration tests; each uses a part of it")]
mod support;

use std::{
    cell::Cell,
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use support::{
    TestServer, new_id,
    provider::Seat,
    run_bounded, text, until,
    ws::{Ws, frame},
};
use uuid::Uuid;

const PLAYERS: usize = 20;

fn name(player: usize) -> String {
    format!("load-{:06}", player + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_finds_everything_as_it_was() {
    let mut server = TestServer::start();
    let mut seat = Seat::take(&server, "cyd").await;
    let held = new_id();
    seat.bet(held, "r-1", "1.50").await.ok();
    let (mut ana, _) = Ws::login(&server, "ana").await;
    let mut won = 0;
    for stake in [400, 20, 100, 400, 40] {
        won += ana.spin(stake).await.ok()["win"].as_i64().unwrap();
    }
    ana.request("fairness.rotate", json!({ "client_seed": "mine" })).await.ok();
    ana.request("limit.set", json!({ "limit": "wager", "window": "week", "value": 50_000 })).await.ok();
    let board = until("the board to show the last round", async || {
        let board = server.get("/v1/leaderboard?tenant=demo").await;
        let rounds = board["rows"][0]["rounds"].as_u64();
        (rounds == Some(5) && board["rows"][0]["score"] == won).then_some(board["rows"].clone())
    });
    let board = board.await;
    let jackpots = until("the jackpot to show the last stake", async || {
        let jackpots = server.get("/v1/jackpots?tenant=demo").await;
        // Eight tenths of one per cent of 9.60 and 1.50 EUR.
        (jackpots[0]["amount"] == 100_008).then_some(jackpots)
    });
    let jackpots = jackpots.await;
    let asked = ["balance", "history", "limit.get", "fairness.get"];
    let mut before = Vec::new();
    for name in asked {
        before.push(ana.request(name, json!({})).await.ok());
    }
    for kill in [false, true] {
        if kill {
            server.kill9()
        } else {
            server.stop()
        }
        server.restart();
        seat.reconnect(&server);
        let (mut ana, welcome) = Ws::login(&server, "ana").await;
        assert_eq!(welcome["resumed"], true);
        for (name, before) in asked.iter().zip(&before) {
            let mut after = ana.request(name, json!({})).await.ok();
            let mut before = before.clone();
            // A hello is a command of the session: it moves the version and the session's clock, and no money.
            for value in [&mut after, &mut before] {
                if let Some(balance) = value.get_mut("balance").and_then(Value::as_object_mut) {
                    balance.remove("version");
                }
                for limit in value.get_mut("limits").and_then(Value::as_array_mut).into_iter().flatten() {
                    if matches!(limit["limit"].as_str(), Some("session_time" | "reality_check")) {
                        limit["spent"] = Value::Null;
                    }
                }
            }
            assert_eq!(after, before, "{name} after kill: {kill}");
        }
        assert_eq!(seat.balance().await, (49_850, 150), "the held stake is still in play");
        until("the same board", async || (server.get("/v1/leaderboard?tenant=demo").await["rows"] == board).then_some(())).await;
        until("the same jackpots", async || (server.get("/v1/jackpots?tenant=demo").await == jackpots).then_some(())).await;
    }
    assert_eq!(seat.win(new_id(), "r-1", held, "2.00", true).await.said(), "win_paid");
    assert_eq!(seat.balance().await, (50_050, 0));
}

/// What a player was told before the end of the connection.
#[derive(Default)]
struct Played {
    /// Spins with the bytes of their answers.
    answered: Vec<(Uuid, String)>,
    /// The spin whose answer never came.
    unanswered: Option<Uuid>,
    shutting_down: bool,
    close: Option<u16>,
    player: String,
}

/// Spins until the connection ends or the server says that it is stopping.
async fn play_until_the_end(server: &TestServer, player: usize, answered: &Cell<usize>) -> Played {
    let (mut ws, welcome) = Ws::login(server, &name(player)).await;
    let mut played = Played { player: welcome["player"].as_str().unwrap().to_owned(), ..Played::default() };
    loop {
        let id = new_id();
        played.unanswered = Some(id);
        if !ws.try_send(frame(id, "spin", &json!({ "game": "starfall", "stake": 20 }))).await {
            break;
        }
        match ws.try_reply().await {
            Some(reply) if reply.code() == "ok" => {
                assert_eq!(reply.re, Some(id));
                answered.set(answered.get() + 1);
                played.answered.push((id, reply.body));
                played.unanswered = None;
            }
            Some(reply) => {
                assert_eq!(reply.code(), "shutting_down", "the only refusal there is: {reply:?}");
                played.shutting_down = true;
            }
            None => break,
        }
    }
    played.shutting_down |= ws.pushes.iter().any(|push| push.data["notice"] == "shutting_down");
    played.close = ws.last_close();
    played
}

/// Plays with all players at once and sends the signal once so many spins have been answered.
async fn play_and_signal(server: &TestServer, spins: usize, signal: i32) -> Vec<Played> {
    let answered = Cell::new(0);
    let players = join_all((0..PLAYERS).map(|player| play_until_the_end(server, player, &answered)));
    let signaller = async {
        until("spins", async || (answered.get() >= spins).then_some(())).await;
        server.signal(signal);
    };
    tokio::join!(players, signaller).0
}

/// Every spin of a player in the ledger: its id with how often and with which reply.
fn spins_of(units: &[Value], player: &str) -> BTreeMap<String, Vec<Value>> {
    let source = format!("player:{player}");
    let mut spins = BTreeMap::<String, Vec<Value>>::new();
    for unit in units.iter().filter(|unit| unit["key"]["source"] == source.as_str() && unit["reply"]["round"].is_string()) {
        spins.entry(unit["key"]["id"].as_str().unwrap().replace('-', "")).or_default().push(unit["reply"].clone());
    }
    spins
}

fn reconcile(server: &TestServer, players: &[Played], all_answered: bool) {
    let units = server.export();
    let mut total = 0;
    for played in players {
        let spins = spins_of(&units, &played.player);
        for (id, body) in &played.answered {
            let told: Value = serde_json::from_str(body).unwrap();
            let stored = spins.get(&id.simple().to_string()).unwrap_or_else(|| panic!("acknowledged and lost: {id}"));
            assert_eq!(stored, &[told], "once, and as it was told");
        }
        let unknown = usize::from(played.unanswered.is_some());
        let carried_out = spins.len() - played.answered.len();
        assert!(carried_out <= unknown, "{carried_out} spins nobody asked for");
        assert!(!all_answered || carried_out == unknown, "what was sent again is carried out");
        total += played.answered.len();
    }
    assert!(total >= PLAYERS, "something was played");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_answers_what_it_took_and_says_that_it_stops() {
    let mut server = TestServer::start();
    let players = play_and_signal(&server, 300, libc::SIGINT).await;
    let status = server.wait();
    assert!(status.success(), "{status}: {}", server.log());
    for played in &players {
        assert!(played.shutting_down, "player {} was told", played.player);
        assert_eq!(played.close, Some(1001));
    }
    reconcile(&server, &players, false);
    // A second start plays on, and what was unanswered is found out by its id.
    server.restart();
    for (number, played) in players.iter().enumerate() {
        let (mut ws, _) = Ws::login(&server, &name(number)).await;
        if let Some(id) = played.unanswered {
            assert_eq!(ws.spin_as(id, 20).await.code(), "ok");
        }
    }
    server.stop();
    reconcile(&server, &players, true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_under_load_loses_nothing_and_doubles_nothing() {
    let mut server = TestServer::start();
    for kill in 1..=2 {
        let players = play_and_signal(&server, 300, libc::SIGKILL).await;
        server.wait();
        let unanswered = players.iter().filter(|played| played.unanswered.is_some()).count();
        assert!(unanswered > 0, "kill {kill} caught nothing in flight");
        server.restart();
        for (number, played) in players.iter().enumerate() {
            let (mut ws, _) = Ws::login(&server, &name(number)).await;
            for (id, body) in played.answered.iter().rev().take(3) {
                let again = ws.spin_as(*id, 20).await;
                assert!(again.replayed, "acknowledged, so stored");
                assert_eq!(again.body, *body, "byte for byte");
            }
            if let Some(id) = played.unanswered {
                let first = ws.spin_as(id, 20).await;
                assert_eq!(first.code(), "ok");
                let second = ws.spin_as(id, 20).await;
                assert!(second.replayed);
                assert_eq!(second.body, first.body);
            }
        }
        server.stop();
        let units = server.export();
        let asked: usize = players.iter().map(|played| played.answered.len() + usize::from(played.unanswered.is_some())).sum();
        let carried_out: usize = players.iter().map(|played| spins_of(&units, &played.player).len()).sum();
        if kill == 1 {
            assert_eq!(carried_out, asked);
            reconcile(&server, &players, true);
        }
        server.restart();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_served_by_one_server() {
    let server = TestServer::start();
    let mut second = server.command();
    second.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (status, stdout, stderr) = run_bounded(second, support::WAIT_MAX);
    assert!(!status.success(), "{stdout}");
    assert!(stderr.contains(server.data().to_str().unwrap()), "it names the folder: {stderr}");
    let verified = server.verify();
    assert!(!verified.status.success(), "the tools stay off a folder in use: {}", text(&verified.stdout));
    let (mut ws, _) = Ws::login(&server, "ana").await;
    assert_eq!(ws.spin(20).await.code(), "ok", "the first serves on");
}

/// The load tester's binary lies beside the server's.
fn loadtest(arguments: &[&str]) -> Value {
    let server = Path::new(env!("CARGO_BIN_EXE_pitboss"));
    let binary = server.with_file_name("loadtest");
    assert!(
        binary.is_file(),
        "{} is missing: build it first with `cargo build -p loadtest` (and the same profile)",
        binary.display()
    );
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(&binary);
    command.args(["--spawn", "--players", "20", "--json", "--dir"]).arg(folder.path());
    command.arg("--server").arg(server).args(arguments);
    let (status, stdout, stderr) = run_bounded(command, Duration::from_secs(180));
    assert!(status.success(), "the load tester ended with {status}:\n{stdout}{stderr}");
    serde_json::from_str(stdout.lines().last().expect("a last line")).expect("its last line is JSON")
}

fn reconciled(results: &Value) {
    assert_eq!(results["reconciled"], true, "{results}");
    for zero in ["acked_lost", "duplicated", "mismatched_balances", "unanswered", "out_of_order", "errors"] {
        assert_eq!(results[zero], 0, "{zero}: {results}");
    }
    assert_eq!((&results["ledger_sum_zero"], &results["verified"]), (&json!(true), &json!(true)));
    assert!(results["accepted"].as_u64().unwrap() > 0);
}

#[test]
fn the_load_tester_reconciles_every_operation_across_kills() {
    let results = loadtest(&["--seconds", "4", "--kill9", "2"]);
    reconciled(&results);
    assert!(results["restarts"].as_u64().unwrap() >= 2, "{results}");
    assert!(results["in_flight_at_kill"].as_u64().unwrap() > 0, "{results}");
}

#[test]
fn the_load_tester_reconciles_provider_callbacks() {
    let results = loadtest(&["--mode", "provider", "--connections", "8", "--seconds", "3"]);
    reconciled(&results);
    assert_eq!(results["mode"], "provider");
    assert!(results["rounds"].as_u64().unwrap() > 0, "{results}");
}

#[test]
fn who_is_told_that_the_server_is_ready_can_stop_it_in_order() {
    let mut server = TestServer::start();
    for _ in 0..10 {
        // Not a moment later than the line of readiness.
        server.stop();
        server.restart();
    }
}
