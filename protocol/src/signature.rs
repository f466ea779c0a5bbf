//! How a provider signs: HMAC-SHA256 over method, path, timestamp and raw body (MONEY.md, Providers).

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Names the key; two may be valid while one replaces the other.
pub const KEY_HEADER: &str = "x-pitboss-key";
/// Milliseconds since the Unix epoch, decimal.
pub const TIMESTAMP_HEADER: &str = "x-pitboss-timestamp";
/// Lower-case hex of the HMAC.
pub const SIGNATURE_HEADER: &str = "x-pitboss-signature";
/// `true` on an answer that was stored by an earlier, identical request.
pub const REPLAYED_HEADER: &str = "idempotent-replayed";

/// The signature's bytes. Fields are separated by a line feed, which neither method nor path nor timestamp can contain.
pub fn sign(secret: &[u8], method: &str, path: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
    mac(secret, method, path, timestamp, body).finalize().into_bytes().into()
}

/// The value of [`SIGNATURE_HEADER`].
pub fn sign_hex(secret: &[u8], method: &str, path: &str, timestamp: &str, body: &[u8]) -> String {
    hex::encode(sign(secret, method, path, timestamp, body))
}

/// Compares in constant time; a signature that is no hex of 32 bytes never matches.
pub fn verify_hex(secret: &[u8], method: &str, path: &str, timestamp: &str, body: &[u8], signature: &str) -> bool {
    let mut given = [0_u8; 32];
    if hex::decode_to_slice(signature, &mut given).is_err() {
        return false;
    }
    bool::from(sign(secret, method, path, timestamp, body).ct_eq(&given))
}

fn mac(secret: &[u8], method: &str, path: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    // HMAC takes a key of any length; the error case does not exist for it.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| unreachable!("HMAC takes any key length"));
    for part in [method, path, timestamp] {
        mac.update(part.as_bytes());
        mac.update(b"\n");
    }
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signed_part_counts() {
        let good = sign_hex(b"k", "POST", "/a", "1", b"{}");
        assert!(verify_hex(b"k", "POST", "/a", "1", b"{}", &good));
        for (secret, method, path, timestamp, body) in [
            (&b"x"[..], "POST", "/a", "1", &b"{}"[..]),
            (b"k", "PUT", "/a", "1", b"{}"),
            (b"k", "POST", "/b", "1", b"{}"),
            (b"k", "POST", "/a", "2", b"{}"),
            (b"k", "POST", "/a", "1", b"{ }"),
        ] {
            assert!(!verify_hex(secret, method, path, timestamp, body, &good));
        }
        assert!(!verify_hex(b"k", "POST", "/a", "1", b"{}", "zz"));
    }
}
