//! The command line: what it prints, what it refuses, and that a ledger somebody touched never verifies.

#[expect(dead_code, reason = "shared by all integration tests; each uses a part of it")]
mod support;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use support::{TestServer, new_id, pitboss, provider::Seat, run, text, ws::Ws};

fn config_check(config: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, config).unwrap();
    let output = run(&["config", "check", "--config", path.to_str().unwrap()]);
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn config_check_prints_what_is_in_effect() {
    let (ok, said) = config_check("[ws]\nin_flight_max = 7\n");
    assert!(ok, "{said}");
    let printed: toml::Table = said.parse().expect("it is a configuration again");
    assert_eq!(printed["ws"]["in_flight_max"].as_integer(), Some(7));
    assert_eq!(printed["ws"]["frame_bytes_max"].as_integer(), Some(16_384), "the rest are the defaults");
    // What it prints is taken back, and says the same.
    let (ok, again) = config_check(&said);
    assert!(ok, "{again}");
    assert_eq!(again, said);
    let output = pitboss().args(["config", "check"]).env("PITBOSS__WS__IN_FLIGHT_MAX", "9").output().unwrap();
    let printed: toml::Table = text(&output.stdout).parse().unwrap();
    assert_eq!(printed["ws"]["in_flight_max"].as_integer(), Some(9), "the environment overrides");
}

#[test]
fn what_is_wrong_is_said_with_key_value_and_what_is_allowed() {
    for (config, named) in [
        ("[ws]\nin_flight_maxx = 7\n", &["ws.in_flight_maxx"][..]),
        ("[nothing]\nat_all = 7\n", &["nothing"]),
        ("[ws]\nin_flight_max = 0\n", &["ws.in_flight_max", "0", "1", "1024"]),
        ("[ws]\nin_flight_max = \"many\"\n", &["ws.in_flight_max", "many"]),
        ("[ws]\nslow_reader = \"shout\"\n", &["ws.slow_reader", "shout", "drop_pushes", "close"]),
        ("[listen]\npublic = \"nowhere\"\n", &["listen.public", "nowhere"]),
        ("scenario = \"paradise\"\n", &["scenario", "paradise", "demo", "load"]),
        ("this is no configuration", &["c.toml"]),
    ] {
        let (ok, said) = config_check(config);
        assert!(!ok, "{config}: {said}");
        for name in named {
            assert!(said.contains(name), "{config}: {name} is not said: {said}");
        }
    }
    let (_, said) = config_check("[ws]\nin_flight_max = 0\nframe_bytes_max = 1\n[anchor]\ninterval_s = 0\n");
    for key in ["ws.in_flight_max", "ws.frame_bytes_max", "anchor.interval_s"] {
        assert!(said.contains(key), "every key that is wrong is said at once: {said}");
    }
    let output = pitboss().args(["config", "check"]).env("PITBOSS__WS__IN_FLIGHT_MAX", "0").output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("PITBOSS__WS__IN_FLIGHT_MAX"), "{}", text(&output.stderr));
    assert!(!run(&["config", "check", "--config", "/nowhere/at/all.toml"]).status.success());
}

