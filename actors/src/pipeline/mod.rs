//! The pipeline: from committed units to segments, and from segments to everything that is read.
//!
//! It runs on threads of its own at lower scheduling priorities: the relay and the live figures behind bets, the followers that
//! write stores behind both. Analytics wait for bets, never the other way round.

mod feed;
mod follower;
mod journalist;
mod keeper;
mod projector;
mod relay;
pub mod showman;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use ractor::ActorRef;

pub use feed::RelayFeed;
pub use keeper::{PipelineArguments, PipelineKeeper, PipelineMessage, anchor};
pub use relay::RelayMessage;
pub use showman::Show;

/// How far the segments and each follower have come; shown as lag, and used for retention.
#[derive(Default)]
pub struct Positions {
    segments: AtomicU64,
    followers: Mutex<BTreeMap<&'static str, u64>>,
}

impl Positions {
    pub(crate) fn segments(&self, sequence: u64) {
        self.segments.store(sequence, Ordering::Release);
    }

    pub(crate) fn follower(&self, name: &'static str, sequence: u64) {
        if let Ok(mut followers) = self.followers.lock() {
            followers.insert(name, sequence);
        }
    }

    /// A follower that is to come stands at the start until it says where it is.
    pub(crate) fn expect(&self, name: &'static str) {
        if let Ok(mut followers) = self.followers.lock() {
            followers.entry(name).or_insert(0);
        }
    }

    /// Sequence of the last unit in the segments.
    pub fn newest(&self) -> u64 {
        self.segments.load(Ordering::Acquire)
    }

    /// Position of each follower, by name.
    pub fn followers(&self) -> BTreeMap<&'static str, u64> {
        self.followers.lock().map(|followers| followers.clone()).unwrap_or_default()
    }

    /// The position of the slowest follower.
    pub fn least(&self) -> u64 {
        self.followers().values().copied().min().unwrap_or(0)
    }

    pub fn of(&self, name: &str) -> u64 {
        self.followers().get(name).copied().unwrap_or(0)
    }
}

/// Where the running relay is.
#[derive(Clone, Default)]
pub struct RelayPlace(Arc<RwLock<Option<ActorRef<RelayMessage>>>>);

impl RelayPlace {
    pub(crate) fn set(&self, relay: ActorRef<RelayMessage>) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(relay);
    }

    /// Tells the relay, if one runs; it also catches up by itself.
    pub fn send(&self, message: RelayMessage) {
        if let Some(relay) = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).as_ref() {
            drop(relay.send_message(message));
        }
    }
}
