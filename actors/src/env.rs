//! What the shell brings in from outside: wall time, ids and entropy. Simulation and tests hand in their own.

use protocol::Timestamp;
use uuid::Uuid;

/// The one clock and the one source of randomness of a core.
pub trait Env: Send + Sync + 'static {
    fn now(&self) -> Timestamp;

    /// A UUIDv7 of now.
    fn uuid(&self) -> Uuid;

    /// Cryptographically strong bytes.
    fn fill(&self, bytes: &mut [u8]);
}

/// The machine's clock and the operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn uuid(&self) -> Uuid {
        // The system's generator once per thread and reseed, not once per id: ids are made several times a bet.
        let mut random = [0; 10];
        rand::RngCore::fill_bytes(&mut rand::rng(), &mut random);
        uuid::Builder::from_unix_timestamp_millis(self.now().0.unsigned_abs(), &random).into_uuid()
    }

    fn fill(&self, bytes: &mut [u8]) {
        // A generator of this thread, seeded by the operating system and reseeded as it goes.
        rand::RngCore::fill_bytes(&mut rand::rng(), bytes);
    }
}