#[test]
fn a_wrong_configuration_starts_nothing_and_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut command = pitboss();
    command.args(["serve", "--data", data.to_str().unwrap()]).env("PITBOSS__WS__IN_FLIGHT_MAX", "0");
    let (status, stdout, stderr) = support::run_bounded(command, support::WAIT_MAX);
    assert!(!status.success());
    assert!(stdout.is_empty() && stderr.contains("ws.in_flight_max"), "{stdout}{stderr}");
    assert!(!data.exists());
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn the_exported_contracts_are_the_documented_ones() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(&["contracts", "export", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let exported = files(folder.path());
    assert_eq!(text(&output.stdout).lines().count(), exported.len(), "it says what it wrote");
    for (path, bytes) in &exported {
        serde_json::from_slice::<Value>(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    for name in ["openapi.json", "asyncapi.json", "schemas/envelope.json"] {
        assert!(exported.contains_key(Path::new(name)), "{name}");
    }
    let documented = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/contracts"));
    let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&exported),
        names(&documented),
        "docs/contracts is the last export: run `pitboss contracts export docs/contracts`"
    );
    for (path, bytes) in &exported {
        assert!(
            documented[path] == *bytes,
            "docs/contracts/{} is stale: run `pitboss contracts export docs/contracts`",
            path.display()
        );
    }
}

/// A stopped server whose ledger holds spins, provider rounds and a refusal.
async fn played() -> TestServer {
    let mut server = TestServer::start();
    play(&server, "r-1").await;
    server.stop();
    server
}

async fn play(server: &TestServer, round: &str) {
    let (mut ws, _) = Ws::login(server, "ana").await;
    for stake in [20, 100, 33, 400] {
        ws.spin(stake).await;
    }
    let seat = Seat::take(server, "cyd").await;
    let bet = new_id();
    seat.bet(bet, round, "1.00").await.ok();
    seat.win(new_id(), round, bet, "1.50", true).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_export_is_one_json_line_a_unit_and_its_legs_make_the_balances() {
    let mut server = played().await;
    let units = server.export();
    let sequences: Vec<u64> = units.iter().map(|unit| unit["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=units.len() as u64).collect::<Vec<_>>(), "in order, without a gap");
    let mut keys: Vec<String> = units.iter().map(|unit| unit["key"].to_string()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), units.len(), "no key twice");
    let mut cash = BTreeMap::<String, i64>::new();
    for leg in units.iter().flat_map(|unit| unit["legs"].as_array().unwrap()) {
        let amount = leg["amount"].as_i64().unwrap();
        assert!(amount > 0, "{leg}");
        for (side, sign) in [("from", -1), ("to", 1)] {
            if leg[side]["code"] == "cash" {
                *cash.entry(leg[side]["owner"].as_str().unwrap().to_owned()).or_default() += sign * amount;
            }
        }
    }
    server.restart();
    for player in ["ana", "ben", "cyd", "rita", "load-000001"] {
        let (mut ws, welcome) = Ws::login(&server, player).await;
        let owner = format!("player:{}", welcome["player"].as_str().unwrap());
        assert_eq!(ws.balance().await["cash"], *cash.get(&owner).unwrap_or_else(|| panic!("{owner} of {cash:?}")), "{player}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_says_what_it_walked() {
    let server = played().await;
    let output = run(&["verify", "--json", "--data", server.data().to_str().unwrap()]);
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{verdict}");
    assert_eq!((&verdict["ok"], &verdict["ledger_sum_zero"]), (&json!(true), &json!(true)));
    assert_eq!(verdict["units"], server.export().len());
    assert!(verdict["anchors"].as_u64().unwrap() > 0, "a stop anchors");
    let nothing = server.data().join("nothing");
    assert!(!support::verify(&nothing).status.success(), "there is nothing to verify");
    assert!(!nothing.exists(), "and nothing is made");
}

async fn sqlite(path: &Path) -> sqlx::SqliteConnection {
    SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_byte_of_one_unit_is_enough_to_fail() {
    let server = played().await;
    let path = server.data().join("ledger.sqlite");
    let mut connection = sqlite(&path).await;
    let count: i64 = sqlx::query_scalar("SELECT max(sequence) FROM unit").fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for sequence in [1, count / 2, count] {
        let mut connection = sqlite(&path).await;
        let read = sqlx::query_scalar("SELECT body FROM unit WHERE sequence = ?").bind(sequence);
        let body: Vec<u8> = read.fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        for at in [0, body.len() / 2, body.len() - 1] {
            let mut changed = body.clone();
            changed[at] ^= 1;
            write_body(&path, sequence, changed).await;
            let output = server.verify();
            assert_eq!(output.status.code(), Some(1), "byte {at} of unit {sequence}: {}", text(&output.stdout));
            let said = text(&output.stdout) + &text(&output.stderr);
            assert!(
                said.contains("VIOLATION") || said.contains("cannot be read"),
                "byte {at} of unit {sequence}: it says what is wrong: {said}"
            );
        }
        write_body(&path, sequence, body).await;
    }
    // Dropping the server verifies that the last change was taken back.
}

async fn write_body(path: &Path, sequence: i64, body: Vec<u8>) {
    let mut connection = sqlite(path).await;
    let write = sqlx::query("UPDATE unit SET body = ? WHERE sequence = ?").bind(body).bind(sequence);
    assert_eq!(write.execute(&mut connection).await.unwrap().rows_affected(), 1);
    connection.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn money_moved_beside_the_ledger_is_found() {
    let server = played().await;
    let path = server.data().join("ledger.sqlite");
    let change = async |by: i64| {
        let mut connection = sqlite(&path).await;
        let update = "UPDATE house SET balance = balance + ? WHERE code = (SELECT min(code) FROM house)";
        sqlx::query(update).bind(by).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    change(1).await;
    assert_eq!(server.verify().status.code(), Some(1));
    change(-1).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for (path, bytes) in files(from) {
        std::fs::create_dir_all(to.join(&path).parent().unwrap()).unwrap();
        std::fs::write(to.join(path), bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_cut_behind_the_last_anchor_is_found() {
    let mut server = played().await;
    let backup = tempfile::tempdir().unwrap();
    copy(&server.data(), &backup.path().join("data"));
    assert!(support::verify(&backup.path().join("data")).status.success(), "the older state is whole");
    server.restart();
    play(&server, "r-2").await;
    server.stop();
    // The older state with the newer anchors: everything in it agrees with itself, and only the anchors know of the tail.
    let anchors = backup.path().join("data/anchors");
    std::fs::remove_dir_all(&anchors).unwrap();
    copy(&server.data().join("anchors"), &anchors);
    let output = support::verify(&backup.path().join("data"));
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(said.contains("was anchored at") && said.contains("the units end at"), "{said}");
}
