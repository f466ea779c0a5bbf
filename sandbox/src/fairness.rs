//! Provably fair draws: whoever knows the server seed, the client seed and the nonce can draw the same outcome again.
//!
//! | step | what happens |
//! |---|---|
//! | commit | the player is shown [`seed_hash`] of a server seed that stays secret |
//! | draw | block *b* = HMAC-SHA256(server seed, `client_seed:nonce:b`), *b* from 0, all numbers decimal |
//! | number below *n* | the next four bytes, big endian, are a word; words from ⌊2³²/n⌋·n on are skipped; word mod *n* |
//! | reveal | the seed is published, and [`verify`] repeats any round drawn with it |
//!
//! This module reads no clock and draws no randomness of its own.

use hmac::{Hmac, Mac};
use protocol::Amount;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::slot::{self, SpinOutcome};

/// Names the algorithm above in every record; another algorithm gets another name.
pub const ALGORITHM: &str = "hmac-sha256/v1";

/// Longest client seed, so that a round's record stays small.
pub const CLIENT_SEED_LEN_MAX: usize = 64;

/// Words tried for one number. Each is skipped with a probability under one half (for a reel: one in two hundred
/// million), so the bound is never met; it is here because every loop has one.
const WORDS_PER_NUMBER_MAX: u32 = 128;

/// How many values a word of four bytes has.
const WORDS: u64 = 1 << 32;

const BLOCK_BYTES: usize = 32;
const WORD_BYTES: usize = 4;

/// Separates seeds derived here from anything else derived from the same secret.
const SEED_DOMAIN: &[u8] = b"pitboss/server-seed/v1";

/// The commitment to a server seed: lower-case hex of its SHA-256.
pub fn seed_hash(server_seed: &[u8; 32]) -> String {
    hex::encode(Sha256::digest(server_seed))
}

/// The n-th server seed of a player. Derived, so that no seed has to be stored and a restart changes nothing.
pub fn derive_seed(secret: &[u8], player: &[u8; 16], index: u32) -> [u8; 32] {
    let mut mac = keyed(secret);
    mac.update(SEED_DOMAIN);
    mac.update(player);
    mac.update(&index.to_be_bytes());
    mac.finalize().into_bytes().into()
}

/// Whether a client seed may be used: 1 to [`CLIENT_SEED_LEN_MAX`] printable ASCII characters.
pub fn client_seed_is_valid(client_seed: &str) -> bool {
    (1..=CLIENT_SEED_LEN_MAX).contains(&client_seed.len()) && client_seed.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Repeats a round of the slot from what is public after the reveal.
pub fn verify(server_seed: &[u8; 32], client_seed: &str, nonce: u64, stake: Amount) -> SpinOutcome {
    slot::spin(stake, &mut FairStream::new(server_seed, client_seed, nonce))
}

/// What a round's record says about its draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FairnessRecord<'a> {
    pub seed_hash: &'a str,
    pub client_seed: &'a str,
    pub nonce: u64,
    pub algorithm: &'a str,
}

impl<'a> FairnessRecord<'a> {
    pub fn new(seed_hash: &'a str, client_seed: &'a str, nonce: u64) -> Self {
        Self { seed_hash, client_seed, nonce, algorithm: ALGORITHM }
    }
}

/// The stream of numbers of one round.
pub struct FairStream {
    /// Keyed with the server seed and already fed `client_seed:nonce:`.
    prefix: Hmac<Sha256>,
    next_block: u32,
    block: [u8; BLOCK_BYTES],
    used: usize,
}

impl FairStream {
    pub fn new(server_seed: &[u8; 32], client_seed: &str, nonce: u64) -> Self {
        let mut prefix = keyed(server_seed);
        prefix.update(client_seed.as_bytes());
        prefix.update(b":");
        update_decimal(&mut prefix, nonce);
        prefix.update(b":");
        Self { prefix, next_block: 0, block: [0; BLOCK_BYTES], used: BLOCK_BYTES }
    }

    /// A number from 0 to `range - 1`, each as likely as the other. A range of zero gives zero.
    pub fn below(&mut self, range: u32) -> u32 {
        for _ in 0..WORDS_PER_NUMBER_MAX {
            let word = self.word();
            if let Some(number) = unbiased(u64::from(word), WORDS, u64::from(range)) {
                return number as u32;
            }
        }
        0
    }

