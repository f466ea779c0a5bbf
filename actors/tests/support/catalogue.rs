//! What the house offers, and the one game that is drawn here.

use std::{collections::HashMap, sync::Arc};

use actors::{
    Catalogue,
    game::{Draw, Outcome, OutcomeSource},
};
use protocol::{Amount, Currency, GameId, JackpotId, ProviderId, TenantId, event::RawJson};
use rules::{Brand, Game, GameKind, JackpotRate, Policy, bonus::Offer, brand::OperatorLimits, jackpot::JackpotSpec};
use serde_json::value::RawValue;

pub fn tenant() -> TenantId {
    "demo".parse().unwrap()
}

pub fn hosted_game() -> GameId {
    "thirds".parse().unwrap()
}

pub fn provider_game() -> GameId {
    "reels".parse().unwrap()
}

pub fn studio() -> ProviderId {
    "studio".parse().unwrap()
}

pub fn jackpot_id() -> JackpotId {
    "sun".parse().unwrap()
}

pub const OFFER: &str = "welcome";
pub const OFFER_AMOUNT: i64 = 500;

/// Every third draw of a pair of seeds pays three times its stake, the others nothing.
pub struct Thirds;

impl Thirds {
    pub const fn win(stake: i64, nonce: u64) -> i64 {
        if nonce % 3 == 2 { stake * 3 } else { 0 }
    }
}

impl OutcomeSource for Thirds {
    fn draw(&self, draw: &Draw<'_>) -> Outcome {
        let detail = RawValue::from_string(format!("{{\"nonce\":{}}}", draw.nonce)).unwrap();
        Outcome { win: Amount(Self::win(draw.stake.0, draw.nonce)), detail: RawJson(detail) }
    }
}

/// What a test may choose of the house.
#[derive(Clone)]
pub struct World {
    pub policy: Policy,
    pub jackpot: Option<JackpotSpec>,
    /// Of every stake, parts per million.
    pub jackpot_rate_ppm: u32,
}

impl World {
    pub fn plain() -> Self {
        let policy = Policy {
            name: "test@1".to_owned(),
            slot_cycle_ms: 0,
            table_cycle_ms: 0,
            reality_check_s: None,
            session_inactivity_s: 1_200,
            operator_limits: OperatorLimits::default(),
            limit_relax_s: 86_400,
            bonus_cash_out_multiple_max: None,
        };
        Self { policy, jackpot: None, jackpot_rate_ppm: 0 }
    }

    /// With a jackpot that is won every few bets.
    pub fn with_jackpot() -> Self {
        let spec = JackpotSpec {
            id: jackpot_id(),
            name: "Sun".to_owned(),
            tenant: tenant(),
            licence: "mga".parse().unwrap(),
            currency: Currency::EUR,
            seed: Amount(50),
            ceiling: Amount(90),
            reserve_ppm: 250_000,
        };
        Self { jackpot: Some(spec), jackpot_rate_ppm: 15_700, ..Self::plain() }
    }

    fn game(&self, id: GameId, provider: ProviderId, hosted: bool) -> Game {
        Game {
            id,
            name: id.as_str().to_owned(),
            provider,
            kind: GameKind::Slot,
            enabled: true,
            hosted,
            min_stake: Amount(1),
            max_stake: Amount(100_000),
            steps: Vec::new(),
            wager_weight_ppm: 1_000_000,
            bonus_eligible: true,
            jackpot: self.jackpot.as_ref().map(|spec| JackpotRate { jackpot: spec.id, rate_ppm: self.jackpot_rate_ppm }),
            rtp_ppm: 960_000,
        }
    }

    pub fn catalogue(&self) -> Arc<Catalogue> {
        let brand = Brand {
            tenant: tenant(),
            licence: "mga".parse().unwrap(),
            region: "eu".parse().unwrap(),
            time_zone: jiff::tz::TimeZone::UTC,
            policy: self.policy.clone(),
        };
        let games = [self.game(hosted_game(), "house".parse().unwrap(), true), self.game(provider_game(), studio(), false)];
        let offer = Offer {
            name: OFFER.to_owned(),
            amount: Amount(OFFER_AMOUNT),
            multiplier: 3,
            max_bet: None,
            max_cash_out_multiple: None,
            days: 7,
        };
        Arc::new(Catalogue {
            brands: HashMap::from([(tenant(), Arc::new(brand))]),
            games: games.into_iter().map(|game| ((tenant(), game.id), Arc::new(game))).collect(),
            jackpots: self.jackpot.iter().cloned().collect(),
            offers: HashMap::from([(OFFER.to_owned(), offer)]),
        })
    }
}
