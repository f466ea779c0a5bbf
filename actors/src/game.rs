//! Hosted games: who draws an instant round's outcome, and from which seed.

use hmac::{Hmac, Mac};
use protocol::{Amount, PlayerId, event::RawJson};
use sha2::{Digest, Sha256};

/// Everything a draw depends on; the same input gives the same outcome, so a repeated decision never re-rolls.
#[derive(Clone, Debug)]
pub struct Draw<'a> {
    pub server_seed: &'a [u8; 32],
    /// Lower-case hex SHA-256 of the server seed, as committed to the player.
    pub seed_hash: &'a str,
    pub client_seed: &'a str,
    pub nonce: u64,
    pub stake: Amount,
}

/// What the game says happened.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Gross, minor units; zero for a loss.
    pub win: Amount,
    /// Shown to the player and kept for recall.
    pub detail: RawJson,
}

/// A hosted instant game. Pure: all its chance is in the draw's seeds.
pub trait OutcomeSource: Send + Sync + 'static {
    fn draw(&self, draw: &Draw<'_>) -> Outcome;
}

/// Derives every server seed from one secret, so that no seed is stored before it is revealed.
pub struct Seeds {
    secret: [u8; 32],
}

/// A server seed with its public hash.
#[derive(Clone)]
pub struct Seed {
    pub index: u32,
    pub seed: [u8; 32],
    /// Lower-case hex.
    pub hash: String,
}

impl Seeds {
    pub const fn new(secret: [u8; 32]) -> Self {
        Self { secret }
    }

    /// HMAC-SHA256(secret, player ‖ index).
    pub fn seed(&self, player: PlayerId, index: u32) -> Seed {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).unwrap_or_else(|_| unreachable!("HMAC takes any key length"));
        mac.update(player.as_bytes());
        mac.update(&index.to_be_bytes());
        let seed: [u8; 32] = mac.finalize().into_bytes().into();
        Seed { index, seed, hash: hex::encode(Sha256::digest(seed)) }
    }
}

impl std::fmt::Debug for Seeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seeds")
    }
}
