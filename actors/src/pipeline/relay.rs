//! The relay: copies committed units from the ledger to the shard's event segments, in order, each once.
//!
//! Batches come straight from the wallet; whatever is missing in between (a restart, a full feed) is read from the ledger by
//! sequence. This actor never loses a unit and never writes one twice: the segment log's last sequence is its only position.

use std::sync::Arc;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use storage::{Ledger, segments::SegmentLog};

use super::{Positions, RelayFeed};
use crate::env::Env;

#[derive(Debug)]
pub enum RelayMessage {
    Committed(Vec<(u64, Bytes)>),
    /// Read from the ledger what the segments lack.
    CatchUp,
    /// A follower needs units the segments no longer hold: copy again from there.
    Refill {
        after: u64,
    },
}

pub struct Relay;

#[derive(Clone)]
pub struct RelayArguments {
    pub shard: u16,
    pub ledger: Arc<dyn Ledger>,
    pub env: Arc<dyn Env>,
    pub feed: RelayFeed,
    pub positions: Arc<Positions>,
    /// The log survives the relay's actor; one relay at a time locks it.
    pub log: Arc<tokio::sync::Mutex<SegmentLog>>,
}

pub struct State {
    args: RelayArguments,
    since_retention: usize,
}

/// Units read from the ledger in one step of catching up.
const CATCH_UP_UNITS_MAX: usize = 2_000;
/// Batches between two looks at the retention bound.
const RETENTION_EVERY_BATCHES: usize = 500;
/// How often the ledger is looked at for units the feed did not bring.
const CATCH_UP_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

impl Actor for Relay {
    type Msg = RelayMessage;
    type State = State;
    type Arguments = RelayArguments;

    async fn pre_start(&self, myself: ActorRef<RelayMessage>, args: RelayArguments) -> Result<State, ActorProcessingErr> {
        args.feed.attach(myself.clone());
        myself.send_message(RelayMessage::CatchUp)?;
        myself.send_interval(CATCH_UP_EVERY, || RelayMessage::CatchUp);
        Ok(State { args, since_retention: 0 })
    }

    async fn handle(&self, _: ActorRef<RelayMessage>, message: RelayMessage, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            RelayMessage::Committed(units) => {
                state.args.feed.taken();
                state.append(units).await?;
            }
            RelayMessage::CatchUp => state.catch_up().await?,
            RelayMessage::Refill { after } => {
                if state.args.log.lock().await.first_sequence().is_none_or(|first| first > after + 1) {
                    tracing::warn!(
                        shard = state.args.shard,
                        after,
                        "copying units to the segments again for a follower that fell behind"
                    );
                    state.args.log.lock().await.reset(after)?;
                }
                state.catch_up().await?;
            }
        }
        Ok(())
    }
}

impl State {
    async fn append(&mut self, units: Vec<(u64, Bytes)>) -> Result<(), ActorProcessingErr> {
        let Some(first) = units.first().map(|(sequence, _)| *sequence) else { return Ok(()) };
        if first > self.args.log.lock().await.last_sequence() + 1 {
            self.catch_up().await?;
        }
        let last = self.args.log.lock().await.append(&units, self.args.env.now())?;
        self.args.positions.segments(last);
        self.since_retention += 1;
        if self.since_retention >= RETENTION_EVERY_BATCHES {
            self.since_retention = 0;
            let dropped = self.args.log.lock().await.enforce_retention(self.args.positions.least())?;
            if dropped.needed > 0 {
                tracing::error!(segments = dropped.needed, "the retention bound dropped segments a follower still needed");
                metrics::counter!("pitboss_segments_dropped_needed_total").increment(dropped.needed as u64);
            }
        }
        Ok(())
    }

    async fn catch_up(&mut self) -> Result<(), ActorProcessingErr> {
        loop {
            let last = self.args.log.lock().await.last_sequence();
            let units = self.args.ledger.units(self.args.shard, last, CATCH_UP_UNITS_MAX).await?;
            if units.is_empty() {
                self.args.positions.segments(last);
                return Ok(());
            }
            let last = self.args.log.lock().await.append(&units, self.args.env.now())?;
            self.args.positions.segments(last);
        }
    }
}
