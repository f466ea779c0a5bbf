//! Players against a fake server: over memory with a clock of the test's own, and over sockets with failures.

use std::sync::Arc;

use clap::Parser;

use super::*;
use crate::{
    args::{Args, Mode},
    fake_server::{FakeServer, Faults, SECRET},
    provider::Connection,
    reconcile::{Findings, Reconciler},
    run::{Addresses, Controls},
};

fn new_run(line: &str, senders: u32, address: Option<SocketAddr>) -> (Run, Controls) {
    let args = Args::try_parse_from(["loadtest", "--spawn"].into_iter().chain(line.split(' '))).unwrap();
    let target = address.map(|address| Addresses { http: address, provider: address });
    Run::new(&args, args.game().unwrap(), senders, 9, SECRET.to_owned(), target)
}

fn accepted(re: Uuid, version: u64) -> String {
    format!(
        r#"{{"v":1,"re":"{re}","ok":{{"win":0,"win_bonus":0,"balance":{{"cash":1,"bonus":0,"in_play":0,"version":{version}}}}}}}"#
    )
}

fn refused(re: Uuid, code: ErrorCode) -> String {
    let problem = serde_json::to_string(&protocol::Problem::new(code)).unwrap();
    protocol::frame::refusal_text(Some(protocol::RequestId(re)), problem.as_bytes(), false)
}

/// A server that takes 100 ms for each request and serves one after the other.
async fn slow_server(stream: tokio::io::DuplexStream) {
    let mut ws = WebSocketStream::from_raw_socket(stream, tokio_tungstenite::tungstenite::protocol::Role::Server, None).await;
    while let Some(Ok(Message::Text(text))) = ws.next().await {
        let frame = ClientFrame::parse(&text).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        ws.send(Message::Text(accepted(frame.id.0, 1).into())).await.unwrap();
    }
}

/// The time is virtual: it moves only when all wait, so the latencies are exact.
#[tokio::test(start_paused = true)]
async fn open_loop_latency_counts_from_the_intended_time() {
    let (run, controls) = new_run("--players 1 --seconds 1 --rate 20", 1, None);
    let (client, server) = tokio::io::duplex(1 << 16);
    tokio::spawn(slow_server(server));
    let mut ws = WebSocketStream::from_raw_socket(client, tokio_tungstenite::tungstenite::protocol::Role::Client, None).await;
    let since = Instant::now();
    run.stats.open_window(since);
    controls.stage.send_replace(Stage::Playing { since });
    let mut player = Player::new(0, &run);
    player.phase = 0.0;
    let mut stage = run.stage.clone();
    let stop = async {
        tokio::time::sleep_until(since + Duration::from_millis(975)).await;
        controls.stage.send_replace(Stage::Draining);
    };
    let (played, ()) = tokio::join!(play(&mut ws, &mut player, &run, &mut stage), stop);
    played.unwrap();
    // Twice as many are due as the server can serve. The k-th is meant to leave at 50·k ms and is answered at 100·(k+1) ms.
    let sent = player.log.ops.len() as u64;
    let latencies = run.stats.latencies();
    assert_eq!((latencies.len(), run.stats.accepted.load(Relaxed)), (sent, sent));
    let expected = |k: u64| 100 + 50 * k;
    assert!(sent > 10, "{sent}");
    assert!(latencies.equivalent(latencies.max(), expected(sent - 1) * 1_000), "{} µs", latencies.max());
    assert!(latencies.equivalent(latencies.min(), expected(0) * 1_000), "{} µs", latencies.min());
}

#[test]
fn a_retryable_answer_is_repeated_with_the_same_id_and_a_final_one_is_kept() {
    let (run, _controls) = new_run("--players 1 --seconds 1", 1, None);
    let mut player = Player::new(0, &run);
    let now = Instant::now();
    let playing = Stage::Playing { since: now };
    let Step::Send(first) = player.step(now, playing, &run) else { panic!("nothing sent") };
    let id = player.log.ops[0].id;
    assert!(matches!(player.step(now, playing, &run), Step::Wait(None)), "closed loop: one at a time");
    for code in [ErrorCode::Busy, ErrorCode::Unknown, ErrorCode::SessionReplaced] {
        player.receive(&refused(id, code), now, &run);
        assert_eq!(player.log.ops[0].answer, Answer::Open, "{code}");
        let Step::Wait(Some(again)) = player.step(now, Stage::Draining, &run) else { panic!("{code}: not repeated") };
        let Step::Send(repeat) = player.step(again, Stage::Draining, &run) else { panic!("{code}: not repeated") };
        assert_eq!(repeat, first);
    }
    assert!(player.reconnect, "a replaced session needs a new connection");
    player.receive(&refused(id, ErrorCode::StakeLimit), now, &run);
    assert_eq!(player.log.ops[0].answer, Answer::Refused(ErrorCode::StakeLimit));
    assert!(matches!(player.step(now, Stage::Draining, &run), Step::Done));
    assert_eq!(run.stats.errors.load(Relaxed), 3);
    // The same id answered differently is noticed.
    player.receive(&accepted(id, 7), now, &run);
    assert_eq!(run.stats.errors.load(Relaxed), 4);
}

