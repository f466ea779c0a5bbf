//! Short-lived tokens: who a player or a launched game is, signed with HMAC-SHA256 and checked without any store.
//!
//! A token is `v1.<payload>.<mac>`, both parts base64url without padding; the MAC covers everything before its dot. Keys come
//! from a ring: the newest signs, every key still in the ring verifies, so that keys can be replaced without logging anybody
//! out. Reading a token never panics, whatever the bytes are, and says no more than [`TokenError`].

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use protocol::{GameId, PlayerId, ProviderId, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::secret::{Secret, SecretError, SecretFile};

/// Longest token that is read at all, in bytes.
pub const TOKEN_BYTES_MAX: usize = 1024;
/// Length of a signing key, in bytes.
pub const KEY_BYTES: usize = 32;
/// Most keys of a ring; verifying tries the one the token names, so this bounds memory, not time.
pub const KEYS_MAX: usize = 16;
/// How far a token's birth may lie in the future: another node's clock, at most this much ahead.
pub const CLOCK_SKEW_MS_MAX: i64 = 5_000;

const VERSION: &str = "v1";
const FILE_PREFIX: &str = "token-";
const FILE_SUFFIX: &str = ".key";

/// What a token is for; one kind is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// A player's first frame.
    Session,
    /// Exchanged by a provider for the player behind a launched game.
    Launch,
}

/// Whom a token is for and when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub kind: TokenKind,
    pub player: PlayerId,
    pub tenant: TenantId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub game: Option<GameId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderId>,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
    /// Makes every token another one.
    pub nonce: Uuid,
}

impl Claims {
    pub fn session(player: PlayerId, tenant: TenantId, now: Timestamp, life_s: u64, nonce: Uuid) -> Self {
        let expires_at = end(now, life_s);
        Self { kind: TokenKind::Session, player, tenant, game: None, provider: None, issued_at: now, expires_at, nonce }
    }

    /// The same player, for one game of one provider.
    pub fn launch(&self, game: GameId, provider: ProviderId, now: Timestamp, life_s: u64, nonce: Uuid) -> Self {
        Self {
            kind: TokenKind::Launch,
            game: Some(game),
            provider: Some(provider),
            ..Self::session(self.player, self.tenant, now, life_s, nonce)
        }
    }
}

fn end(now: Timestamp, life_s: u64) -> Timestamp {
    now.plus_ms(i64::try_from(life_s).unwrap_or(i64::MAX).saturating_mul(1000))
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    #[error("the token is for something else")]
    WrongKind,
}

/// What is signed: the claims and the key that signed them.
#[derive(Serialize, Deserialize)]
struct Payload {
    key: u32,
    #[serde(flatten)]
    claims: Claims,
}

/// The ring of signing keys, by number; the highest is the newest.
#[derive(Clone, Debug)]
pub struct TokenKeys {
    keys: Vec<(u32, Secret)>,
}

/// Why the keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("key folder {path}: {error}")]
    Folder { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("key folder {path} holds more than {max} token keys", max = KEYS_MAX)]
    TooMany { path: PathBuf },
}

impl TokenKeys {
    /// Reads every `token-<number>.key` of a folder; without any, makes the first. A key ends when its file is removed.
    pub fn load_or_create(dir: &Path) -> Result<Self, KeysError> {
        let mut numbers = numbers(dir).map_err(|error| KeysError::Folder { path: dir.to_owned(), error })?;
        if numbers.len() > KEYS_MAX {
            return Err(KeysError::TooMany { path: dir.to_owned() });
        }
        if numbers.is_empty() {
            numbers.push(1);
        }
        let read = |number| Ok((number, SecretFile::load_or_create(&file(dir, number), KEY_BYTES)?));
        Ok(Self { keys: numbers.into_iter().map(read).collect::<Result<_, SecretError>>()? })
    }

