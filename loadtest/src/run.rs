//! What all senders of a run share, and the stages it goes through.
//!
//! | stage | senders |
//! |---|---|
//! | `Ready` | connect, then wait |
//! | `Playing` | send what their pace makes due |
//! | `Draining` | send nothing new; repeat what is unanswered, with its id, until it is answered |
//! | `Over` | stop, whatever is open |

use std::{net::SocketAddr, time::Duration};

use protocol::GameId;
use tokio::{sync::watch, time::Instant};

use crate::{
    args::{Args, OPERATIONS_MAX},
    record::Ids,
    stats::Stats,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Ready,
    Playing { since: Instant },
    Draining,
    Over,
}

/// Where the server listens; `None` while it is being restarted.
pub type Target = Option<Addresses>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub http: SocketAddr,
    pub provider: SocketAddr,
}

/// Refused or failed attempts wait this long, doubled each time up to the maximum.
pub const BACK_OFF_MIN: Duration = Duration::from_millis(2);
pub const BACK_OFF_MAX: Duration = Duration::from_millis(250);

/// The wait before the given attempt, counted from 1.
pub fn back_off(attempt: u32) -> Duration {
    BACK_OFF_MIN.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(BACK_OFF_MAX)
}

pub struct Run {
    pub stats: Stats,
    pub ids: Ids,
    pub seed: u64,
    pub stake: i64,
    pub game: GameId,
    /// Operations per second of one sender; `None` is the closed loop.
    pub rate_per_sender: Option<f64>,
    pub idle: bool,
    pub secret: String,
    pub stage: watch::Receiver<Stage>,
    pub target: watch::Receiver<Target>,
}

/// The orchestrator's ends of a run's channels.
pub struct Controls {
    pub stage: watch::Sender<Stage>,
    pub target: watch::Sender<Target>,
}

impl Run {
    pub fn new(args: &Args, game: GameId, senders: u32, tag: u32, secret: String, target: Target) -> (Self, Controls) {
        let (stage_sender, stage) = watch::channel(Stage::Ready);
        let (target_sender, target) = watch::channel(target);
        let run = Self {
            stats: Stats::default(),
            ids: Ids::new(tag),
            seed: args.seed,
            stake: args.stake,
            game,
            rate_per_sender: args.rate.map(|rate| rate / f64::from(senders)),
            idle: args.idle,
            secret,
            stage,
            target,
        };
        (run, Controls { stage: stage_sender, target: target_sender })
    }

    /// Whether the run's bound on operations leaves room for another.
    pub fn may_send(&self) -> bool {
        self.stats.sent.load(std::sync::atomic::Ordering::Relaxed) < OPERATIONS_MAX
    }
}

/// Waits until the server can be reached; `None` when the run is over before that.
pub async fn reachable(target: &mut watch::Receiver<Target>, stage: &mut watch::Receiver<Stage>) -> Option<Addresses> {
    tokio::select! {
        biased;
        _ = over(stage) => None,
        found = target.wait_for(Option::is_some) => found.ok().and_then(|found| *found),
    }
}

/// Completes when the run is over.
pub async fn over(stage: &mut watch::Receiver<Stage>) {
    // A dropped sender means that the orchestrator has gone, which ends the run as well.
    drop(stage.wait_for(|stage| *stage == Stage::Over).await);
}
