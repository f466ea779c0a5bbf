//! Signed heads of the chain, appended outside the ledger's store: without them a cut tail would verify (MONEY.md, Shards).
//!
//! The log is a file of JSON lines that is only ever appended to; put it where the ledger's host cannot rewrite it (WORM). The
//! key signs heads and nothing else. An anchor is durable when [`AnchorLog::append`] returns.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use protocol::Timestamp;
use rand::TryRngCore;
use serde::{Deserialize, Serialize};

use crate::ledger::{ShardHead, StorageError};

const LOG_FILE: &str = "anchors.jsonl";
const KEY_FILE: &str = "anchor.key";
/// Separates these signatures from any other use of a key.
const CONTEXT: &[u8] = b"pitboss chain anchor 1\n";

/// A head of a shard's chain at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub shard: u16,
    pub epoch: u64,
    pub sequence: u64,
    #[serde(with = "hex::serde")]
    pub hash: [u8; 32],
    pub at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    anchor: Anchor,
    /// Lower-case hex of the Ed25519 signature.
    signature: String,
}

impl Anchor {
    fn signed_bytes(&self) -> Vec<u8> {
        let Self { shard, epoch, sequence, hash, at } = self;
        let mut bytes = CONTEXT.to_vec();
        bytes.extend_from_slice(format!("{shard} {epoch} {sequence} {} {}", hex::encode(hash), at.0).as_bytes());
        bytes
    }
}

/// The log of anchors and the key that signs them.
#[derive(Debug)]
pub struct AnchorLog {
    path: PathBuf,
    file: File,
    key: SigningKey,
}

impl AnchorLog {
    /// Opens the log in `dir` and the key in `keys_dir`; both are created when missing. A line torn by a crash is taken away: it
    /// was never acknowledged.
    pub fn open(dir: &Path, keys_dir: &Path) -> Result<Self, StorageError> {
        let key = open_key(keys_dir)?;
        fs::create_dir_all(dir).map_err(|error| io_error(dir, &error))?;
        let path = dir.join(LOG_FILE);
        let is_new = !path.exists();
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path).map_err(|error| io_error(&path, &error))?;
        let log = Self { path, file, key };
        log.drop_torn_line().map_err(|error| io_error(&log.path, &error))?;
        if is_new {
            sync_dir(dir)?;
        }
        Ok(log)
    }

    /// What an auditor verifies the log with.
    pub fn public_key(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    fn drop_torn_line(&self) -> io::Result<()> {
        let bytes = fs::read(&self.path)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if whole < bytes.len() {
            self.file.set_len(whole as u64)?;
            self.file.sync_all()?;
        }
        Ok(())
    }

    /// Signs a head and appends it durably. An empty shard has nothing to anchor.
    pub fn append(&mut self, head: &ShardHead, at: Timestamp) -> Result<(), StorageError> {
        let ShardHead { shard, epoch, sequence, hash } = *head;
        if sequence == 0 {
            return Ok(());
        }
        let anchor = Anchor { shard, epoch, sequence, hash, at };
        let signature = hex::encode(self.key.sign(&anchor.signed_bytes()).to_bytes());
        let line = serde_json::to_string(&Line { anchor, signature }).map_err(|error| corrupt(&self.path, &error))?;
        let written = self.file.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| io_error(&self.path, &error))
    }

    /// Every anchor, oldest first; a line that is malformed or signed otherwise is an error.
    pub fn read_all(&self) -> Result<Vec<Anchor>, StorageError> {
        let mut text = String::new();
        let mut file = File::open(&self.path).map_err(|error| io_error(&self.path, &error))?;
        file.read_to_string(&mut text).map_err(|error| io_error(&self.path, &error))?;
        let public = self.public_key();
        let read = |(number, line): (usize, &str)| {
            read_line(line, &public).map_err(|reason| corrupt(&self.path, &format!("line {}: {reason}", number + 1)))
        };
        text.lines().enumerate().map(read).collect()
    }
}

fn read_line(line: &str, public: &VerifyingKey) -> Result<Anchor, String> {
    let Line { anchor, signature } = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let mut bytes = [0; 64];
    hex::decode_to_slice(&signature, &mut bytes).map_err(|error| error.to_string())?;
    let verified = public.verify(&anchor.signed_bytes(), &Signature::from_bytes(&bytes));
    verified.map(|()| anchor).map_err(|_| "its signature does not match".to_owned())
}

/// The signing key: 32 bytes as hex, readable by its owner only.
fn open_key(dir: &Path) -> Result<SigningKey, StorageError> {
    fs::create_dir_all(dir).map_err(|error| io_error(dir, &error))?;
    let path = dir.join(KEY_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let mut seed = [0; 32];
            hex::decode_to_slice(text.trim(), &mut seed).map_err(|error| corrupt(&path, &error))?;
            Ok(SigningKey::from_bytes(&seed))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_key(dir, &path),
        Err(error) => Err(io_error(&path, &error)),
    }
}

/// Written whole under another name first, so that a crash leaves no half a key.
fn create_key(dir: &Path, path: &Path) -> Result<SigningKey, StorageError> {
    let mut seed = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed).map_err(|error| StorageError::Unavailable(format!("no randomness: {error}")))?;
    let partial = path.with_extension("partial");
    let write = || -> io::Result<()> {
        if partial.exists() {
            fs::remove_file(&partial)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        file.write_all(hex::encode(seed).as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(|error| io_error(path, &error))?;
    sync_dir(dir)?;
    Ok(SigningKey::from_bytes(&seed))
}

fn sync_dir(dir: &Path) -> Result<(), StorageError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| io_error(dir, &error))
}

fn io_error(path: &Path, error: &io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::Full,
        _ => StorageError::Unavailable(format!("{}: {error}", path.display())),
    }
}

fn corrupt(path: &Path, error: &dyn std::fmt::Display) -> StorageError {
    StorageError::Corrupt(format!("{}: {error}", path.display()))
}
