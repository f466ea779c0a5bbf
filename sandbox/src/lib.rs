//! A studio to play against: a published slot, provably fair draws, and a fake game provider that speaks the real
//! provider contract over HTTP.
//!
//! | module | promise |
//! |---|---|
//! | [`slot`] | pure: stops in, win out, integers only; its figures are confirmed by counting every combination |
//! | [`fairness`] | pure: seeds in, numbers out; anyone can repeat a draw after the reveal |
//! | [`client`] | signs and sends one call of the contract; never retries, never calls an unknown outcome a refusal |
//! | [`studio`] | the server: bets, draws, pays; takes back what is unknown; remembers what it owes across restarts |
//!
//! The slot is played in two ways. Hosted, the casino itself calls [`slot::spin`] with a [`fairness::FairStream`] and
//! keeps [`slot::detail_json`] with the round. At the provider's, the [`studio`] does the same and settles by callbacks:
//!
//! ```
//! use protocol::Amount;
//! use sandbox::{fairness, slot};
//!
//! let server_seed = fairness::derive_seed(b"a secret", &[7; 16], 0);
//! let hash = fairness::seed_hash(&server_seed); // shown before the draw
//! let mut stream = fairness::FairStream::new(&server_seed, "my lucky words", 0);
//! let outcome = slot::spin(Amount(100), &mut stream);
//! let detail = slot::detail_json(&outcome, &fairness::FairnessRecord::new(&hash, "my lucky words", 0));
//! assert!(detail.contains("hmac-sha256/v1"));
//! // After the reveal anyone repeats it.
//! assert_eq!(outcome, fairness::verify(&server_seed, "my lucky words", 0, Amount(100)));
//! ```

pub mod client;
pub mod fairness;
pub mod slot;
pub mod studio;

pub use client::{CallError, StudioClient};
pub use studio::{Studio, StudioConfig, StudioError, Timing};