    /// Adds the next key to a folder and reads the ring again; the new key signs from then on.
    pub fn rotate(dir: &Path) -> Result<Self, KeysError> {
        let newest = Self::load_or_create(dir)?.keys.last().map_or(0, |(number, _)| *number);
        SecretFile::load_or_create(&file(dir, newest.saturating_add(1)), KEY_BYTES)?;
        Self::load_or_create(dir)
    }

    /// A ring of given keys, for tests and simulation. Numbers must be distinct.
    pub fn from_keys(keys: impl IntoIterator<Item = (u32, Secret)>) -> Self {
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_by_key(|(number, _)| *number);
        Self { keys }
    }

    /// Signs claims with the newest key. An empty ring signs nothing that would ever verify.
    pub fn issue(&self, claims: &Claims) -> String {
        let Some((key, secret)) = self.keys.last() else { return String::new() };
        let payload = Payload { key: *key, claims: claims.clone() };
        // Plain data into memory: JSON has no failing case for it.
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&payload).unwrap_or_default());
        let signed = format!("{VERSION}.{body}");
        let mac = URL_SAFE_NO_PAD.encode(mac(secret, signed.as_bytes()));
        format!("{signed}.{mac}")
    }

    /// Reads a token of a kind that is valid at `now`. The signature is checked before anything the token says is believed.
    pub fn verify(&self, token: &str, kind: TokenKind, now: Timestamp) -> Result<Claims, TokenError> {
        let claims = self.open(token).ok_or(TokenError::Invalid)?;
        if claims.kind != kind {
            return Err(TokenError::WrongKind);
        }
        if now >= claims.expires_at {
            return Err(TokenError::Expired);
        }
        if claims.issued_at > now.plus_ms(CLOCK_SKEW_MS_MAX) {
            return Err(TokenError::Invalid);
        }
        Ok(claims)
    }

    fn open(&self, token: &str) -> Option<Claims> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, mac_text) = token.rsplit_once('.')?;
        let body = signed.strip_prefix(VERSION)?.strip_prefix('.')?;
        let given = URL_SAFE_NO_PAD.decode(mac_text).ok()?;
        let payload: Payload = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()?;
        let (_, secret) = self.keys.iter().find(|(number, _)| *number == payload.key)?;
        bool::from(mac(secret, signed.as_bytes()).ct_eq(&given)).then_some(payload.claims)
    }
}

fn mac(secret: &Secret, signed: &[u8]) -> [u8; 32] {
    // HMAC takes a key of any length; the error case does not exist for it.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).unwrap_or_else(|_| unreachable!("HMAC takes any key length"));
    mac.update(signed);
    mac.finalize().into_bytes().into()
}

fn file(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{FILE_PREFIX}{number}{FILE_SUFFIX}"))
}

