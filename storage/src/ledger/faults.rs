//! Faults a test or a simulation asks of a ledger. A ledger that was handed none never looks here twice.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

use crate::ledger::StorageError;

/// What happens to one commit instead of its success.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Certainly nothing is stored.
    FailBefore(StorageError),
    /// The batch is stored, but its writer cannot know it.
    UnknownStored,
    /// The batch is not stored, but its writer cannot know it.
    UnknownLost,
    /// The commit waits inside the store until the gate opens, then goes on.
    Slow(Arc<Gate>),
    /// Another incarnation takes the shard just before the commit.
    Fence,
}

/// Holds commits back until it is opened, and tells when one has arrived.
#[derive(Debug)]
pub struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self { arrived: Semaphore::new(0), open: Semaphore::new(0) }
    }
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Returns once a commit stands at the gate.
    pub async fn arrived(&self) {
        if let Ok(permit) = self.arrived.acquire().await {
            permit.forget();
        }
    }

    /// Lets every commit pass, now and later.
    pub fn open(&self) {
        self.open.close();
    }

    pub(crate) async fn pass(&self) {
        self.arrived.add_permits(1);
        // The semaphore never has permits: the wait ends when it is closed.
        let _closed = self.open.acquire().await;
    }
}

/// The faults to come, in the order of commits.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    queue: Arc<Mutex<VecDeque<(u64, Fault)>>>,
}

impl FaultPlan {
    /// Lets `passes` commits through after the faults planned before, then the fault strikes one.
    pub fn inject(&self, passes: u64, fault: Fault) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back((passes, fault));
    }

    /// Called once per commit by the store.
    pub(crate) fn next(&self) -> Option<Fault> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match queue.front_mut() {
            Some((0, _)) => queue.pop_front().map(|(_, fault)| fault),
            Some((passes, _)) => {
                *passes -= 1;
                None
            }
            None => None,
        }
    }
}
