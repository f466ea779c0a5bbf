//! A clock that stands still until it is moved, ids that count, and entropy from a seed.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use actors::Env;
use protocol::Timestamp;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use uuid::Uuid;

pub const START_MS: i64 = 1_780_000_000_000;

pub struct TestEnv {
    now_ms: AtomicI64,
    ids: AtomicU64,
    entropy: Mutex<StdRng>,
}

impl TestEnv {
    pub fn new(seed: u64) -> Arc<Self> {
        let entropy = Mutex::new(StdRng::seed_from_u64(seed));
        Arc::new(Self { now_ms: AtomicI64::new(START_MS), ids: AtomicU64::new(1), entropy })
    }

    pub fn advance_ms(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Env for TestEnv {
    fn now(&self) -> Timestamp {
        Timestamp(self.now_ms.load(Ordering::SeqCst))
    }

    fn uuid(&self) -> Uuid {
        let mut bytes = [0; 10];
        bytes[2..].copy_from_slice(&self.ids.fetch_add(1, Ordering::SeqCst).to_be_bytes());
        uuid::Builder::from_unix_timestamp_millis(self.now().0.unsigned_abs(), &bytes).into_uuid()
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.entropy.lock().unwrap().fill_bytes(bytes);
    }
}
