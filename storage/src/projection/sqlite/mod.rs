//! The projection in a SQLite file of its own: `projections.sqlite`, WAL, synced lazily, for it can be rebuilt.
//!
//! | table | holds | rows per block |
//! |---|---|---|
//! | `recent` | the newest lines of the owners of a bucket | at most one per bucket |
//! | `page` | filed lines of one owner, written when a bucket is full | few, amortised |
//! | `round` | one round with its detail | one per round; hosted ids append |
//! | `position`, `moment` | how far, and when that was | one each |
//!
//! A line costs no row of its own: with 100 000 players a row per line would touch a page of the file per bet. Lines wait in
//! `recent`, many owners to a row, and are filed under their owners some at a time; a query reads one bucket and one owner.

mod read;
mod section;
mod write;

use std::{path::Path, sync::Arc};

use sqlx::{
    ConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

use super::{ProjectionReader, ProjectionStore};
use crate::{ledger::StorageError, sqlite::raw::storage_error, unit::StoredUnit};

/// Owners share this many buckets of recent lines.
const BUCKETS: u64 = 256;
const READ_CONNECTIONS_MAX: u32 = 3;
const PAGE_BYTES: u32 = 4096;
/// Negative: kibibytes, as SQLite wants it.
const WRITER_CACHE_KIB: &str = "-32768";
/// The log is copied into the file when it has so many pages (64 MiB).
const WAL_PAGES_MAX: &str = "16384";

/// The bounds of a projection file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProjectionOptions {
    /// Recent lines of a bucket before they are filed under their owners. More means fewer writes and slower queries.
    pub bucket_bytes_max: usize,
}

impl Default for ProjectionOptions {
    fn default() -> Self {
        Self { bucket_bytes_max: 192 << 10 }
    }
}

/// The writer of a projection file, and the readers' pool.
pub struct SqliteProjection {
    writer: write::Writer,
    reader: Arc<read::Reader>,
}

impl SqliteProjection {
    /// Opens or creates the file.
    pub async fn open(path: &Path, options: ProjectionOptions) -> Result<Self, StorageError> {
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .page_size(PAGE_BYTES)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(std::time::Duration::from_secs(10));
        // A block's pages stay in memory until it commits, and pages changed by many blocks are copied to the file once.
        let tuned = connect.clone().pragma("cache_size", WRITER_CACHE_KIB).pragma("wal_autocheckpoint", WAL_PAGES_MAX);
        let writer = tuned.connect().await.map_err(fault)?;
        let pool = SqlitePoolOptions::new().max_connections(READ_CONNECTIONS_MAX).connect_with(connect).await.map_err(fault)?;
        sqlx::migrate!("./migrations/projection").run(&pool).await.map_err(|error| StorageError::Unavailable(error.to_string()))?;
        let writer = write::Writer::new(writer, options);
        Ok(Self { writer, reader: Arc::new(read::Reader::new(pool)) })
    }

    /// Closes the readers' connections; the writer's closes when it is dropped.
    pub async fn close(self) {
        self.reader.close().await;
    }

    /// The readers' pool, for those who look at the file itself.
    pub fn pool(&self) -> SqlitePool {
        self.reader.pool()
    }
}

impl ProjectionStore for SqliteProjection {
    fn apply(&mut self, shard: u16, units: &[StoredUnit]) -> Result<u64, StorageError> {
        self.writer.apply(shard, units)
    }

    fn position(&mut self, shard: u16) -> Result<u64, StorageError> {
        self.writer.position(shard)
    }

    fn reader(&self) -> Arc<dyn ProjectionReader> {
        Arc::clone(&self.reader) as Arc<dyn ProjectionReader>
    }
}

/// The bucket of an owner: ids of players are random or grow with time, so their low bytes spread.
fn bucket_of(owner: protocol::RecordKey) -> u16 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in owner.id {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    ((hash >> 24) % BUCKETS) as u16
}

/// The balances after an owner's last filed line.
const CLOSING: &str = "SELECT closing FROM page WHERE owner = ? AND shard = ? ORDER BY first_sequence DESC LIMIT 1";

fn fault(error: sqlx::Error) -> StorageError {
    match &error {
        sqlx::Error::Database(fault) => {
            let code = fault.code().and_then(|code| code.parse().ok()).unwrap_or(0);
            storage_error(code, error.to_string())
        }
        sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => StorageError::Corrupt(error.to_string()),
        _ => StorageError::Unavailable(error.to_string()),
    }
}
