//! Must-hit-by jackpots: contribution with exact carry, a hidden threshold committed beforehand, the bet that crosses it wins.
//!
//! All sums are micro units of the jackpot's currency while they add up and whole minor units once they move. The meter is
//! `main · 10⁶ + carry`; what a bet adds is stake × rate, so the chance to cross is proportional to the stake.

use protocol::{Amount, Currency, JackpotId, Micro, Slug, TenantId};
use serde::{Deserialize, Serialize};

/// A jackpot's fixed parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct JackpotSpec {
    pub id: JackpotId,
    pub name: String,
    pub tenant: TenantId,
    pub licence: Slug,
    pub currency: Currency,
    /// What the pool starts a cycle with.
    pub seed: Amount,
    /// The pool is won at or below this.
    pub ceiling: Amount,
    /// Share of each contribution that goes to the reserve, which funds the next seed; parts per million.
    pub reserve_ppm: u32,
}

/// The jackpot's record between commits. The pools' balances are the record's holdings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JackpotState {
    pub cycle: u64,
    /// Below a minor unit and not yet moved; may be negative after a rollback.
    pub carry_main: Micro,
    pub carry_reserve: Micro,
    /// SHA-256(nonce ‖ what ‖ cycle ‖ threshold), public from the reset on.
    pub commitment: [u8; 32],
    /// Threshold and nonce, encrypted by the shell.
    pub sealed: Vec<u8>,
}

/// The hidden side of a cycle; never logged, emitted or stored in the clear.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret {
    pub threshold: Micro,
    pub nonce: [u8; 32],
}
