//! The hosted games: the sandbox studio's slot behind the core's outcome source.

use std::{collections::HashMap, sync::Arc};

use actors::game::{Draw, Outcome, OutcomeSource};
use protocol::{GameId, event::RawJson};
use sandbox::{
    fairness::{FairStream, FairnessRecord},
    slot,
};
use serde_json::value::RawValue;

/// Starfall, drawn here.
struct Starfall;

impl OutcomeSource for Starfall {
    fn draw(&self, draw: &Draw<'_>) -> Outcome {
        let outcome = slot::spin(draw.stake, &mut FairStream::new(draw.server_seed, draw.client_seed, draw.nonce));
        let json = slot::detail_json(&outcome, &FairnessRecord::new(draw.seed_hash, draw.client_seed, draw.nonce));
        let detail = RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Outcome { win: outcome.win, detail: RawJson(detail) }
    }
}

/// Every game that is drawn here.
pub fn sources() -> HashMap<GameId, Arc<dyn OutcomeSource>> {
    let mut sources: HashMap<GameId, Arc<dyn OutcomeSource>> = HashMap::new();
    if let Ok(game) = slot::STARFALL.id.parse() {
        sources.insert(game, Arc::new(Starfall));
    }
    sources
}
