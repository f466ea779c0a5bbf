//! The pipeline's supervisor: relay and followers, each restarted alone, always, with a growing pause.
//!
//! It also carries the signed heads of the shards to the anchor log outside the ledger.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Instant};

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use storage::{
    Ledger, StorageError,
    anchor::AnchorLog,
    projection::{ProjectionStore, journal::ComplianceJournal},
    segments::{SegmentLog, SegmentReaders},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, oneshot},
};

use super::{
    Positions, RelayFeed, RelayPlace, Show,
    follower::{Consumer, Follower, FollowerArguments, Open},
    journalist::Journalist,
    projector::Projector,
    relay::{Relay, RelayArguments},
    showman::Showman,
};
use crate::{
    backoff::{self, Backoff},
    catalogue::Catalogue,
    env::Env,
    settings::Settings,
    stats::Stats,
};

/// Opens a store anew at each start of its follower.
pub type OpenStore<T> = Arc<dyn Fn() -> Result<T, StorageError> + Send + Sync>;

#[derive(Clone)]
pub struct PipelineArguments {
    pub ledger: Arc<dyn Ledger>,
    pub catalogue: Arc<Catalogue>,
    pub env: Arc<dyn Env>,
    pub feed: RelayFeed,
    pub positions: Arc<Positions>,
    pub log: Arc<Mutex<SegmentLog>>,
    pub readers: SegmentReaders,
    pub projections: OpenStore<Box<dyn ProjectionStore>>,
    pub journal: OpenStore<ComplianceJournal>,
    pub show: Arc<Show>,
    /// File of the showman's checkpoint.
    pub checkpoint: PathBuf,
    pub anchors: Arc<Mutex<AnchorLog>>,
    pub settings: Arc<Settings>,
    pub stats: Arc<Stats>,
    /// Where the followers that write stores run, behind everything else.
    pub archive: Handle,
}

#[derive(Debug)]
pub enum PipelineMessage {
    Restart(Child),
    Anchor,
    /// The running children, for fault tests.
    Children(oneshot::Sender<Vec<ActorCell>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Child {
    Relay,
    Projector,
    Journalist,
    Showman,
}

pub struct PipelineKeeper;

pub struct State {
    args: PipelineArguments,
    relay: RelayPlace,
    running: HashMap<ActorId, (Child, ActorCell)>,
    backoffs: HashMap<Child, Backoff>,
}

impl Actor for PipelineKeeper {
    type Msg = PipelineMessage;
    type State = State;
    type Arguments = PipelineArguments;

    async fn pre_start(&self, myself: ActorRef<PipelineMessage>, args: PipelineArguments) -> Result<State, ActorProcessingErr> {
        myself.send_interval(args.settings.anchor_interval, || PipelineMessage::Anchor);
        // Known from the start: a follower that cannot open yet holds segments back and counts as behind.
        for name in [Projector::NAME, Journalist::NAME, Showman::NAME] {
            args.positions.expect(name);
        }
        for child in [Child::Relay, Child::Projector, Child::Journalist, Child::Showman] {
            myself.send_message(PipelineMessage::Restart(child))?;
        }
        Ok(State { args, relay: RelayPlace::default(), running: HashMap::new(), backoffs: HashMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<PipelineMessage>,
        message: PipelineMessage,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PipelineMessage::Restart(child) => {
                if let Err(error) = state.start(&myself, child).await {
                    tracing::error!(?child, %error, "a part of the pipeline did not start");
                    state.again(&myself, child);
                }
            }
            PipelineMessage::Anchor => state.anchor().await,
            PipelineMessage::Children(reply) => drop(reply.send(state.running.values().map(|(_, cell)| cell.clone()).collect())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<PipelineMessage>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let Some((cell, reason)) = backoff::ended(event) else { return Ok(()) };
        if let Some((child, _)) = state.running.remove(&cell.get_id()) {
            tracing::error!(?child, %reason, "a part of the pipeline ended; it starts again from its stored position");
            state.args.stats.restarted("pipeline");
            state.again(&myself, child);
        }
        Ok(())
    }
}

impl State {
    async fn start(&mut self, myself: &ActorRef<PipelineMessage>, child: Child) -> Result<(), ActorProcessingErr> {
        let keeper = myself.get_cell();
        let args = self.args.clone();
        let cell = match child {
            Child::Relay => {
                let arguments = RelayArguments {
                    shard: 0,
                    ledger: args.ledger,
                    env: args.env,
                    feed: args.feed,
                    positions: args.positions,
                    log: args.log,
                };
                let (relay, _) = Actor::spawn_linked(None, Relay, arguments, keeper).await?;
                self.relay.set(relay.clone());
                relay.get_cell()
            }
            Child::Projector => {
                let open = args.projections;
                self.archive(keeper, Arc::new(move || Projector::open(open()?, 0))).await?
            }
            Child::Journalist => {
                let open = args.journal;
                self.archive(keeper, Arc::new(move || Ok(Journalist::new(open()?, 0)))).await?
            }
            Child::Showman => {
                let rows_max = args.settings.leaderboard_rows_max;
                let open = move || {
                    let (show, catalogue, env) = (Arc::clone(&args.show), Arc::clone(&args.catalogue), Arc::clone(&args.env));
                    Showman::open(args.checkpoint.clone(), show, catalogue, env, rows_max)
                };
                self.follow(keeper, Arc::new(open)).await?
            }
        };
        self.running.insert(cell.get_id(), (child, cell));
        Ok(())
    }

    async fn follow<C: Consumer>(&self, keeper: ActorCell, open: Open<C>) -> Result<ActorCell, ActorProcessingErr> {
        let (follower, _) = Actor::spawn_linked(None, Follower::<C>::default(), self.following(open), keeper).await?;
        Ok(follower.get_cell())
    }

    /// Starts a follower on the archive's own thread.
    async fn archive<C: Consumer>(&self, keeper: ActorCell, open: Open<C>) -> Result<ActorCell, ActorProcessingErr> {
        let spawn = Actor::spawn_linked(None, Follower::<C>::default(), self.following(open), keeper);
        let (follower, _) = self.args.archive.spawn(spawn).await??;
        Ok(follower.get_cell())
    }

    fn following<C: Consumer>(&self, open: Open<C>) -> FollowerArguments<C> {
        FollowerArguments {
            open,
            readers: self.args.readers.clone(),
            positions: Arc::clone(&self.args.positions),
            relay: self.relay.clone(),
        }
    }

    /// The pipeline never gives up: money does not wait for it, and its lag is an alert of its own.
    fn again(&mut self, myself: &ActorRef<PipelineMessage>, child: Child) {
        let settings = &self.args.settings;
        let pause =
            self.backoffs.entry(child).or_default().failed(Instant::now(), settings).unwrap_or(settings.restart_backoff_max);
        myself.send_after(pause, move || PipelineMessage::Restart(child));
    }

    async fn anchor(&self) {
        if let Err(error) = anchor(&self.args).await {
            tracing::error!(%error, "the head could not be anchored");
            metrics::counter!("pitboss_anchor_failures_total").increment(1);
        }
    }
}

/// Signs each shard's head into the anchor log.
pub async fn anchor(args: &PipelineArguments) -> Result<(), ActorProcessingErr> {
    for shard in 0..args.ledger.shards() {
        let head = args.ledger.head(shard).await?;
        args.anchors.lock().await.append(&head, args.env.now())?;
    }
    Ok(())
}
