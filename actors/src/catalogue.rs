//! Brands, games, jackpots and offers in force, looked up by every decision. Built once from configuration.

use std::{collections::HashMap, sync::Arc};

use protocol::{GameId, JackpotId, TenantId};
use rules::{Brand, Game, bonus::Offer, jackpot::JackpotSpec};

/// What the operator offers.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub brands: HashMap<TenantId, Arc<Brand>>,
    pub games: HashMap<(TenantId, GameId), Arc<Game>>,
    pub jackpots: Vec<JackpotSpec>,
    pub offers: HashMap<String, Offer>,
}

impl Catalogue {
    pub fn brand(&self, tenant: TenantId) -> Option<&Arc<Brand>> {
        self.brands.get(&tenant)
    }

    pub fn game(&self, tenant: TenantId, game: GameId) -> Option<&Arc<Game>> {
        self.games.get(&(tenant, game))
    }

    pub fn jackpot(&self, jackpot: JackpotId) -> Option<&JackpotSpec> {
        self.jackpots.iter().find(|spec| spec.id == jackpot)
    }

    /// A tenant's games in a stable order.
    pub fn games_of(&self, tenant: TenantId) -> Vec<&Arc<Game>> {
        let mut games: Vec<_> = self.games.iter().filter(|((t, _), _)| *t == tenant).map(|(_, game)| game).collect();
        games.sort_by_key(|game| game.id);
        games
    }
}
