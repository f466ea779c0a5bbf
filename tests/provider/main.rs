//! The providers' door: contract v1 of docs/protocol.md, held against a running server.

mod reversals;
mod rounds;
mod signatures;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared by all integration tests; each uses a part of it")]
mod support;