    fn word(&mut self) -> u32 {
        if self.used == BLOCK_BYTES {
            let mut mac = self.prefix.clone();
            update_decimal(&mut mac, u64::from(self.next_block));
            self.block = mac.finalize().into_bytes().into();
            self.next_block = self.next_block.wrapping_add(1);
            self.used = 0;
        }
        let mut word = [0; WORD_BYTES];
        word.copy_from_slice(&self.block[self.used..self.used + WORD_BYTES]);
        self.used += WORD_BYTES;
        u32::from_be_bytes(word)
    }
}

impl std::fmt::Debug for FairStream {
    /// Tells nothing of the seed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FairStream").field("next_block", &self.next_block).finish_non_exhaustive()
    }
}

/// Maps one of `words` equally likely words to a number below `range`, or says that this word must be skipped:
/// without skipping the incomplete last run of words, small numbers would come more often.
const fn unbiased(word: u64, words: u64, range: u64) -> Option<u64> {
    if range == 0 {
        return Some(0);
    }
    if word < words - words % range { Some(word % range) } else { None }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length; the error case does not exist for it.
    Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key length"))
}

/// Feeds a number in decimal without allocating.
fn update_decimal(mac: &mut Hmac<Sha256>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    mac.update(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEED: [u8; 32] = [7; 32];

    /// Draws with the formula of the module's table and nothing of the stream's code.
    fn words_by_the_book(server_seed: &[u8; 32], client_seed: &str, nonce: u64, blocks: u32) -> Vec<u32> {
        (0..blocks)
            .flat_map(|block| {
                let mut mac = Hmac::<Sha256>::new_from_slice(server_seed).unwrap();
                mac.update(format!("{client_seed}:{nonce}:{block}").as_bytes());
                let bytes = mac.finalize().into_bytes();
                bytes.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn every_number_below_the_range_is_equally_likely() {
        for range in 1..=256_u64 {
            let mut seen = vec![0_u64; range as usize];
            let mut skipped = 0;
            for word in 0..256 {
                match unbiased(word, 256, range) {
                    Some(number) => seen[number as usize] += 1,
                    None => skipped += 1,
                }
            }
            assert!(seen.iter().all(|count| *count == 256 / range), "range {range}: {seen:?}");
            assert_eq!(skipped, 256 % range, "range {range} skips no more than it must");
        }
        assert_eq!(unbiased(5, 256, 0), Some(0));
    }

    #[test]
    fn a_skipped_word_gives_way_to_the_next_one() {
        // Just over half of all words: nearly every second word is skipped.
        let range = (1_u32 << 31) + 1;
        let mut stream = FairStream::new(&SEED, "skip", 1);
        let words = words_by_the_book(&SEED, "skip", 1, 8);
        let accepted: Vec<u32> = words.iter().copied().filter(|word| *word < range).collect();
        assert!(accepted.len() < words.len(), "the vector exercises skipping");
        let drawn: Vec<u32> = accepted.iter().map(|_| stream.below(range)).collect();
        assert_eq!(drawn, accepted);
    }

    proptest! {
        #[test]
        fn the_stream_is_the_published_formula(seed: [u8; 32], client in "[ -~]{1,64}", nonce: u64, range in 1_u32..=64) {
            let words = words_by_the_book(&seed, &client, nonce, 3);
            let mut stream = FairStream::new(&seed, &client, nonce);
            let limit = (WORDS - WORDS % u64::from(range)) as u128;
            for word in words.into_iter().filter(|word| u128::from(*word) < limit) {
                let number = stream.below(range);
                prop_assert!(number < range);
                prop_assert_eq!(number, word % range);
            }
        }
    }

    #[test]
    fn seeds_differ_by_secret_player_and_index() {
        let base = derive_seed(b"secret", &[1; 16], 0);
        assert_eq!(base, derive_seed(b"secret", &[1; 16], 0));
        for other in
            [derive_seed(b"secret2", &[1; 16], 0), derive_seed(b"secret", &[2; 16], 0), derive_seed(b"secret", &[1; 16], 1)]
        {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn client_seeds_are_short_and_printable() {
        assert!(client_seed_is_valid("lucky 7"));
        assert!(client_seed_is_valid(&"x".repeat(CLIENT_SEED_LEN_MAX)));
        for bad in ["", "ä", "a\n", &"x".repeat(CLIENT_SEED_LEN_MAX + 1)] {
            assert!(!client_seed_is_valid(bad), "{bad:?}");
        }
    }
}
