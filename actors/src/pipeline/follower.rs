//! A follower: an actor that reads the segments in order and lets its consumer store effect and position together.
//!
//! One shape for all of them: a consumer that is slow lags alone, one that fails is restarted from its own stored position, and
//! none of them is on a bet's way.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use storage::segments::{ReadBlock, SegmentReader, SegmentReaders, SegmentUnit};

use super::{Positions, relay::RelayMessage};

/// What is done with each block of units.
pub trait Consumer: Send + 'static {
    const NAME: &'static str;

    /// Sequence of the last unit whose effect is stored.
    fn position(&self) -> u64;

    /// Stores the effect of the units and the new position, or neither.
    fn consume(&mut self, units: &[SegmentUnit]) -> Result<(), ActorProcessingErr>;

    /// Called when the segments are read to their end, and at least every [`IDLE_EVERY`].
    fn caught_up(&mut self) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[derive(Debug)]
pub enum FollowerMessage {
    Advance,
}

/// Opens the consumer from its own store, again at every restart.
pub type Open<C> = Arc<dyn Fn() -> Result<C, ActorProcessingErr> + Send + Sync>;

pub struct Follower<C>(std::marker::PhantomData<fn() -> C>);

impl<C> Default for Follower<C> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

pub struct FollowerArguments<C> {
    pub open: Open<C>,
    pub readers: SegmentReaders,
    pub positions: Arc<Positions>,
    pub relay: super::RelayPlace,
}

impl<C> Clone for FollowerArguments<C> {
    fn clone(&self) -> Self {
        Self {
            open: Arc::clone(&self.open),
            readers: self.readers.clone(),
            positions: Arc::clone(&self.positions),
            relay: self.relay.clone(),
        }
    }
}

pub struct State<C> {
    consumer: C,
    reader: SegmentReader,
    args: FollowerArguments<C>,
}

/// Units and bytes of one block.
const BLOCK_UNITS_MAX: usize = 2_000;
const BLOCK_BYTES_MAX: usize = 4 << 20;
/// Longest wait for new units before the consumer is called anyway.
const IDLE_EVERY: Duration = Duration::from_millis(250);
/// Pause after a block when there may be more: blocks fill up and cost less per unit.
const PAUSE: Duration = Duration::from_millis(50);

impl<C: Consumer> Actor for Follower<C> {
    type Msg = FollowerMessage;
    type State = State<C>;
    type Arguments = FollowerArguments<C>;

    async fn pre_start(
        &self,
        myself: ActorRef<FollowerMessage>,
        args: FollowerArguments<C>,
    ) -> Result<State<C>, ActorProcessingErr> {
        let consumer = (args.open)()?;
        let reader = args.readers.reader(consumer.position());
        args.positions.follower(C::NAME, consumer.position());
        myself.send_message(FollowerMessage::Advance)?;
        Ok(State { consumer, reader, args })
    }

    async fn handle(
        &self,
        myself: ActorRef<FollowerMessage>,
        _: FollowerMessage,
        state: &mut State<C>,
    ) -> Result<(), ActorProcessingErr> {
        match state.reader.read(BLOCK_UNITS_MAX, BLOCK_BYTES_MAX)? {
            ReadBlock::Units(units) => {
                state.consumer.consume(&units)?;
                state.args.positions.follower(C::NAME, state.consumer.position());
                state.consumer.caught_up()?;
                if units.len() >= BLOCK_UNITS_MAX {
                    myself.send_message(FollowerMessage::Advance)?;
                } else {
                    myself.send_after(PAUSE, || FollowerMessage::Advance);
                }
            }
            ReadBlock::CaughtUp => {
                state.consumer.caught_up()?;
                let mut newest = state.args.readers.watch();
                let position = state.reader.position();
                tokio::spawn(async move {
                    drop(tokio::time::timeout(IDLE_EVERY, newest.wait_for(|newest| *newest > position)).await);
                    drop(myself.send_message(FollowerMessage::Advance));
                });
            }
            ReadBlock::Gap { .. } => {
                tracing::warn!(
                    follower = C::NAME,
                    position = state.reader.position(),
                    "the segments no longer hold what this follower needs"
                );
                state.args.relay.send(RelayMessage::Refill { after: state.consumer.position() });
                state.reader.seek(state.consumer.position());
                myself.send_after(IDLE_EVERY, || FollowerMessage::Advance);
            }
        }
        Ok(())
    }
}
