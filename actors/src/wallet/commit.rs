//! The committer: turns queued submissions into one durable transaction and answers them.
//!
//! It runs as a task of its own. A unit the ledger refuses is taken out and answered; the rest is committed without it, with
//! the jackpots computed anew over those that stay.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use ractor::{ActorProcessingErr, ActorRef};
use storage::{CommitError, Refusal, ShardWriter, UnitOfWork};
use tokio::sync::mpsc;

use super::{
    Batch, WalletArguments,
    jackpots::{Jackpots, Settled},
    message::{Receipt, WalletMessage},
};
use crate::{floor::Registry, pipeline::RelayFeed, player::PlayerMessage, stats::Stats};

/// Rounds of taking refused units out before the batch is given up; each round takes out at least one.
const ATTEMPTS_MAX: usize = 1_024;

pub struct Committer {
    writer: Box<dyn ShardWriter>,
    jackpots: Jackpots,
    relay: RelayFeed,
    registry: Arc<Registry>,
    stats: Arc<Stats>,
}

/// Why the committer ends.
struct Fault(String);

impl Committer {
    pub fn new(writer: Box<dyn ShardWriter>, jackpots: Jackpots, args: &WalletArguments) -> Self {
        Self { writer, jackpots, relay: args.relay.clone(), registry: Arc::clone(&args.registry), stats: Arc::clone(&args.stats) }
    }

    /// Funds the pools that do not exist yet, before the first bet.
    pub async fn seed_jackpots(&mut self) -> Result<(), ActorProcessingErr> {
        let (units, settled) = self.jackpots.seeds()?;
        if units.is_empty() {
            return Ok(());
        }
        let receipts = self.writer.commit(units).await?;
        self.publish(receipts);
        self.jackpots.adopt(settled);
        Ok(())
    }

    /// Works until the wallet is gone or a fault ends this incarnation.
    pub async fn run(mut self, mut batches: mpsc::Receiver<Batch>, wallet: ActorRef<WalletMessage>) {
        while let Some(batch) = batches.recv().await {
            let message = match self.commit(batch).await {
                Ok(()) => WalletMessage::BatchDone,
                Err(Fault(reason)) => WalletMessage::Faulted(reason),
            };
            let ended = matches!(message, WalletMessage::Faulted(_));
            if wallet.send_message(message).is_err() || ended {
                return;
            }
        }
    }

    /// Commits a batch; every port is answered, or dropped (unknown) when this ends in a fault.
    async fn commit(&mut self, mut batch: Batch) -> Result<(), Fault> {
        let started = Instant::now();
        let mut later = Vec::new();
        for _ in 0..ATTEMPTS_MAX {
            if batch.is_empty() {
                if later.is_empty() {
                    return Ok(());
                }
                batch = std::mem::take(&mut later);
            }
            let mut units: Vec<UnitOfWork> = batch.iter().map(|submission| submission.unit.clone()).collect();
            let (tail, settled) = self.jackpots.settle(&batch).map_err(|error| Fault(error.to_string()))?;
            units.extend(tail);
            let size = units.len();
            match self.writer.commit(units).await {
                Ok(receipts) => {
                    self.stats.committed(size, started.elapsed());
                    let sequences: Vec<u64> = receipts.iter().map(|receipt| receipt.sequence).collect();
                    self.publish(receipts);
                    self.answer(std::mem::take(&mut batch), &sequences);
                    self.tell_winners(&settled);
                    self.jackpots.adopt(settled);
                }
                Err(CommitError::Refused(refusals)) => {
                    if refusals.iter().all(|(index, _)| *index >= batch.len()) {
                        return Err(Fault(format!("the ledger refused the wallet's own units: {refusals:?}")));
                    }
                    take_out(&mut batch, &mut later, refusals);
                }
                Err(CommitError::Failed(error)) => {
                    tracing::error!(%error, "commit failed before it began; nothing of the batch is stored");
                    self.stats.commit_failed();
                    batch.drain(..).chain(later.drain(..)).for_each(|submission| submission.port.send(Receipt::Unavailable));
                    return Ok(());
                }
                Err(error @ (CommitError::Fenced | CommitError::Unknown(_))) => return Err(Fault(error.to_string())),
            }
        }
        Err(Fault("a batch kept being refused".to_owned()))
    }

    fn answer(&self, batch: Batch, sequences: &[u64]) {
        for (submission, sequence) in batch.into_iter().zip(sequences) {
            self.stats.step("commit", submission.submitted_at.elapsed());
            submission.port.send(Receipt::Committed { sequence: *sequence });
        }
    }

    fn publish(&self, receipts: Vec<storage::Receipt>) {
        let units: Vec<(u64, Bytes)> = receipts.into_iter().map(|receipt| (receipt.sequence, receipt.encoded)).collect();
        self.relay.publish(units);
    }

    /// A winner's row moved beside its own plan: its actor reloads and tells the player.
    fn tell_winners(&self, settled: &Settled) {
        for winner in &settled.winners {
            self.registry.tell(winner.player, PlayerMessage::JackpotWon(winner.clone()));
        }
    }
}

/// Answers refused submissions and removes them; those that share a key within the batch wait for its next round.
fn take_out(batch: &mut Batch, later: &mut Batch, mut refusals: Vec<(usize, Refusal)>) {
    refusals.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
    let mut again = Vec::new();
    for (index, refusal) in refusals {
        if index >= batch.len() {
            continue;
        }
        let submission = batch.remove(index);
        match refusal {
            Refusal::SameBatch => again.push(submission),
            refusal => submission.port.send(Receipt::Refused(refusal)),
        }
    }
    later.extend(again.into_iter().rev());
}
