//! What was sent and what was answered, in compact tables, one per player.
//!
//! An id says by itself where its operation stands: `UUIDv7 = time | tag of the run | player | index`. Making one costs no
//! randomness, and finding the operation of a ledger unit costs no index.

use std::{
    hash::{DefaultHasher, Hasher},
    time::{SystemTime, UNIX_EPOCH},
};

use protocol::ErrorCode;
use uuid::Uuid;

const PLAYER_BITS: u32 = 20;
const INDEX_BITS: u32 = 28;
/// Indexes from here on name requests that are no operations (hello).
pub const OTHER_INDEX: u32 = 1 << (INDEX_BITS - 1);

/// Milliseconds since the Unix epoch.
pub fn wall_clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Makes the ids of one run and recognises them again.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    /// 26 bits that tell this run's ids from another's.
    tag: u32,
}

impl Ids {
    pub const fn new(tag: u32) -> Self {
        Self { tag: tag & 0x03ff_ffff }
    }

    pub const fn make(self, now_ms: u64, player: u32, index: u32) -> Uuid {
        let tag = self.tag as u128;
        let place = ((player as u128) << INDEX_BITS) | index as u128;
        let bits = ((now_ms as u128) << 80) | (7 << 76) | ((tag >> 14) << 64) | (2 << 62) | ((tag & 0x3fff) << 48) | place;
        Uuid::from_u128(bits)
    }

    /// Player and index of an id this run made.
    pub const fn locate(self, id: Uuid) -> Option<(usize, usize)> {
        let bits = id.as_u128();
        let tag = (((bits >> 64) & 0xfff) << 14) | ((bits >> 48) & 0x3fff);
        if tag != self.tag as u128 || (bits >> 76) & 0xf != 7 {
            return None;
        }
        let player = (bits >> INDEX_BITS) & ((1 << PLAYER_BITS) - 1);
        Some((player as usize, (bits & ((1 << INDEX_BITS) - 1)) as usize))
    }
}

/// The numbers of an acknowledged reply, minor units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    pub cash: i64,
    pub bonus: i64,
    pub in_play: i64,
    pub version: u64,
    /// What the reply says was won; zero where replies do not say it.
    pub win: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Sent, not answered yet.
    Open,
    Accepted(Numbers),
    /// Refused for good.
    Refused(ErrorCode),
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub id: Uuid,
    pub answer: Answer,
    /// What the acknowledged change does to cash, bonus and in play together, where the tester can tell.
    pub net: Option<i64>,
    /// Of the acknowledged reply's bytes.
    pub reply_hash: u64,
    /// How many ledger units carried the id; filled by the reconciliation.
    pub units: u8,
}

impl Op {
    pub const fn sent(id: Uuid) -> Self {
        Self { id, answer: Answer::Open, net: None, reply_hash: 0, units: 0 }
    }
}

/// Everything one player sent.
#[derive(Clone, Debug, Default)]
pub struct PlayerLog {
    pub player: Uuid,
    pub ops: Vec<Op>,
}

/// Tells replies apart without keeping them.
pub fn hash_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_v7_uuid_that_says_where_it_stands() {
        let ids = Ids::new(0x03ab_cdef);
        let other = Ids::new(0x03ab_cdee);
        for (player, index) in [(0, 0), (99_999, OTHER_INDEX + 3), ((1 << 20) - 1, (1 << 28) - 1)] {
            let id = ids.make(1_790_000_000_123, player, index);
            assert!(protocol::id::is_v7(&id));
            assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(id.get_timestamp().map(|t| t.to_unix()), Some((1_790_000_000, 123_000_000)));
            assert_eq!(ids.locate(id), Some((player as usize, index as usize)));
            assert_eq!(other.locate(id), None);
        }
        assert_eq!(ids.locate(Uuid::nil()), None);
    }
}
