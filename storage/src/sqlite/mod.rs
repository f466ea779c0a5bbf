//! The embedded ledger: SQLite in WAL mode with `synchronous=FULL`, one shard, one writing thread, readers beside it.
//!
//! | part | thread | connection |
//! |---|---|---|
//! | [`SqliteLedger`] | any | a small pool of read-only connections, through sqlx |
//! | `writer` | one of its own, for the ledger's life | opened and migrated by sqlx, then used through its raw handle (`raw`) |
//!
//! This module never answers a commit before SQLite has synced the write-ahead log behind it.

mod codec;
mod lock;
pub mod raw;
mod read;
#[cfg(feature = "testing")]
pub mod trace;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use protocol::{OwnerKind, RecordKey};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    ledger::{
        BoxFuture, CommitError, HouseBalance, Ledger, Position, Receipt, ShardHead, ShardWriter, StorageError, StoredRecord,
        faults::FaultPlan,
    },
    unit::{StoredUnit, UnitKey, UnitOfWork},
};
use writer::{Command, Session};

/// Commands waiting for the writing thread. One shard has one wallet with one commit in flight; the rest is takeovers.
const WRITER_QUEUE_MAX: usize = 16;
/// How long a reader waits for a free connection: ten thousand players may start at once.
const READ_WAIT_SECONDS_MAX: u64 = 60;

/// How the store is opened. The defaults are the measured ones.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Read-only connections.
    pub readers_max: u32,
    /// Pages in the write-ahead log before a commit checkpoints; small, because the stall it causes is proportional.
    pub wal_autocheckpoint_pages: u32,
    /// Page cache of the writing connection, KiB.
    pub writer_cache_kib: u32,
    /// Page cache of each reading connection, KiB.
    pub reader_cache_kib: u32,
    /// Memory-mapped part of the file, bytes.
    pub mmap_bytes: u64,
    /// Page size of a new store, bytes.
    pub page_size_bytes: u32,
    /// A registered VFS to open the files through; the default one when absent.
    pub vfs: Option<String>,
    /// Faults to come; empty outside tests and simulation.
    pub faults: FaultPlan,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            readers_max: 4,
            wal_autocheckpoint_pages: 250,
            writer_cache_kib: 64 * 1_024,
            reader_cache_kib: 4 * 1_024,
            mmap_bytes: 256 * 1_024 * 1_024,
            page_size_bytes: 4_096,
            vfs: None,
            faults: FaultPlan::default(),
        }
    }
}

impl SqliteOptions {
    fn connect(&self, path: &Path, cache_kib: u32) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .pragma("cache_size", format!("-{cache_kib}"))
            .pragma("mmap_size", self.mmap_bytes.to_string())
            .pragma("temp_store", "MEMORY")
            .busy_timeout(Duration::from_secs(5));
        match &self.vfs {
            Some(name) => options.vfs(name.clone()),
            None => options,
        }
    }

    /// The writing connection: creates the store when there is none.
    pub fn write_options(&self, path: &Path) -> SqliteConnectOptions {
        self.connect(path, self.writer_cache_kib)
            .create_if_missing(true)
            .page_size(self.page_size_bytes)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", self.wal_autocheckpoint_pages.to_string())
            .pragma("journal_size_limit", (16 * 1_024 * 1_024).to_string())
    }

    fn read_options(&self, path: &Path) -> SqliteConnectOptions {
        self.connect(path, self.reader_cache_kib).read_only(true)
    }
}

/// A ledger in one directory.
pub struct SqliteLedger {
    reader: SqlitePool,
    commands: mpsc::Sender<Command>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteLedger {
    /// Name of the database in the data directory.
    pub const FILE_NAME: &'static str = "ledger.sqlite";

    /// Opens or creates the store, brings its schema forward and starts the writing thread. Reads no unit.
    pub async fn open(dir: &Path, options: SqliteOptions) -> Result<Self, StorageError> {
        let path: PathBuf = dir.join(Self::FILE_NAME);
        std::fs::create_dir_all(dir).map_err(|error| StorageError::Unavailable(format!("{}: {error}", dir.display())))?;
        let lock = lock::StoreLock::take(dir)?;
        let pool = SqlitePoolOptions::new()
            .max_connections(options.readers_max.max(1))
            .acquire_timeout(Duration::from_secs(READ_WAIT_SECONDS_MAX))
            .test_before_acquire(false);
        let reader = pool.connect_lazy_with(options.read_options(&path));
        let (commands, queue) = mpsc::channel(WRITER_QUEUE_MAX);
        let (opened, result) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("ledger-writer".to_owned())
            .spawn(move || writer::run(options.write_options(&path), options.faults, lock, queue, opened))
            .map_err(|error| StorageError::Unavailable(format!("the ledger's thread does not start: {error}")))?;
        let ledger = Self { reader, commands, thread: Mutex::new(Some(thread)) };
        result.await.map_err(|_| stopped())??;
        Ok(ledger)
    }

    /// Waits for the thread, so that the file lock is free afterwards.
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the ledger's writing thread panicked");
        }
    }
}

