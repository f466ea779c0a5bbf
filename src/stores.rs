//! Where everything lies in the data folder, and how it is opened.
//!
//! ```text
//! data/ledger.sqlite        the ledger; only the wallet writes it
//! data/segments/            event segments; only the relay writes them
//! data/projections.sqlite   rounds, statements, postings; only the projector writes it
//! data/compliance/          the compliance journal; only the journalist writes it
//! data/followers/           checkpoints
//! data/anchors/             signed heads of the ledger's chain: copy them elsewhere
//! data/keys/                secrets, readable by the owner only
//! ```

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use access::secret::SecretFile;
use anyhow::{Context, anyhow};
use storage::{
    StorageError,
    anchor::AnchorLog,
    projection::{
        ProjectionReader, ProjectionStore,
        journal::ComplianceJournal,
        sqlite::{ProjectionOptions, SqliteProjection},
    },
    segments::{SegmentLog, SegmentOptions},
    sqlite::{SqliteLedger, SqliteOptions},
};

use crate::config::Config;

/// Paths inside one data folder.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub fn anchors(&self) -> PathBuf {
        self.0.join("anchors")
    }

    pub fn segments(&self) -> PathBuf {
        self.0.join("segments")
    }

    pub fn compliance(&self) -> PathBuf {
        self.0.join("compliance")
    }

    pub fn projections(&self) -> PathBuf {
        self.0.join("projections.sqlite")
    }

    pub fn showman(&self) -> PathBuf {
        self.0.join("followers").join("showman.json")
    }

    pub fn sandbox(&self) -> PathBuf {
        self.0.join("sandbox")
    }

    /// Makes the folders; a place that cannot be written to is said here, before anything starts.
    pub fn make(&self) -> anyhow::Result<()> {
        for path in [self.0.clone(), self.keys(), self.anchors(), self.segments(), self.0.join("followers")] {
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        }
        Ok(())
    }

    /// A 32-byte secret of a name, made at the first start.
    pub fn secret(&self, name: &str) -> anyhow::Result<[u8; 32]> {
        let secret = SecretFile::load_or_create(&self.keys().join(name), 32)?;
        secret.expose().try_into().map_err(|_| anyhow!("the secret {name} has not 32 bytes"))
    }
}

pub async fn ledger(folder: &Folder, config: &Config) -> Result<SqliteLedger, StorageError> {
    let options = SqliteOptions {
        wal_autocheckpoint_pages: config.storage.wal_autocheckpoint_pages,
        writer_cache_kib: config.storage.cache_mib.saturating_mul(1_024),
        ..SqliteOptions::default()
    };
    SqliteLedger::open(&folder.0, options).await
}

pub fn segments(folder: &Folder, config: &Config) -> anyhow::Result<SegmentLog> {
    let mib = |mib: u32| u64::from(mib) << 20;
    let options = SegmentOptions {
        segment_bytes_max: mib(config.segments.segment_mib),
        retention_bytes_max: mib(config.segments.retention_mib),
    };
    Ok(SegmentLog::open(&folder.segments(), 0, options)?)
}

pub fn anchors(folder: &Folder) -> anyhow::Result<AnchorLog> {
    Ok(AnchorLog::open(&folder.anchors(), &folder.keys())?)
}

/// Opens the projections for queries, and a way for the projector to open them for writing, again after each of its restarts.
pub async fn projections(folder: &Folder) -> Result<(Arc<dyn ProjectionReader>, OpenProjections), StorageError> {
    let path = folder.projections();
    let first = open_projections(&path).await?;
    let reader = first.reader();
    let first = Mutex::new(Some(first));
    let open = move || -> Result<Box<dyn ProjectionStore>, StorageError> {
        if let Some(first) = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            return Ok(Box::new(first));
        }
        // The projector opens inside its own multi-threaded runtime.
        let store = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(open_projections(&path)))?;
        Ok(Box::new(store))
    };
    Ok((reader, Arc::new(open)))
}

pub type OpenProjections = Arc<dyn Fn() -> Result<Box<dyn ProjectionStore>, StorageError> + Send + Sync>;

pub async fn open_projections(path: &Path) -> Result<SqliteProjection, StorageError> {
    SqliteProjection::open(path, ProjectionOptions::default()).await
}

pub fn journal(folder: &Folder) -> Arc<dyn Fn() -> Result<ComplianceJournal, StorageError> + Send + Sync> {
    let path = folder.compliance();
    Arc::new(move || ComplianceJournal::open(&path))
}
