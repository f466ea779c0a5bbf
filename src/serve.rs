//! The composition: stores, tree, listeners and the studio, started in order and stopped in reverse.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use access::{telemetry, token::TokenKeys};
use actors::{
    Catalogue, Core, Env, Settings, SystemEnv, floor::Shared, game::Seeds, pipeline::showman::Tick, root::CoreParts,
    sealing::Sealer, stats::Stats,
};
use anyhow::{Context, anyhow};
use axum::Router;
use storage::Ledger;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{broadcast, watch},
    task::JoinSet,
};

use crate::{
    child::{self, Sandbox},
    config::{Config, Provider},
    edge::{Edge, internal, provider, public},
    games, seeding,
    stores::{self, Folder},
};

/// Longest wait for requests in progress when the server stops.
const CLOSE_MAX: Duration = Duration::from_secs(10);

/// Runs the server until it is told to stop; an error is a start that failed or a tree that could not go on.
pub async fn serve(config: Config) -> anyhow::Result<()> {
    // Before anybody is told that the server runs: a signal that comes early must drain it too.
    let stop_asked = stop_asked()?;
    telemetry::init_tracing(config.log.format, &config.log.filter)?;
    let metrics = telemetry::init_metrics()?;
    tokio::spawn(telemetry::upkeep(metrics.clone(), || tokio::time::sleep(Duration::from_secs(5))));

    let folder = Folder(config.data.dir.clone());
    folder.make()?;
    let listeners = Listeners::bind(&config).await?;
    let ready = listeners.addresses()?;
    let catalogue = Arc::new(catalogue(&config)?);
    let env: Arc<dyn Env> = Arc::new(SystemEnv);
    let core = core(&config, &folder, Arc::clone(&catalogue), Arc::clone(&env)).await?;
    let demo = seeding::seed(&core.floor, &config, &folder).await?;
    let providers: HashMap<_, _> = config.providers()?.into_iter().map(|provider| (provider.id, provider)).collect();

    let (stop_sender, stop) = watch::channel(false);
    let (providers, studio) = start_studio(&config, &folder, providers, &ready, &stop).await?;
    let edge = Arc::new(Edge {
        core,
        tokens: TokenKeys::load_or_create(&folder.keys())?,
        config,
        catalogue,
        env,
        providers,
        demo,
        metrics,
        connections: AtomicU64::new(0),
        connection_ids: AtomicU64::new(1),
        stopping: AtomicBool::new(false),
        stop: stop.clone(),
    });
    let mut servers = listeners.serve(&edge, &stop);
    servers.spawn(cry(edge.core.show.subscribe(), Arc::clone(edge.core.floor.shared()), stop.clone()));
    announce(&ready, studio.as_ref().map(|(_, at)| *at));

    let failure = tokio::select! {
        () = stop_asked => None,
        reason = edge.core.failed() => Some(reason),
    };
    tracing::info!("stopping: no new connections, commands under way are finished");
    edge.stopping.store(true, Ordering::Relaxed);
    // Nobody listening is no fault.
    let _ = stop_sender.send(true);
    drop(tokio::time::timeout(CLOSE_MAX, async { while servers.join_next().await.is_some() {} }).await);
    servers.abort_all();
    while servers.join_next().await.is_some() {}
    if let Some((keeper, _)) = studio {
        drop(keeper.await);
    }
    stop_core(edge).await;
    match failure {
        None => Ok(()),
        Some(reason) => Err(anyhow!("the server could not go on: {reason}")),
    }
}

