//! One run from start to judgement: server, senders, warm-up, window, kills, drain, stop, reconciliation.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::{
    args::{Args, Mode, WARM_UP, loopback_address},
    export::{self, Verified},
    players::{CONNECTING_MAX, Player, run_player},
    progress::Progress,
    provider::Connection,
    reconcile::{Findings, Reconciler},
    record::{PlayerLog, wall_clock_ms},
    report::{Results, machine},
    run::{Addresses, Controls, Run, Stage},
    server::{self, Ports, Server, Usage},
    stats::quantile_ms,
};

/// All senders are connected within this, or the run fails.
const CONNECT_ALL_TIMEOUT: Duration = Duration::from_secs(180);
/// Everything unanswered is repeated for at most this long after the window.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// After a restart all senders are back within this.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(500);
/// A kill waits for something in flight at most this long.
const IN_FLIGHT_WAIT: Duration = Duration::from_secs(10);
/// Kills that caught nothing and are made again, per kill asked for.
const KILL_ATTEMPTS_MAX: u32 = 20;
/// No kill in this first and last part of the window, so that each is followed by play.
const KILL_MARGIN: f64 = 0.02;

/// What the server under test is.
struct Subject {
    server: Option<Server>,
    /// Where its ledger lies, if known, and the binary that reads it.
    data: Option<PathBuf>,
    binary: Option<PathBuf>,
    folder: Option<tempfile::TempDir>,
}

/// Kills made so far.
#[derive(Default)]
struct Kills {
    counted: u32,
    empty: u32,
    in_flight: u64,
    restart_max: Duration,
}

/// Runs it all; the results say whether the money reconciles.
pub async fn orchestrate(args: Args) -> Result<Results> {
    server::raise_open_files_limit();
    let game = args.game()?;
    let mut random = SmallRng::seed_from_u64(args.seed);
    let secret: String =
        args.provider_secret.clone().unwrap_or_else(|| format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>()));
    let (mut subject, addresses) = Subject::new(&args, &secret).await?;
    let senders = if args.mode == Mode::Ws { args.players } else { args.connections.min(args.players) };
    // The tag is random whatever the seed: ids of two runs against one store must differ.
    let (run, controls) = Run::new(&args, game, senders, rand::random(), secret, Some(addresses));
    let run = Arc::new(run);
    let started_ms = wall_clock_ms() as i64;

    let mut tasks = spawn_senders(&args, senders, &run);
    let outcome = conduct(&args, &mut subject, &run, &controls, senders, &mut random).await;
    controls.stage.send_replace(Stage::Over);
    let logs = collect(&mut tasks, args.players).await;
    let mut results = match outcome {
        Ok(results) => results,
        Err(error) => {
            let error = subject.explain(error).await;
            subject.keep();
            return Err(error);
        }
    };
    results.machine = machine(subject.data.as_deref().unwrap_or(Path::new("/")));
    let judged = judge(&args, &mut subject, &run, started_ms, logs, &mut results).await;
    if judged.is_err() || !results.reconciled {
        subject.keep();
    }
    judged.map(|()| results)
}

impl Subject {
    async fn new(args: &Args, secret: &str) -> Result<(Self, Addresses)> {
        if let Some(url) = &args.url {
            let http = loopback_address(url)?;
            let binary = if args.dir.is_some() { Some(server::find_or_build(None).await?) } else { None };
            let addresses = Addresses { http, provider: args.provider_address.unwrap_or(http) };
            return Ok((Self { server: None, data: args.dir.clone(), binary, folder: None }, addresses));
        }
        let binary = server::find_or_build(args.server.as_deref()).await?;
        let mut builder = tempfile::Builder::new();
        builder.prefix("pitboss-loadtest-").disable_cleanup(args.keep);
        let folder = match &args.dir {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        }
        .context("making a temporary folder")?;
        let ports = Ports::find(&mut rand::rng())?;
        let config = server::config_text(args.scenario, &ports, args.players, secret);
        eprintln!("starting {} in {}", binary.display(), folder.path().display());
        let (server, addresses) = Server::start(binary.clone(), folder.path(), ports, &config).await?;
        let data = Some(server.data().to_owned());
        Ok((Self { server: Some(server), data, binary: Some(binary), folder: Some(folder) }, addresses))
    }

    fn usage(&self) -> Usage {
        self.server.as_ref().map(Server::usage).unwrap_or_default()
    }

    fn check_alive(&mut self) -> Result<()> {
        match self.server.as_mut().and_then(Server::ended) {
            Some(status) => bail!("the server ended by itself with {status}"),
            None => Ok(()),
        }
    }

