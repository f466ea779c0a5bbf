//! The wallet's way to the relay: committed bytes handed over, or left for the relay to read from the ledger.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use ractor::ActorRef;

use super::relay::RelayMessage;

/// Where a shard's wallet puts what it committed. Never blocks and never grows past its bound: what does not fit is read from
/// the ledger later, so a stalled relay never slows a bet.
#[derive(Clone)]
pub struct RelayFeed {
    place: Arc<RwLock<Option<ActorRef<RelayMessage>>>>,
    waiting: Arc<AtomicUsize>,
    batches_max: usize,
}

impl RelayFeed {
    pub fn new(batches_max: usize) -> Self {
        Self { place: Arc::default(), waiting: Arc::default(), batches_max }
    }

    /// Hands a committed batch over: (sequence, encoded unit), in order.
    pub fn publish(&self, units: Vec<(u64, Bytes)>) {
        let Some(relay) = self.place.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone() else { return };
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.batches_max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        if relay.send_message(RelayMessage::Committed(units)).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The relay took one batch from its mailbox.
    pub(super) fn taken(&self) {
        // A relay that died took its mailbox along; its successor starts the count anew.
        let _ = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| Some(waiting.saturating_sub(1)));
    }

    pub(super) fn attach(&self, relay: ActorRef<RelayMessage>) {
        self.waiting.store(0, Ordering::Relaxed);
        *self.place.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(relay);
    }
}
