//! The pure domain: what a bet, a limit, a bonus, a jackpot and a round may do.
//!
//! Invariant: nothing here does IO, reads a clock, draws randomness or knows an async runtime. Time, ids, seeds and outcomes
//! are arguments; the answer is a [`Plan`] or a [`Refused`], both values.

pub mod bet;
pub mod bonus;
pub mod brand;
pub mod jackpot;
pub mod limits;
pub mod plan;
pub mod player;
pub mod postings;
pub mod protection;
pub mod provider;
pub mod reversal;
pub mod round;
pub mod session;
pub mod windows;

pub use brand::{Brand, Game, GameKind, JackpotRate, Policy};
pub use plan::{Contribution, Decision, Done, Plan, Refused, Rejected};
pub use player::{Player, PlayerState};
pub use round::RoundState;