    async fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match &self.server {
            Some(server) => anyhow::anyhow!("{error:#}; {}", server.log_tail().await),
            None => error,
        }
    }

    /// Leaves the folder where it is, for whoever looks into what went wrong.
    fn keep(&mut self) {
        if let Some(folder) = self.folder.take() {
            eprintln!("the server's folder is kept: {}", folder.keep().display());
        }
    }
}

type Senders = JoinSet<Vec<(u32, PlayerLog)>>;

fn spawn_senders(args: &Args, senders: u32, run: &Arc<Run>) -> Senders {
    let mut tasks = JoinSet::new();
    let connecting = Arc::new(Semaphore::new(CONNECTING_MAX));
    for number in 0..senders {
        let (run, connecting) = (run.clone(), connecting.clone());
        let players = args.players;
        match args.mode {
            Mode::Ws => tasks.spawn(async move {
                let player = Player::new(number, &run);
                vec![(number, run_player(player, &run, &connecting).await)]
            }),
            Mode::Provider => tasks.spawn(async move { Connection::new(number, senders, players, &run).run(&run).await }),
        };
    }
    tasks
}

/// Waits until the number of connected senders is reached.
async fn all_connected(run: &Run, senders: u32, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    while run.stats.connected.load(Relaxed) < u64::from(senders) {
        if Instant::now() > deadline {
            let connected = run.stats.connected.load(Relaxed);
            bail!("{connected} of {senders} connected within {limit:?}: {}", run.stats.notes().join("; "));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Warm-up, window, kills and drain; gives back what was measured.
async fn conduct(
    args: &Args,
    subject: &mut Subject,
    run: &Run,
    controls: &Controls,
    senders: u32,
    random: &mut SmallRng,
) -> Result<Results> {
    let window = Duration::from_secs(args.seconds);
    let mut progress = Progress::new(WARM_UP + window);
    progress.say(&format!("connecting {senders} senders"));
    all_connected(run, senders, CONNECT_ALL_TIMEOUT).await?;
    controls.stage.send_replace(Stage::Playing { since: Instant::now() });
    tokio::time::sleep(WARM_UP).await;

    let begin = Instant::now();
    run.stats.open_window(begin);
    let (server_before, client_before) = (subject.usage(), Usage::of("self").unwrap_or_default());
    let mut moments: Vec<f64> = (0..args.kill9).map(|_| random.random_range(KILL_MARGIN..1.0 - KILL_MARGIN)).collect();
    moments.sort_by(f64::total_cmp);
    let mut kills = Kills::default();
    for moment in moments {
        watch(subject, &mut progress, run, begin, begin + window.mul_f64(moment)).await?;
        kill_until_it_counts(subject, run, controls, senders, &mut kills, random).await?;
    }
    watch(subject, &mut progress, run, begin, begin + window).await?;
    let end = Instant::now();
    run.stats.close_window(end);
    let (server_after, client_after) = (subject.usage(), Usage::of("self").unwrap_or_default());

    controls.stage.send_replace(Stage::Draining);
    drain(run).await;
    progress.finish();
    Ok(measured(args, run, end - begin, &kills, [server_before, server_after], [client_before, client_after]))
}

/// Shows progress until the given time.
async fn watch(subject: &mut Subject, progress: &mut Progress, run: &Run, begin: Instant, until: Instant) -> Result<()> {
    loop {
        let from = Instant::now();
        if from >= until {
            return Ok(());
        }
        tokio::time::sleep_until(until.min(from + TICK)).await;
        subject.check_alive()?;
        progress.update(WARM_UP + begin.elapsed(), from.elapsed(), &run.stats);
    }
}

/// Waits until nothing is unanswered any more; the bound only ends a run that fails anyway.
async fn drain(run: &Run) {
    let deadline = Instant::now() + DRAIN_TIMEOUT;
    while run.stats.in_flight.load(Relaxed) > 0 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn collect(tasks: &mut Senders, players: u32) -> Vec<PlayerLog> {
    let mut logs = vec![PlayerLog::default(); players as usize];
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(done) => done.into_iter().for_each(|(index, log)| logs[index as usize] = log),
            Err(error) => eprintln!("a sender failed: {error}"),
        }
    }
    logs
}

/// Kills and restarts the server; repeats it while nothing was in flight.
async fn kill_until_it_counts(
    subject: &mut Subject,
    run: &Run,
    controls: &Controls,
    senders: u32,
    kills: &mut Kills,
    random: &mut SmallRng,
) -> Result<()> {
    let server = subject.server.as_mut().context("only a server of our own is killed")?;
    for _ in 0..KILL_ATTEMPTS_MAX {
        let deadline = Instant::now() + IN_FLIGHT_WAIT;
        while run.stats.in_flight.load(Relaxed) == 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_micros(random.random_range(100..2_000))).await;
        }
        run.stats.begin_kill();
        let killed = Instant::now();
        controls.target.send_replace(None);
        server.kill().await?;
        let addresses = server.launch().await.context("starting again after a kill")?;
        kills.restart_max = kills.restart_max.max(killed.elapsed());
        controls.target.send_replace(Some(addresses));
        // Every sender has met the kill and is back: only now is the count of what was in flight complete.
        all_connected(run, senders, RECONNECT_TIMEOUT).await?;
        match run.stats.end_kill() {
            0 => kills.empty += 1,
            caught => {
                kills.counted += 1;
                kills.in_flight += caught;
                return Ok(());
            }
        }
    }
    bail!("{KILL_ATTEMPTS_MAX} kills in a row found nothing in flight")
}

