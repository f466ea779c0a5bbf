//! The edge: parses, authenticates and bounds what comes in, and knows no rule.
//!
//! | listener | who | what |
//! |---|---|---|
//! | public | players | page, HTTP, WebSocket |
//! | provider | game providers | signed callbacks of contract v1 |
//! | internal | ops | metrics, console |

pub mod answers;
pub mod internal;
pub mod pages;
pub mod provider;
pub mod public;
pub mod state;
pub mod ws;

pub use state::Edge;
