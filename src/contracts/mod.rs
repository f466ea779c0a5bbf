//! The published contracts: OpenAPI for HTTP, AsyncAPI for WebSocket and events, one JSON Schema for each thing sent.
//!
//! Everything is generated from the Rust types that read and write the wire, keys sorted, so that the same code always gives
//! the same bytes. `docs/contracts/` holds the last export; a test fails when it is stale.

mod asyncapi;
mod frames;
mod openapi;
mod schema;
pub mod shapes;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use protocol::{Envelope, Fact, Problem, provider};
use serde_json::Value;

/// Version of the published documents; it grows with every change a consumer can see.
pub const VERSION: &str = "1.0.0";

/// Writes every file below `dir` and says which; files of earlier exports that no longer exist are not removed.
pub fn export(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (name, text) in files() {
        let path = dir.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text)?;
        paths.push(path);
    }
    Ok(paths)
}

/// Every file as (path below the folder, text).
pub fn files() -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([
        ("openapi.json".to_owned(), schema::text(openapi::document())),
        ("asyncapi.json".to_owned(), schema::text(asyncapi::document())),
    ]);
    let mut add = |name: String, value: Value| {
        let value = schema::named(value, &format!("urn:pitboss:schema:{name}"));
        files.insert(format!("schemas/{name}.json"), schema::text(value));
    };
    for (event_type, version, payload) in Fact::schemas() {
        add(format!("{event_type}.v{version}"), payload.to_value());
    }
    for (name, frame) in frames::all() {
        add(format!("frame-{name}"), frame);
    }
    for (name, body) in provider_bodies() {
        add(format!("provider-{name}"), body);
    }
    add("problem".to_owned(), schema::of::<Problem>());
    add("envelope".to_owned(), schema::of::<Envelope>());
    files
}

/// What travels between us and a provider, by name.
fn provider_bodies() -> Vec<(&'static str, Value)> {
    vec![
        ("authenticate", schema::of::<provider::Authenticate>()),
        ("authenticated", schema::of::<provider::Authenticated>()),
        ("balance", schema::of::<provider::BalanceQuery>()),
        ("balance-reply", schema::of::<provider::BalanceReply>()),
        ("bet", schema::of::<provider::Bet>()),
        ("win", schema::of::<provider::Win>()),
        ("rollback", schema::of::<provider::Rollback>()),
        ("round-close", schema::of::<provider::RoundClose>()),
        ("promo-win", schema::of::<provider::PromoWin>()),
        ("money-reply", schema::of::<provider::MoneyReply>()),
    ]
}