fn measured(args: &Args, run: &Run, window: Duration, kills: &Kills, server: [Usage; 2], client: [Usage; 2]) -> Results {
    let stats = &run.stats;
    let latencies = stats.latencies();
    let spins = stats.accepted_in_window.load(Relaxed);
    let per_spin = |from: u64, to: u64| if spins == 0 { 0.0 } else { to.saturating_sub(from) as f64 / spins as f64 };
    Results {
        players: args.players,
        seconds: args.seconds,
        mode: args.mode.as_str(),
        scenario: "plain",
        rate: args.rate,
        spins,
        spins_per_s: spins as f64 / window.as_secs_f64(),
        rounds: stats.rounds.load(Relaxed),
        warm_up_s: WARM_UP.as_secs_f64(),
        p50_ms: quantile_ms(&latencies, 0.5),
        p95_ms: quantile_ms(&latencies, 0.95),
        p99_ms: quantile_ms(&latencies, 0.99),
        p999_ms: quantile_ms(&latencies, 0.999),
        max_ms: quantile_ms(&latencies, 1.0),
        refused: stats.refused.load(Relaxed),
        errors: stats.errors.load(Relaxed),
        accepted: stats.accepted.load(Relaxed),
        replayed: stats.replayed.load(Relaxed),
        server_cpu_us_per_spin: per_spin(server[0].cpu_us, server[1].cpu_us),
        client_cpu_us_per_spin: per_spin(client[0].cpu_us, client[1].cpu_us),
        bytes_written_per_spin: per_spin(server[0].bytes_written, server[1].bytes_written),
        server_rss_mib: server[1].rss_mib,
        restarts: kills.counted,
        in_flight_at_kill: kills.in_flight,
        kills_with_nothing_in_flight: kills.empty,
        restart_max_ms: kills.restart_max.as_secs_f64() * 1_000.0,
        ..Results::default()
    }
}

/// Stops the server and compares what was acknowledged with its ledger.
async fn judge(
    args: &Args,
    subject: &mut Subject,
    run: &Run,
    started_ms: i64,
    logs: Vec<PlayerLog>,
    results: &mut Results,
) -> Result<()> {
    if let Some(server) = &mut subject.server {
        server.stop().await.context("stopping the server")?;
    }
    let (Some(binary), Some(data)) = (subject.binary.clone(), subject.data.clone()) else {
        eprintln!("nothing can be reconciled: with --url, name the server's data folder by --dir");
        return Ok(());
    };
    let mut reconciler = Reconciler::new(args.mode, run.ids, started_ms, logs);
    eprintln!("reconciling");
    let (verified, findings) = tokio::task::spawn_blocking(move || -> Result<(Verified, Findings)> {
        let verified = export::verify(&binary, &data)?;
        export::export(&binary, &data, &mut reconciler)?;
        Ok((verified, reconciler.finish()))
    })
    .await??;
    results.judge(&findings, &verified, args.kill9, args.idle);
    if !results.reconciled {
        findings.examples.iter().for_each(|example| eprintln!("- {example}"));
        if !verified.passed || !verified.ledger_sum_zero {
            eprintln!("verify says: {}", verified.output);
        }
    }
    for note in run.stats.notes() {
        eprintln!("note: {note}");
    }
    let codes = run.stats.codes();
    if !codes.is_empty() {
        eprintln!("refusals by code: {codes:?}");
    }
    Ok(())
}
