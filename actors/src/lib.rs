//! The supervisor tree: players, rounds, wallets and the pipeline, and the handles the edge holds on them.
//!
//! ```text
//! root ─┬─ ledger ── wallet[shard]          one writer per shard; group commit
//!       ├─ floor ─┬─ players ── player      one per player, lazily started, passivated when idle
//!       │         └─ rounds ── round        one per game round
//!       └─ pipeline ── relay, projector, journalist, showman (leaderboard, jackpots, ops)
//! ```
//!
//! Invariants: an actor's state is a cache of storage, so any of them may be killed at any moment; no handler awaits another
//! actor; nobody hears of a change before it is durable; a dropped reply port means unknown, never no.

pub mod admission;
pub mod answer;
pub mod backoff;
pub mod catalogue;
pub mod command;
pub mod env;
pub mod floor;
pub mod game;
pub mod pipeline;
pub mod player;
pub mod reply;
pub mod root;
pub mod round;
pub mod sealing;
pub mod settings;
pub mod stats;
pub mod wallet;

pub use answer::{Answer, Responder};
pub use catalogue::Catalogue;
pub use env::{Env, SystemEnv};
pub use floor::Floor;
pub use root::Core;
pub use settings::Settings;
