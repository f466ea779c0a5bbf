//! The unit of work: the closed shape in which every change reaches the ledger (MONEY.md, The unit of work).

use std::fmt;

use bytes::Bytes;
use protocol::{Leg, PlayerId, ProviderId, RecordKey, Slug, Timestamp};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Who made an id; ids a client makes are scoped to its player.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Player(PlayerId),
    Provider(ProviderId),
    /// The server itself: seeding, expiries, jackpots; the name says which part.
    System(Slug),
}

impl Source {
    /// An injective byte form, for keys.
    pub fn to_bytes(&self) -> SmallVec<[u8; 24]> {
        let (tag, rest): (u8, &[u8]) = match self {
            Self::Player(player) => (1, player.as_bytes()),
            Self::Provider(provider) => (2, provider.as_str().as_bytes()),
            Self::System(name) => (3, name.as_str().as_bytes()),
        };
        let mut bytes = SmallVec::new();
        bytes.push(tag);
        bytes.extend_from_slice(rest);
        bytes
    }
}

/// Unique for ever and across shards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnitKey {
    pub source: Source,
    /// 1 to 64 bytes; our own contracts use the sixteen bytes of a UUIDv7, so that the index grows at its end.
    pub id: SmallVec<[u8; 16]>,
}

impl UnitKey {
    pub fn new(source: Source, id: impl AsRef<[u8]>) -> Self {
        Self { source, id: SmallVec::from_slice(id.as_ref()) }
    }
}

impl fmt::Display for UnitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::Player(player) => write!(f, "player:{player}/")?,
            Source::Provider(provider) => write!(f, "provider:{provider}/")?,
            Source::System(name) => write!(f, "system:{name}/")?,
        }
        match <[u8; 16]>::try_from(self.id.as_slice()) {
            Ok(id) => write!(f, "{}", uuid::Uuid::from_bytes(id)),
            Err(_) => match std::str::from_utf8(&self.id) {
                Ok(text) => f.write_str(text),
                Err(_) => write!(f, "{}", hex::encode(&self.id)),
            },
        }
    }
}

/// A record the unit read and relies on, without writing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    pub key: RecordKey,
    /// Zero: the record must not exist.
    pub version: u64,
}

/// A record the unit writes. Its version becomes `expected + 1`; legs that touch the owner's accounts change the same row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordWrite {
    pub key: RecordKey,
    /// The version decided on; zero creates the record.
    pub expected: u64,
    /// `None` keeps the bytes and only moves the version (balances changed).
    pub bytes: Option<Bytes>,
}

/// One atomic change. The shape is closed: a domain adds records and events, never a field.
///
/// Every owner (player, jackpot, …) whose guarded or receivable accounts a leg touches must be among `records`: its row holds
/// the balances and its version moves. House accounts have no version and are summed.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitOfWork {
    pub key: UnitKey,
    /// BLAKE3 over the command's canonical bytes: the same id with another hash is a conflict.
    pub body_hash: [u8; 32],
    pub at: Timestamp,
    pub legs: SmallVec<[Leg; 6]>,
    pub guards: SmallVec<[Guard; 1]>,
    pub records: SmallVec<[RecordWrite; 2]>,
    /// An encoded [`protocol::EventPack`], or empty.
    pub events: Bytes,
    /// What the caller was told, byte for byte.
    pub reply: Bytes,
}

/// A unit as the ledger keeps it: what export prints, followers read and the chain covers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredUnit {
    pub shard: u16,
    /// Gapless per shard, from 1.
    pub sequence: u64,
    pub key: UnitKey,
    pub body_hash: [u8; 32],
    pub at: Timestamp,
    pub legs: SmallVec<[Leg; 6]>,
    /// The records written: key, version after, and the first 16 bytes of BLAKE3 over their bytes (all zero when kept).
    pub records: SmallVec<[(RecordKey, u64, [u8; 16]); 2]>,
    pub events: Bytes,
    pub reply: Bytes,
}

impl StoredUnit {
    const ENCODING_VERSION: u8 = 1;

    pub fn new(shard: u16, sequence: u64, unit: &UnitOfWork) -> Self {
        let records = unit.records.iter().map(|write| (write.key, write.expected + 1, digest_of(write.bytes.as_deref()))).collect();
        Self {
            shard,
            sequence,
            key: unit.key.clone(),
            body_hash: unit.body_hash,
            at: unit.at,
            legs: unit.legs.clone(),
            records,
            events: unit.events.clone(),
            reply: unit.reply.clone(),
        }
    }

    /// The bytes the ledger and the segments keep, and the chain hashes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + self.events.len() + self.reply.len());
        bytes.push(Self::ENCODING_VERSION);
        postcard::to_extend(self, bytes).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, postcard::Error> {
        match bytes.split_first() {
            Some((&Self::ENCODING_VERSION, rest)) => postcard::from_bytes(rest),
            _ => Err(postcard::Error::DeserializeBadEncoding),
        }
    }
}

/// First sixteen bytes of BLAKE3; zero for `None`.
pub fn digest_of(bytes: Option<&[u8]>) -> [u8; 16] {
    let mut out = [0; 16];
    if let Some(bytes) = bytes {
        out.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    }
    out
}

/// The chain's next hash: BLAKE3(previous ‖ encoded unit). Every unit is hashed on the way to its commit; SHA-256 without
/// the processor's help takes several times as long.
pub fn chain(previous: &[u8; 32], encoded: &[u8]) -> [u8; 32] {
    let mut hash = blake3::Hasher::new();
    hash.update(previous);
    hash.update(encoded);
    hash.finalize().into()
}