fn numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(numbers),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let number: Option<u32> =
            name.to_str().and_then(|name| name.strip_prefix(FILE_PREFIX)?.strip_suffix(FILE_SUFFIX)?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn ring(keys: &[(u32, u8)]) -> TokenKeys {
        TokenKeys::from_keys(keys.iter().map(|(number, byte)| (*number, Secret::new([*byte; KEY_BYTES]))))
    }

    fn claims() -> Claims {
        Claims::session(PlayerId(Uuid::from_u128(7)), "demo".parse().unwrap(), NOW, 60, Uuid::from_u128(9))
    }

    #[test]
    fn a_token_says_whom_it_is_for_until_it_ends() {
        let keys = ring(&[(1, 1)]);
        let token = keys.issue(&claims());
        assert_eq!(keys.verify(&token, TokenKind::Session, NOW), Ok(claims()));
        assert_eq!(keys.verify(&token, TokenKind::Session, NOW.plus_ms(59_999)), Ok(claims()));
        assert_eq!(keys.verify(&token, TokenKind::Session, NOW.plus_ms(60_000)), Err(TokenError::Expired));
        assert_eq!(keys.verify(&token, TokenKind::Session, NOW.plus_ms(-CLOCK_SKEW_MS_MAX)), Ok(claims()));
        assert_eq!(keys.verify(&token, TokenKind::Session, NOW.plus_ms(-CLOCK_SKEW_MS_MAX - 1)), Err(TokenError::Invalid));
    }

    #[test]
    fn a_session_token_launches_nothing_and_back() {
        let keys = ring(&[(1, 1)]);
        let launch = claims().launch("starfall".parse().unwrap(), "sandbox".parse().unwrap(), NOW, 60, Uuid::from_u128(3));
        assert_eq!(keys.verify(&keys.issue(&launch), TokenKind::Session, NOW), Err(TokenError::WrongKind));
        assert_eq!(keys.verify(&keys.issue(&claims()), TokenKind::Launch, NOW), Err(TokenError::WrongKind));
        let read = keys.verify(&keys.issue(&launch), TokenKind::Launch, NOW).unwrap();
        assert_eq!((read.player, read.provider.unwrap().as_str()), (claims().player, "sandbox"));
    }

    #[test]
    fn the_newest_key_signs_and_older_ones_verify_until_removed() {
        let old = ring(&[(1, 1)]);
        let both = ring(&[(2, 2), (1, 1)]);
        let new = ring(&[(2, 2)]);
        let (before, after) = (old.issue(&claims()), both.issue(&claims()));
        assert!(both.verify(&before, TokenKind::Session, NOW).is_ok());
        assert!(new.verify(&after, TokenKind::Session, NOW).is_ok());
        assert_eq!(new.verify(&before, TokenKind::Session, NOW), Err(TokenError::Invalid));
        assert_eq!(old.verify(&after, TokenKind::Session, NOW), Err(TokenError::Invalid));
        // The same number with another key is another key.
        assert_eq!(ring(&[(1, 9)]).verify(&before, TokenKind::Session, NOW), Err(TokenError::Invalid));
        assert_eq!(ring(&[]).verify(&ring(&[]).issue(&claims()), TokenKind::Session, NOW), Err(TokenError::Invalid));
    }

    #[test]
    fn keys_live_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("keys");
        let first = TokenKeys::load_or_create(&dir).unwrap();
        fs::write(dir.join("token-x.key"), "not ours").unwrap();
        let token = first.issue(&claims());
        assert!(TokenKeys::load_or_create(&dir).unwrap().verify(&token, TokenKind::Session, NOW).is_ok());
        let rotated = TokenKeys::rotate(&dir).unwrap();
        assert!(rotated.verify(&token, TokenKind::Session, NOW).is_ok());
        assert_eq!(first.verify(&rotated.issue(&claims()), TokenKind::Session, NOW), Err(TokenError::Invalid));
        fs::remove_file(dir.join("token-1.key")).unwrap();
        let after = TokenKeys::load_or_create(&dir).unwrap();
        assert_eq!(after.verify(&token, TokenKind::Session, NOW), Err(TokenError::Invalid));
    }

    proptest! {
        #[test]
        fn hostile_text_is_refused(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let keys = ring(&[(1, 1)]);
            let wrapped = format!("v1.{}.{}", URL_SAFE_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(text.as_bytes()));
            for token in [text, String::from_utf8_lossy(&bytes).into_owned(), wrapped] {
                prop_assert_eq!(keys.verify(&token, TokenKind::Session, NOW), Err(TokenError::Invalid));
            }
        }

        #[test]
        fn no_byte_of_a_token_can_be_changed(at in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f) {
            let keys = ring(&[(1, 1)]);
            let good = keys.issue(&claims());
            let mut bytes = good.clone().into_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            let bad = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(keys.verify(&bad, TokenKind::Session, NOW), Err(TokenError::Invalid));
        }

        #[test]
        fn a_well_formed_payload_needs_the_key(secret in any::<[u8; 32]>()) {
            prop_assume!(secret != [1; 32]);
            let forged = TokenKeys::from_keys([(1, Secret::new(secret))]).issue(&claims());
            prop_assert_eq!(ring(&[(1, 1)]).verify(&forged, TokenKind::Session, NOW), Err(TokenError::Invalid));
        }
    }
}
