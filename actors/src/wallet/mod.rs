//! The wallet: the only writer of its shard.
//!
//! | phase | who | what |
//! |---|---|---|
//! | queue | actor | submissions wait while a commit is in flight; no gathering timer |
//! | commit | [`commit::Committer`], a task of its own that no actor's death can cancel | one durable transaction |
//! | answer | the same task | receipts to the submitters, bytes to the relay |
//!
//! After a commit with unknown outcome, or when a newer writer fenced this one, the incarnation ends; its successor takes a new
//! epoch and the stored head and keys decide what happened.

mod commit;
mod jackpots;
mod message;

use std::{collections::VecDeque, sync::Arc};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use storage::Ledger;
use tokio::sync::{mpsc, oneshot};

pub use jackpots::Winner;
pub use message::{Receipt, RoundName, Submission, WalletMessage};

use crate::{
    catalogue::Catalogue,
    env::Env,
    floor::Registry,
    pipeline::RelayFeed,
    sealing::Sealer,
    settings::Settings,
    stats::Stats,
    wallet::{commit::Committer, jackpots::Jackpots},
};

/// Submissions that are committed together; boxed, since they are handed on several times.
type Batch = Vec<Box<Submission>>;

/// The actor; everything it needs comes with its arguments.
pub struct Wallet;

/// What a wallet is started with, again at every restart.
#[derive(Clone)]
pub struct WalletArguments {
    pub shard: u16,
    pub ledger: Arc<dyn Ledger>,
    pub catalogue: Arc<Catalogue>,
    pub sealer: Arc<Sealer>,
    pub env: Arc<dyn Env>,
    pub relay: RelayFeed,
    pub registry: Arc<Registry>,
    pub stats: Arc<Stats>,
    pub settings: Arc<Settings>,
}

pub struct WalletState {
    queue: VecDeque<Box<Submission>>,
    in_flight: bool,
    /// Room for one batch: the next is made when the last is done.
    batches: mpsc::Sender<Batch>,
    drains: Vec<oneshot::Sender<()>>,
    settings: Arc<Settings>,
    stats: Arc<Stats>,
}

impl Actor for Wallet {
    type Msg = WalletMessage;
    type State = WalletState;
    type Arguments = WalletArguments;

    async fn pre_start(&self, myself: ActorRef<WalletMessage>, args: WalletArguments) -> Result<WalletState, ActorProcessingErr> {
        // Waits for the predecessor's commit in flight; the new epoch fences everything older.
        let writer = args.ledger.open_shard(args.shard).await?;
        tracing::info!(
            shard = args.shard,
            epoch = writer.head().epoch,
            sequence = writer.head().sequence,
            "wallet opened its shard"
        );
        let jackpots = Jackpots::load(&args).await?;
        let mut committer = Committer::new(writer, jackpots, &args);
        committer.seed_jackpots().await?;
        let (batches, receiver) = mpsc::channel(1);
        tokio::spawn(committer.run(receiver, myself));
        Ok(WalletState {
            queue: VecDeque::new(),
            in_flight: false,
            batches,
            drains: Vec::new(),
            settings: args.settings,
            stats: args.stats,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<WalletMessage>,
        message: WalletMessage,
        state: &mut WalletState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WalletMessage::Submit(submission) => state.queue.push_back(submission),
            WalletMessage::BatchDone => state.in_flight = false,
            WalletMessage::Faulted(reason) => return Err(reason.into()),
            WalletMessage::Drain(done) => state.drains.push(done),
        }
        state.dispatch()
    }
}

impl WalletState {
    /// Hands everything queued, within the bounds, to the committer unless it is at work.
    fn dispatch(&mut self) -> Result<(), ActorProcessingErr> {
        self.stats.wallet_queue(self.queue.len());
        if self.in_flight {
            return Ok(());
        }
        if self.queue.is_empty() {
            for done in self.drains.drain(..) {
                // Whoever waited may have given up.
                let _ = done.send(());
            }
            return Ok(());
        }
        let mut bytes = 0;
        let mut take = 0;
        for submission in self.queue.iter().take(self.settings.batch_units_max) {
            bytes += submission.unit.events.len() + submission.unit.reply.len();
            if take > 0 && bytes > self.settings.batch_bytes_max {
                break;
            }
            take += 1;
        }
        self.in_flight = true;
        let batch = self.queue.drain(..take).collect();
        self.batches.try_send(batch).map_err(|_| "the committer is gone".into())
    }
}
