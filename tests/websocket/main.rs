//! The players' door: what docs/protocol.md says of the WebSocket, held against a running server.

mod bonus;
mod connection;
mod frames;
mod play;
mod protection;
mod shown;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared by all integration tests; each uses a part of it")]
mod support;
