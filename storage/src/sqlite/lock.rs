//! One writing process per store: an exclusive lock on a file beside the ledger, which the kernel lets go with the process.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use crate::ledger::StorageError;

const FILE_NAME: &str = "ledger.lock";

/// Held as long as the store is open.
#[derive(Debug)]
pub struct StoreLock {
    _file: File,
}

impl StoreLock {
    pub fn take(dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(FILE_NAME);
        let cannot = |error: &dyn std::fmt::Display| StorageError::Unavailable(format!("{}: {error}", path.display()));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(|error| cannot(&error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(cannot(&"another process has this store open; stop it first")),
            Err(TryLockError::Error(error)) => Err(cannot(&error)),
        }
    }
}
