//! What every binary of the house shares: layered configuration, secrets on disk, short-lived tokens, logs and metrics.
//!
//! This crate knows no game, no money and no socket. Time is handed in wherever it decides something.

pub mod load;
pub mod secret;
pub mod telemetry;
pub mod token;
