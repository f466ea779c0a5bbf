//! The root: starts the tree in order, watches it, and takes it down in order.
//!
//! | supervisor | child | policy |
//! |---|---|---|
//! | root | ledger keeper | its end stops the server |
//! | root | players, rounds, pipeline keepers | started again |
//! | ledger keeper | wallet of a shard | restart with back-off; after `restarts_max` within `restart_window` it gives up |
//! | floor keepers | player, round | forgotten; the next message starts it anew |
//! | pipeline keeper | relay, followers | restart with back-off, for ever |

mod supervisor;
mod wallets;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use protocol::GameId;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef};
use storage::{
    Ledger, StorageError,
    anchor::AnchorLog,
    projection::{ProjectionReader, ProjectionStore, journal::ComplianceJournal},
    segments::SegmentLog,
};
use tokio::sync::{Mutex, oneshot, watch};

pub use wallets::{LedgerKeeper, LedgerKeeperMessage, Wallets};

use crate::{
    admission::Admission,
    catalogue::Catalogue,
    env::Env,
    floor::{Floor, Registry, Shared},
    game::{OutcomeSource, Seeds},
    pipeline::{PipelineArguments, PipelineMessage, Positions, RelayFeed, Show},
    sealing::Sealer,
    settings::Settings,
    stats::Stats,
    wallet::WalletArguments,
};
use supervisor::{Root, RootArguments, RootMessage};

/// What a core is made of.
pub struct CoreParts {
    pub ledger: Arc<dyn Ledger>,
    pub catalogue: Arc<Catalogue>,
    pub env: Arc<dyn Env>,
    pub sealer: Sealer,
    pub seeds: Seeds,
    pub sources: HashMap<GameId, Arc<dyn OutcomeSource>>,
    pub settings: Settings,
    pub log: SegmentLog,
    pub projections: Arc<dyn Fn() -> Result<Box<dyn ProjectionStore>, StorageError> + Send + Sync>,
    /// Answers queries while the projector writes.
    pub projection_reader: Arc<dyn ProjectionReader>,
    pub journal: Arc<dyn Fn() -> Result<ComplianceJournal, StorageError> + Send + Sync>,
    pub checkpoint: PathBuf,
    pub anchors: AnchorLog,
    pub stats: Arc<Stats>,
}

/// A running tree.
pub struct Core {
    pub floor: Floor,
    pub show: Arc<Show>,
    pub positions: Arc<Positions>,
    pub projections: Arc<dyn ProjectionReader>,
    root: ActorRef<RootMessage>,
    pipeline: PipelineArguments,
    /// Run the pipeline at lower priorities; taken down last.
    runtimes: Vec<tokio::runtime::Runtime>,
    fatal: watch::Receiver<Option<String>>,
}