/// Waits for the connections' tasks to let go of the edge, then takes the tree down.
async fn stop_core(mut edge: Arc<Edge>) {
    const LOOKS_MAX: usize = 500;
    for _ in 0..LOOKS_MAX {
        match Arc::try_unwrap(edge) {
            Ok(edge) => return edge.core.stop().await,
            Err(shared) => edge = shared,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // A connection that does not end keeps the edge; the ledger is durable all the same.
    tracing::warn!("connections did not end in time; the tree is not drained");
}

/// Carries what the showman publishes to every connection of its brand.
async fn cry(mut ticks: broadcast::Receiver<Tick>, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut stopped = std::pin::pin!(crate::stop::stopped(&mut stop));
    loop {
        tokio::select! {
            tick = ticks.recv() => match tick {
                Ok(tick) => shared.registry.cry(&tick),
                // The board's sequence shows the gap; its watchers ask for the snapshot.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = &mut stopped => return,
        }
    }
}

fn catalogue(config: &Config) -> anyhow::Result<Catalogue> {
    let parts = config.catalogue()?;
    Ok(Catalogue { brands: parts.brands, games: parts.games, jackpots: parts.jackpots, offers: config.offers()? })
}

async fn core(config: &Config, folder: &Folder, catalogue: Arc<Catalogue>, env: Arc<dyn Env>) -> anyhow::Result<Core> {
    let ledger: Arc<dyn Ledger> = Arc::new(stores::ledger(folder, config).await?);
    let (projection_reader, projections) = stores::projections(folder).await?;
    let parts = CoreParts {
        ledger,
        catalogue,
        env,
        sealer: Sealer::new(&folder.secret("jackpot-seal.key")?),
        seeds: Seeds::new(folder.secret("server-seeds.key")?),
        sources: games::sources(),
        settings: settings(config),
        log: stores::segments(folder, config)?,
        projections,
        projection_reader,
        journal: stores::journal(folder),
        checkpoint: folder.showman(),
        anchors: stores::anchors(folder)?,
        stats: Arc::new(Stats::default()),
    };
    Core::start(parts).await.map_err(|error| anyhow!("the tree does not start: {error}"))
}

fn settings(config: &Config) -> Settings {
    let (actors, wallet) = (&config.actors, &config.wallet);
    Settings {
        commands_under_way_max: wallet.queue_units_max,
        player_waiting_max: actors.player_waiting_max,
        round_waiting_max: actors.round_waiting_max,
        batch_units_max: wallet.batch_units_max,
        batch_bytes_max: wallet.batch_bytes_max,
        command_deadline: Duration::from_millis(actors.command_deadline_ms),
        player_idle: Duration::from_secs(actors.player_idle_s),
        round_idle: Duration::from_secs(actors.round_idle_s),
        relay_batches_max: actors.relay_batches_max,
        stale_retries_max: actors.stale_retries_max,
        restart_backoff_first: Duration::from_millis(actors.restart_delay_min_ms),
        restart_backoff_max: Duration::from_millis(actors.restart_delay_max_ms),
        restarts_max: actors.restarts_max,
        restart_window: Duration::from_secs(actors.restarts_window_s),
        anchor_interval: Duration::from_secs(config.anchor.interval_s),
        leaderboard_rows_max: actors.leaderboard_rows_max,
    }
}

// Listeners.

struct Listeners {
    public: TcpListener,
    provider: TcpListener,
    internal: TcpListener,
}

/// Where the listeners really are.
struct Addresses {
    public: SocketAddr,
    provider: SocketAddr,
    internal: SocketAddr,
}

impl Listeners {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let listen = &config.listen;
        Ok(Self {
            public: bind(listen.public, "public").await?,
            provider: bind(listen.provider, "provider").await?,
            internal: bind(listen.internal, "internal").await?,
        })
    }

    fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            public: self.public.local_addr()?,
            provider: self.provider.local_addr()?,
            internal: self.internal.local_addr()?,
        })
    }

    fn serve(self, edge: &Arc<Edge>, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut servers = JoinSet::new();
        servers.spawn(listen(self.public, public::router(Arc::clone(edge)), stop.clone()));
        servers.spawn(listen(self.provider, provider::router(Arc::clone(edge)), stop.clone()));
        servers.spawn(listen(self.internal, internal::router(Arc::clone(edge)), stop.clone()));
        servers
    }
}

async fn bind(at: SocketAddr, name: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(at).await.with_context(|| format!("listen.{name}: cannot listen on {at}"))
}

async fn listen(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    use axum::serve::ListenerExt;
    // Frames are small and answered at once: waiting to fill a segment only adds latency.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let stopped = async move { crate::stop::stopped(&mut stop).await };
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "a listener failed");
    }
}

// The studio.

type Studio = Option<(tokio::task::JoinHandle<()>, SocketAddr)>;

/// Starts the sandbox when the demo wants it, and points its provider at where it listens.
async fn start_studio(
    config: &Config,
    folder: &Folder,
    mut providers: HashMap<protocol::ProviderId, Provider>,
    ready: &Addresses,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<(HashMap<protocol::ProviderId, Provider>, Studio)> {
    if !config.demo.enabled || !config.demo.sandbox {
        return Ok((providers, None));
    }
    let Some(provider) = providers.values_mut().find(|provider| provider.id.as_str() == "sandbox") else {
        return Ok((providers, None));
    };
    let key = provider.keys.last().context("the provider sandbox has no key")?;
    let sandbox = Sandbox {
        listen: config.listen.sandbox,
        casino: ready.provider,
        provider: provider.id.to_string(),
        key_id: key.id.clone(),
        secret_hex: hex::encode(key.secret.expose()),
        data: folder.sandbox(),
    };
    let (child, at) = child::start(&sandbox).await?;
    provider.url = format!("http://{at}");
    // A restarted studio takes the same place, since its address is now known to launched games.
    let sandbox = Sandbox { listen: at, ..sandbox };
    let keeper = tokio::spawn(child::keep(sandbox, child, stop.clone()));
    Ok((providers, Some((keeper, at))))
}

/// Says where to look: for people on standard error, for programs one JSON line on standard output.
fn announce(ready: &Addresses, studio: Option<SocketAddr>) {
    eprintln!("pitboss is open");
    eprintln!("  play        http://{}/", ready.public);
    eprintln!("  WebSocket   ws://{}/ws", ready.public);
    eprintln!("  providers   http://{}/v1/provider/…", ready.provider);
    eprintln!("  ops         http://{}/ops   metrics at /metrics", ready.internal);
    if let Some(studio) = studio {
        eprintln!("  sandbox     http://{studio}/");
    }
    eprintln!("  Ctrl-C drains and stops");
    let line = serde_json::json!({
        "ready": true,
        "http": ready.public.to_string(),
        "provider": ready.provider.to_string(),
        "internal": ready.internal.to_string(),
        "sandbox": studio.map(|at| at.to_string()),
    });
    println!("{line}");
}

/// Resolves at a Ctrl-C or a termination signal that comes after this call.
fn stop_asked() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
