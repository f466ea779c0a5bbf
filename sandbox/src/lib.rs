//! A studio to play against: a published slot, provably fair draws, and a fake game provider with an HTTP server.
//!
//! | module | promise |
//! |---|---|
//! | [`slot`] | pure: stops in, win out, integers only; figures confirmed by counting every combination |
//! | [`fairness`] | pure: seeds in, numbers out; anyone can repeat a draw after the reveal |

pub mod fairness;
pub mod slot;