/// Longest waits of an orderly stop.
const DRAIN_MAX: Duration = Duration::from_secs(10);
const FOLLOW_MAX: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Core {
    /// Starts the tree: wallets first, then the floor and the pipeline.
    pub async fn start(parts: CoreParts) -> Result<Self, ActorProcessingErr> {
        if parts.ledger.shards() != 1 {
            return Err("the pipeline follows one shard; several come with the distributed back end".into());
        }
        let settings = Arc::new(parts.settings);
        let registry = Arc::new(Registry::default());
        let feed = RelayFeed::new(settings.relay_batches_max);
        let positions = Arc::new(Positions::default());
        let show = Arc::new(Show::default());
        let wallets = Arc::new(Wallets::new(parts.ledger.shards()));
        let wallet = WalletArguments {
            shard: 0,
            ledger: Arc::clone(&parts.ledger),
            catalogue: Arc::clone(&parts.catalogue),
            sealer: Arc::new(parts.sealer),
            env: Arc::clone(&parts.env),
            relay: feed.clone(),
            registry: Arc::clone(&registry),
            stats: Arc::clone(&parts.stats),
            settings: Arc::clone(&settings),
        };
        let readers = parts.log.readers();
        let relay_runtime = low_priority_runtime("relay", RELAY_NICE)?;
        let archive_runtime = low_priority_runtime("archive", ARCHIVE_NICE)?;
        let pipeline = PipelineArguments {
            ledger: Arc::clone(&parts.ledger),
            catalogue: Arc::clone(&parts.catalogue),
            env: Arc::clone(&parts.env),
            feed,
            positions: Arc::clone(&positions),
            log: Arc::new(Mutex::new(parts.log)),
            readers,
            projections: parts.projections,
            journal: parts.journal,
            show: Arc::clone(&show),
            checkpoint: parts.checkpoint,
            anchors: Arc::new(Mutex::new(parts.anchors)),
            settings: Arc::clone(&settings),
            stats: Arc::clone(&parts.stats),
            archive: archive_runtime.handle().clone(),
        };
        let (fatal_sender, fatal) = watch::channel(None);
        let arguments = RootArguments {
            wallet,
            wallets: Arc::clone(&wallets),
            registry: Arc::clone(&registry),
            pipeline: pipeline.clone(),
            pipeline_handle: relay_runtime.handle().clone(),
            fatal: fatal_sender,
        };
        let (root, _) = Actor::spawn(None, Root, arguments).await?;
        let admission = Admission::new(settings.commands_under_way_max);
        let shared = Arc::new(Shared {
            ledger: parts.ledger,
            catalogue: parts.catalogue,
            env: parts.env,
            wallets,
            registry,
            seeds: parts.seeds,
            sources: parts.sources,
            settings,
            stats: parts.stats,
            admission,
        });
        Ok(Self {
            floor: Floor::new(shared),
            show,
            positions,
            projections: parts.projection_reader,
            root,
            pipeline,
            runtimes: vec![relay_runtime, archive_runtime],
            fatal,
        })
    }

    /// Resolves when the tree cannot go on, with the reason.
    pub async fn failed(&self) -> String {
        let mut fatal = self.fatal.clone();
        match fatal.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the root ended".to_owned(),
        }
    }

    /// Takes the tree down in order: commands under way are answered, the wallet empties its queue, the pipeline catches up,
    /// the head is anchored. The edge must have stopped listening before.
    pub async fn stop(mut self) {
        let shared = Arc::clone(self.floor.shared());
        shared.admission.close();
        wait_until(DRAIN_MAX, || shared.admission.under_way() == 0).await;
        shared.wallets.drain(DRAIN_MAX).await;
        if let Ok(head) = shared.ledger.head(0).await {
            let positions = Arc::clone(&self.positions);
            wait_until(FOLLOW_MAX, || positions.newest() >= head.sequence && positions.least() >= head.sequence).await;
        }
        if let Err(error) = crate::pipeline::anchor(&self.pipeline).await {
            tracing::error!(%error, "the last head could not be anchored");
        }
        drop(self.root.stop_and_wait(None, Some(DRAIN_MAX)).await);
        for runtime in self.runtimes.drain(..) {
            // Followers save in their drop; give their thread the time, off the async workers.
            drop(tokio::task::spawn_blocking(move || runtime.shutdown_timeout(DRAIN_MAX)).await);
        }
        shared.ledger.close().await;
    }

    /// The running wallets and pipeline parts, for fault tests.
    pub async fn children(&self) -> Vec<ActorCell> {
        let mut cells = self.floor.shared().wallets.cells();
        let (reply, receiver) = oneshot::channel();
        if self.root.send_message(RootMessage::Pipeline(PipelineMessage::Children(reply))).is_ok() {
            cells.extend(receiver.await.unwrap_or_default());
        }
        cells
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        for runtime in self.runtimes.drain(..) {
            // A runtime may not be dropped where async code runs; this only lets its thread go.
            runtime.shutdown_background();
        }
    }
}

async fn wait_until(max: Duration, is_so: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + max;
    while !is_so() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The relay and what is shown live yield to bets; what writes stores yields to them too.
const RELAY_NICE: i32 = 5;
const ARCHIVE_NICE: i32 = 15;

/// One worker thread that yields to everybody more urgent.
fn low_priority_runtime(name: &str, nice: i32) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .on_thread_start(move || {
            // SAFETY: plain system call on the calling thread; on Linux `who` zero means this thread alone. A refusal only
            // leaves the thread at the usual priority.
            let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
        })
        .enable_all()
        .build()
}