impl Drop for SqliteLedger {
    fn drop(&mut self) {
        // The thread finishes what is queued: at most some commits, some milliseconds. With a full queue it ends by itself
        // later, since no strong sender is left; waiting here could then wait for a future this very thread should poll.
        match self.commands.try_send(Command::Stop) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => self.join(),
            Err(mpsc::error::TrySendError::Full(_)) => tracing::warn!("the ledger was dropped with a full queue"),
        }
    }
}

fn stopped() -> StorageError {
    StorageError::Unavailable("the ledger is closed".to_owned())
}

impl Ledger for SqliteLedger {
    fn shards(&self) -> u16 {
        1
    }

    fn open_shard(&self, shard: u16) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StorageError>> {
        Box::pin(async move {
            let (answer, result) = oneshot::channel();
            self.commands.send(Command::OpenShard { shard, answer }).await.map_err(|_| stopped())?;
            let session = result.await.map_err(|_| stopped())??;
            let writer = SqliteWriter { session, commands: self.commands.downgrade() };
            Ok(Box::new(writer) as Box<dyn ShardWriter>)
        })
    }

    fn head(&self, shard: u16) -> BoxFuture<'_, Result<ShardHead, StorageError>> {
        Box::pin(read::head(&self.reader, shard))
    }

    fn record(&self, key: RecordKey) -> BoxFuture<'_, Result<Option<StoredRecord>, StorageError>> {
        Box::pin(read::record(&self.reader, key))
    }

    fn records(
        &self,
        kind: OwnerKind,
        after: Option<[u8; 16]>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredRecord>, StorageError>> {
        Box::pin(read::records(&self.reader, kind, after, max))
    }

    fn unit_by_key(&self, key: UnitKey) -> BoxFuture<'_, Result<Option<StoredUnit>, StorageError>> {
        Box::pin(read::unit_by_key(&self.reader, key))
    }

    fn key_positions(&self, keys: Vec<UnitKey>) -> BoxFuture<'_, Result<Vec<Option<Position>>, StorageError>> {
        Box::pin(read::key_positions(&self.reader, keys))
    }

    fn units(&self, shard: u16, after: u64, max: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StorageError>> {
        Box::pin(read::units(&self.reader, shard, after, max))
    }

    fn house_accounts(&self) -> BoxFuture<'_, Result<Vec<HouseBalance>, StorageError>> {
        Box::pin(read::house_accounts(&self.reader))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Readers go first: a checkpoint cannot truncate the log under them.
            self.reader.close().await;
            let (answer, done) = oneshot::channel();
            if self.commands.send(Command::Close { answer }).await.is_ok() {
                // The answer is that the thread lets go of its end.
                let _closed = done.await;
            }
            self.join();
        })
    }
}

/// The one writer of the shard; a handle on the writing thread.
struct SqliteWriter {
    session: Arc<Session>,
    /// Weak, so that a forgotten writer does not keep a dropped ledger open.
    commands: mpsc::WeakSender<Command>,
}

impl ShardWriter for SqliteWriter {
    fn head(&self) -> ShardHead {
        self.session.head()
    }

    fn commit(&mut self, units: Vec<UnitOfWork>) -> BoxFuture<'_, Result<Vec<Receipt>, CommitError>> {
        Box::pin(async move {
            let (answer, result) = oneshot::channel();
            let Some(commands) = self.commands.upgrade() else { return Err(CommitError::Failed(stopped())) };
            let command = Command::Commit { session: Arc::clone(&self.session), units, answer };
            commands.send(command).await.map_err(|_| CommitError::Failed(stopped()))?;
            drop(commands);
            // A thread that died with the batch in its hands may have committed it.
            result.await.map_err(|_| CommitError::Unknown(stopped()))?
        })
    }
}
