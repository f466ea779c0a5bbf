//! The fake studio: a game provider with an HTTP server of its own, speaking provider contract v1 to the casino.
//!
//! | module | promise |
//! |---|---|
//! | `http` | what players and operators see; parses and bounds |
//! | `play` | play sessions and one spin: bet, draw, win |
//! | `settle` | what is owed reaches the casino, however often it takes, always under the same id |
//! | [`journal`] | what is owed survives a restart |
//!
//! A round's draw happens only after its bet was taken; a bet of unknown fate is rolled back and never drawn.

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use protocol::{GameId, ProviderId, id::SlugError};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use uuid::Uuid;

use crate::{
    client::{ClientError, StudioClient},
    slot::STARFALL_REMOTE_ID,
};
use journal::{Journal, JournalError, Recovered, RoundRecord};
use play::PlaySession;

mod http;
pub mod journal;
mod play;
mod settle;

/// Spins worked on at once; further ones are told to come again.
const SPINS_IN_FLIGHT_MAX: usize = 256;
/// Debts sent to the casino at once; the others wait their turn.
const SETTLEMENTS_IN_FLIGHT_MAX: usize = 64;

const SEED_FILE_NAME: &str = "seed.key";

/// How the studio is run.
#[derive(Clone)]
pub struct StudioConfig {
    /// Where players reach it; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Scheme, host and port of the casino's provider listener.
    pub casino_url: String,
    pub provider: ProviderId,
    pub key_id: String,
    pub secret: Vec<u8>,
    /// Holds the journal and the seed secret; created when missing.
    pub data_dir: PathBuf,
    pub timing: Timing,
}

/// How long the studio waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// After this a call's outcome counts as unknown.
    pub call_timeout: Duration,
    /// The first wait before a debt is sent again; each further one is twice as long.
    pub retry_first: Duration,
    pub retry_max: Duration,
    /// How long a spin's answer waits for its win to be acknowledged before it says "pending".
    pub win_wait: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(5),
            retry_first: Duration::from_millis(200),
            retry_max: Duration::from_secs(30),
            win_wait: Duration::from_secs(8),
        }
    }
}

/// Why the studio could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum StudioError {
    #[error("cannot listen on {listen}: {source}")]
    Listen { listen: SocketAddr, source: io::Error },
    #[error("the studio's server failed: {0}")]
    Serve(io::Error),
    #[error("the studio's seed secret: {0}")]
    Seed(io::Error),
    #[error("the studio's seed secret has {0} bytes instead of 32")]
    SeedLength(usize),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the game id: {0}")]
    GameId(#[from] SlugError),
}

/// Runs the studio until `shutdown` completes and spins under way have been answered.
pub async fn run(config: StudioConfig, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), StudioError> {
    Studio::bind(config).await?.serve(shutdown).await
}

/// A studio that listens but does not serve yet.
pub struct Studio {
    listener: TcpListener,
    shared: Arc<Shared>,
    owed: Vec<RoundRecord>,
}

impl Studio {
    pub async fn bind(config: StudioConfig) -> Result<Self, StudioError> {
        let client = StudioClient::new(&config.casino_url, &config.key_id, &config.secret, config.timing.call_timeout)?;
        let (journal, rounds) = Journal::open(&config.data_dir)?;
        let seed_secret = seed_secret(&config.data_dir)?;
        let listener =
            TcpListener::bind(config.listen).await.map_err(|source| StudioError::Listen { listen: config.listen, source })?;
        let owed = rounds.values().filter(|record| record.step.is_owed()).cloned().collect();
        let shared = Shared {
            client,
            provider: config.provider,
            timing: config.timing,
            game: STARFALL_REMOTE_ID.parse()?,
            seed_secret,
            journal: Arc::new(Mutex::new(journal)),
            rounds: Mutex::new(rounds),
            sessions: Mutex::default(),
            spins: Semaphore::new(SPINS_IN_FLIGHT_MAX),
            settlements: Semaphore::new(SETTLEMENTS_IN_FLIGHT_MAX),
            tasks: Mutex::default(),
        };
        Ok(Self { listener, shared: Arc::new(shared), owed })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves, and settles what an earlier run still owed.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<(), StudioError> {
        let Self { listener, shared, owed } = self;
        tracing::info!(provider = %shared.provider, owed = owed.len(), "studio open");
        for record in owed {
            settle::resume(&shared, record);
        }
        let served = axum::serve(listener, http::router(shared.clone())).with_graceful_shutdown(shutdown).await;
        // What is still owed stands in the journal; the next start goes on with it.
        let mut tasks = std::mem::take(&mut *lock(&shared.tasks));
        tasks.shutdown().await;
        served.map_err(StudioError::Serve)
    }
}

/// What every request and task sees.
pub(crate) struct Shared {
    client: StudioClient,
    provider: ProviderId,
    timing: Timing,
    game: GameId,
    seed_secret: [u8; 32],
    journal: Arc<Mutex<Journal>>,
    rounds: Mutex<Recovered>,
    /// By play session; the ids are time-ordered, so the first is the oldest.
    sessions: Mutex<BTreeMap<Uuid, PlaySession>>,
    spins: Semaphore,
    settlements: Semaphore,
    tasks: Mutex<JoinSet<()>>,
}

impl Shared {
    /// Writes a record to the journal, then shows it. The record is shown even if the journal failed.
    async fn record(&self, record: &RoundRecord) -> Result<(), JournalError> {
        let (journal, line) = (self.journal.clone(), record.clone());
        let written = tokio::task::spawn_blocking(move || lock(&journal).append(&line)).await;
        let mut rounds = lock(&self.rounds);
        rounds.insert(record.round, record.clone());
        if rounds.len() > 2 * journal::FINISHED_ROUNDS_MAX {
            journal::drop_oldest_finished(&mut rounds);
        }
        written.unwrap_or(Err(JournalError::Broken))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

/// A panic while the lock was held leaves plain maps behind, which stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The secret all server seeds derive from: the studio's own, so that the casino cannot foresee a draw.
fn seed_secret(folder: &Path) -> Result<[u8; 32], StudioError> {
    let path = folder.join(SEED_FILE_NAME);
    match fs::read(&path) {
        Ok(bytes) => <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| StudioError::SeedLength(bytes.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret: [u8; 32] = rand::random();
            write_private(folder, &path, &secret).map_err(StudioError::Seed)?;
            Ok(secret)
        }
        Err(error) => Err(StudioError::Seed(error)),
    }
}

/// Writes beside and renames, so that a crash leaves no half of it; readable by the owner alone.
fn write_private(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = folder.join("seed.key.new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    fs::File::open(folder)?.sync_all()
}