#[test]
fn only_what_was_sent_before_the_kill_counts_as_in_flight() {
    let (run, _controls) = new_run("--players 2 --seconds 1", 2, None);
    let now = Instant::now();
    let playing = Stage::Playing { since: now };
    let (mut before, mut idle, mut after) = (Player::new(0, &run), Player::new(1, &run), Player::new(2, &run));
    assert!(matches!(before.step(now, playing, &run), Step::Send(_)));
    run.stats.begin_kill();
    let later = Instant::now() + Duration::from_secs(1);
    assert!(matches!(after.step(later, playing, &run), Step::Send(_)));
    for player in [&mut before, &mut idle, &mut after] {
        player.connection_lost(&"killed", later, &run);
    }
    assert_eq!(run.stats.end_kill(), 1);
    assert_eq!(run.stats.errors.load(Relaxed), 0, "a kill is no error of the server");
    // Without a kill the same is an error.
    before.connection_lost(&"gone", later, &run);
    assert_eq!(run.stats.errors.load(Relaxed), 1);
}

/// Plays until enough is accepted, drains, and reconciles with the fake's ledger.
async fn play_against(server: &FakeServer, mode: Mode, senders: u32) -> (Findings, Run) {
    const PLAYERS: u32 = 6;
    let line = format!("--players {PLAYERS} --seconds 1 --mode {}", mode.as_str());
    let (run, controls) = new_run(&line, senders, Some(server.address));
    let run = Arc::new(run);
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..senders {
        let (run, connecting) = (run.clone(), connecting.clone());
        match mode {
            Mode::Ws => tasks.spawn(async move {
                let player = Player::new(number, &run);
                vec![(number, run_player(player, &run, &connecting).await)]
            }),
            Mode::Provider => tasks.spawn(async move { Connection::new(number, senders, PLAYERS, &run).run(&run).await }),
        };
    }
    controls.stage.send_replace(Stage::Playing { since: Instant::now() });
    while run.stats.accepted.load(Relaxed) < 400 {
        tokio::task::yield_now().await;
    }
    controls.stage.send_replace(Stage::Draining);
    let mut logs = vec![PlayerLog::default(); PLAYERS as usize];
    for (number, log) in tasks.join_all().await.into_iter().flatten() {
        logs[number as usize] = log;
    }
    let mut reconciler = Reconciler::new(mode, run.ids, 0, logs);
    server.export().iter().for_each(|line| reconciler.take(line.as_bytes()).unwrap());
    let run = Arc::into_inner(run).unwrap();
    (reconciler.finish(), run)
}

#[tokio::test]
async fn every_operation_survives_lost_replies_and_busy_answers() {
    for (mode, senders) in [(Mode::Ws, 6), (Mode::Provider, 2)] {
        let server = FakeServer::start(Faults { drop_reply_every: 17, busy_every: 23, lose_every: 0 }).await;
        let (findings, run) = play_against(&server, mode, senders).await;
        assert!(findings.are_clean(), "{mode:?}: {findings:?}");
        let sent = run.stats.sent.load(Relaxed);
        assert_eq!((findings.accepted, findings.same_bytes), (sent, sent), "{mode:?}");
        assert!(run.stats.replayed.load(Relaxed) > 0 && server.commands() as u64 > sent, "{mode:?}");
        assert!(run.stats.errors.load(Relaxed) > 0, "{mode:?}");
    }
}

#[tokio::test]
async fn a_server_that_loses_what_it_acknowledged_is_found_out() {
    for (mode, senders) in [(Mode::Ws, 6), (Mode::Provider, 2)] {
        let server = FakeServer::start(Faults { lose_every: 50, ..Faults::default() }).await;
        let (findings, run) = play_against(&server, mode, senders).await;
        assert!(findings.acked_lost >= 8, "{mode:?}: {findings:?}");
        assert_eq!(findings.accepted, run.stats.accepted.load(Relaxed));
        assert!(findings.mismatched_balances > 0, "later balances no longer follow from the legs");
    }
}
