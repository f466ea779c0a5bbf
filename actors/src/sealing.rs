//! Encryption at rest for hidden jackpot thresholds: XChaCha20-Poly1305 under a key that lives outside the ledger.

use chacha20poly1305::{
    Key, XChaCha20Poly1305, XNonce,
    aead::{Aead, KeyInit, Payload},
};
use protocol::{JackpotId, Micro};
use rules::jackpot::Secret;

/// Seals and opens jackpot secrets. Debug prints nothing of the key.
pub struct Sealer(XChaCha20Poly1305);

const NONCE_BYTES: usize = 24;

/// A sealed secret that does not open: another key, or tampering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed jackpot secret does not open with this key")]
pub struct SealError;

impl Sealer {
    pub fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(Key::from_slice(key)))
    }

    /// `nonce` is 24 fresh random bytes.
    pub fn seal(&self, jackpot: JackpotId, cycle: u64, secret: &Secret, nonce: [u8; NONCE_BYTES]) -> Result<Vec<u8>, SealError> {
        let mut plain = [0; 40];
        plain[..8].copy_from_slice(&secret.threshold.0.to_be_bytes());
        plain[8..].copy_from_slice(&secret.nonce);
        let payload = Payload { msg: &plain, aad: &associated(jackpot, cycle) };
        let mut sealed = nonce.to_vec();
        sealed.extend(self.0.encrypt(XNonce::from_slice(&nonce), payload).map_err(|_| SealError)?);
        Ok(sealed)
    }

    pub fn open(&self, jackpot: JackpotId, cycle: u64, sealed: &[u8]) -> Result<Secret, SealError> {
        let (nonce, cipher) = sealed.split_at_checked(NONCE_BYTES).ok_or(SealError)?;
        let payload = Payload { msg: cipher, aad: &associated(jackpot, cycle) };
        let plain = self.0.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| SealError)?;
        let (threshold, rest) = plain.split_at_checked(8).ok_or(SealError)?;
        Ok(Secret {
            threshold: Micro(i64::from_be_bytes(threshold.try_into().map_err(|_| SealError)?)),
            nonce: rest.try_into().map_err(|_| SealError)?,
        })
    }
}

fn associated(jackpot: JackpotId, cycle: u64) -> Vec<u8> {
    let mut bytes = jackpot.as_str().as_bytes().to_vec();
    bytes.extend_from_slice(&cycle.to_be_bytes());
    bytes
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_threshold_opens_for_its_cycle_only() {
        let sealer = Sealer::new(&[7; 32]);
        let jackpot: JackpotId = "sun".parse().unwrap();
        let secret = Secret { threshold: Micro(42), nonce: [9; 32] };
        let sealed = sealer.seal(jackpot, 3, &secret, [1; 24]).unwrap();
        assert!(sealer.open(jackpot, 3, &sealed).is_ok_and(|opened| opened == secret));
        assert!(sealer.open(jackpot, 4, &sealed).is_err());
        assert!(Sealer::new(&[8; 32]).open(jackpot, 3, &sealed).is_err());
        assert!(sealer.open(jackpot, 3, &[0; 5]).is_err());
        assert!(!sealed.windows(8).any(|window| window == 42_i64.to_be_bytes()));
    }
}
