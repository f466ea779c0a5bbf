//! Secrets: kept in files only their owner may read, wiped from every log by a type that prints nothing.
//!
//! A secret file holds lower-case hex and a line feed, so that it can be copied to a provider by hand.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rand::{TryRngCore, rngs::OsRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest secret a file may hold, in bytes.
pub const SECRET_BYTES_MAX: usize = 256;

/// Bytes nobody may see. Its `Debug` and its serialised form say only that it is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the one call that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("(hidden)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into_bytes().into()))
    }
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("secret file {path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("secret file {path} must hold {len} bytes as hex")]
    Content { path: PathBuf, len: usize },
    #[error("the system gives no randomness: {0}")]
    Randomness(String),
}

/// A file with one secret.
pub struct SecretFile;

impl SecretFile {
    /// Reads the secret, or makes one of `len` random bytes when there is no file yet.
    ///
    /// The file appears whole or not at all: it is written beside its place, synced and then linked, so that two processes
    /// starting together end with the same secret.
    pub fn load_or_create(path: &Path, len: usize) -> Result<Secret, SecretError> {
        match Self::load(path, len) {
            Err(SecretError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut bytes = vec![0; len];
        OsRng.try_fill_bytes(&mut bytes).map_err(|error| SecretError::Randomness(error.to_string()))?;
        place(path, hex::encode(&bytes).as_bytes()).map_err(|error| SecretError::Io { path: path.to_owned(), error })?;
        Self::load(path, len)
    }

    /// Reads the secret; a missing file is an error.
    pub fn load(path: &Path, len: usize) -> Result<Secret, SecretError> {
        let text = fs::read_to_string(path).map_err(|error| SecretError::Io { path: path.to_owned(), error })?;
        match hex::decode(text.trim()) {
            Ok(bytes) if bytes.len() == len && len <= SECRET_BYTES_MAX => Ok(Secret::new(bytes)),
            _ => Err(SecretError::Content { path: path.to_owned(), len }),
        }
    }
}

/// Puts a file that only its owner may read in its place, unless one is there already.
fn place(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let draft = folder.join(format!(".{}.{}", std::process::id(), uuid::Uuid::now_v7()));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    let linked = file
        .write_all(text)
        .and_then(|()| file.write_all(b"\n"))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys").join("a.key");
        let first = SecretFile::load_or_create(&path, 32).unwrap();
        assert_eq!(first.expose().len(), 32);
        assert_eq!(SecretFile::load_or_create(&path, 32).unwrap(), first);
        assert_ne!(SecretFile::load_or_create(&folder.path().join("b.key"), 32).unwrap(), first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn starting_together_ends_with_one_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let secrets: Vec<Secret> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| SecretFile::load_or_create(&path, 32).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(secrets.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        for text in ["", "zz", "00ff"] {
            fs::write(&path, text).unwrap();
            assert!(matches!(SecretFile::load_or_create(&path, 32), Err(SecretError::Content { .. })));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::new(*b"hunter2");
        assert_eq!(format!("{secret:?}"), "(hidden)");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"(hidden)\"");
    }
}
