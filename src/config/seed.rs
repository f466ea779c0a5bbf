//! What a new store is seeded with: bonus offers, demo players and the load tester's players.
//!
//! Seeding sends the same commands a person would: money comes by ledger transfer, limits by the limit command.

use std::collections::HashMap;

use access::load::{ConfigError, Invalid};
use protocol::{
    Amount, Currency, Slug, TenantId,
    frame::{LimitKind, LimitWindow, SetLimit},
};
use rules::bonus::{GRANT_DAYS_MAX, Offer};
use serde::{Deserialize, Serialize};

use super::{
    Check, Config,
    catalogue::{CatalogueParts, brand_currency, money},
    section,
};

section! {
    OfferConfig {
        id: Slug,
        tenant: TenantId,
        /// Decimal string in the brand's currency.
        amount: String,
        /// How often the amount has to be wagered.
        wagering_multiple: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_bet: Option<String>,
        /// Most that converts, as a multiple of the amount.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_cash_out_multiple: Option<u32>,
        days: u32,
    }

    DemoPlayerConfig {
        key: Slug,
        name: String,
        tenant: TenantId,
        currency: Currency,
        balance: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<Slug>,
        #[serde(default)]
        limits: PlayerLimitsConfig,
    }
}

/// Limits the player sets at the start; sums are decimal strings.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlayerLimitsConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stake: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wager_day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wager_week: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wager_month: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_week: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_month: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_time_s: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reality_check_s: Option<i64>,
}

/// A player of the demo, ready to be seeded.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoPlayer {
    /// What the demo login names.
    pub key: Slug,
    pub name: String,
    pub tenant: TenantId,
    pub currency: Currency,
    pub balance: Amount,
    /// The name of the offer to issue.
    pub offer: Option<String>,
    pub limits: Vec<SetLimit>,
}

/// The load tester's players: `count` of them, alike.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadPlayers {
    pub tenant: TenantId,
    pub currency: Currency,
    pub count: u32,
    pub balance: Amount,
}

/// Everything a store is seeded with.
#[derive(Clone, Debug, Default)]
pub(super) struct Seed {
    offers: HashMap<String, Offer>,
    demo_players: Vec<DemoPlayer>,
    load: Option<LoadPlayers>,
}

impl Config {
    /// The bonus offers by name.
    pub fn offers(&self) -> Result<HashMap<String, Offer>, ConfigError> {
        self.seed().map(|seed| seed.offers)
    }

    pub fn demo_players(&self) -> Result<Vec<DemoPlayer>, ConfigError> {
        self.seed().map(|seed| seed.demo_players)
    }

    pub fn load_players(&self) -> Result<LoadPlayers, ConfigError> {
        let missing = || ConfigError::invalid(vec![Invalid::new("load.tenant", self.load.tenant, "a brand's tenant")]);
        self.seed()?.load.ok_or_else(missing)
    }

    fn seed(&self) -> Result<Seed, ConfigError> {
        let parts = self.catalogue()?;
        let mut check = Check::default();
        let seed = build(self, &parts, &mut check);
        if check.0.is_empty() { Ok(seed) } else { Err(ConfigError::invalid(check.0)) }
    }
}

/// Builds what can be built and reports the rest.
pub(super) fn build(config: &Config, parts: &CatalogueParts, check: &mut Check) -> Seed {
    check.unique("offers", "id", config.offers.iter().map(|offer| offer.id));
    check.unique("demo_players", "key", config.demo_players.iter().map(|player| player.key));
    let mut seed = Seed::default();
    for (at, offer) in config.offers.iter().enumerate() {
        seed.offers.extend(offer.build(config, &format!("offers.{at}"), check).map(|offer| (offer.name.clone(), offer)));
    }
    for (at, player) in config.demo_players.iter().enumerate() {
        let built = player.build(config, &format!("demo_players.{at}"), check);
        if let Some(player) = &built {
            check_jackpot_currency(parts, player, &format!("demo_players.{at}.currency"), check);
        }
        seed.demo_players.extend(built);
    }
    seed.load = load_players(config, check);
    seed
}

fn load_players(config: &Config, check: &mut Check) -> Option<LoadPlayers> {
    let tenant = config.load.tenant;
    let currency = brand_currency(config, check, "load.tenant".to_owned(), tenant)?;
    let balance = money(check, "load.balance".to_owned(), currency, &config.load.balance)?;
    Some(LoadPlayers { tenant, currency, count: config.load.players, balance })
}

/// A game that feeds a jackpot takes stakes in the jackpot's currency only, so its brand's players need that currency.
fn check_jackpot_currency(parts: &CatalogueParts, player: &DemoPlayer, key: &str, check: &mut Check) {
    let wrong = parts.jackpots.iter().find(|jackpot| jackpot.tenant == player.tenant && jackpot.currency != player.currency);
    if let Some(jackpot) = wrong {
        check.fail(key, player.currency, format!("{}, the currency of the brand's jackpot {}", jackpot.currency, jackpot.id));
    }
}

impl OfferConfig {
    fn build(&self, config: &Config, at: &str, check: &mut Check) -> Option<Offer> {
        let currency = brand_currency(config, check, format!("{at}.tenant"), self.tenant)?;
        check.range(format!("{at}.days"), self.days, 1..=GRANT_DAYS_MAX);
        check.range(format!("{at}.wagering_multiple"), self.wagering_multiple, 1..=1000);
        if let Some(multiple) = self.max_cash_out_multiple {
            check.range(format!("{at}.max_cash_out_multiple"), multiple, 1..=10_000);
        }
        let max_bet = self.max_bet.as_ref().and_then(|text| money(check, format!("{at}.max_bet"), currency, text));
        let amount = money(check, format!("{at}.amount"), currency, &self.amount)?;
        if !amount.is_positive() || amount.checked_mul(i64::from(self.wagering_multiple)).is_err() {
            check.fail(format!("{at}.amount"), &self.amount, "a sum above zero whose wagering requirement can be counted");
            return None;
        }
        let Self { max_cash_out_multiple, days, wagering_multiple: multiplier, .. } = *self;
        Some(Offer { name: self.id.to_string(), amount, multiplier, max_bet, max_cash_out_multiple, days })
    }
}

impl DemoPlayerConfig {
    fn build(&self, config: &Config, at: &str, check: &mut Check) -> Option<DemoPlayer> {
        let currency = brand_currency(config, check, format!("{at}.tenant"), self.tenant)?;
        let limits = self.limits.build(&format!("{at}.limits"), self.currency, check);
        let balance = money(check, format!("{at}.balance"), self.currency, &self.balance)?;
        let offered = |id: &Slug| config.offers.iter().any(|offer| offer.id == *id && offer.tenant == self.tenant);
        if let Some(id) = self.offer.filter(|id| !offered(id) || self.currency != currency) {
            check.fail(
                format!("{at}.offer"),
                id,
                format!("an offer of brand {}, for players of its currency {currency}", self.tenant),
            );
        }
        let Self { key, name, tenant, currency, offer, .. } = self.clone();
        Some(DemoPlayer { key, name, tenant, currency, balance, offer: offer.map(|id| id.to_string()), limits })
    }
}

impl PlayerLimitsConfig {
    fn build(&self, at: &str, currency: Currency, check: &mut Check) -> Vec<SetLimit> {
        let sums = [
            ("stake", LimitKind::Stake, None, &self.stake),
            ("wager_day", LimitKind::Wager, Some(LimitWindow::Day), &self.wager_day),
            ("wager_week", LimitKind::Wager, Some(LimitWindow::Week), &self.wager_week),
            ("wager_month", LimitKind::Wager, Some(LimitWindow::Month), &self.wager_month),
            ("loss_day", LimitKind::Loss, Some(LimitWindow::Day), &self.loss_day),
            ("loss_week", LimitKind::Loss, Some(LimitWindow::Week), &self.loss_week),
            ("loss_month", LimitKind::Loss, Some(LimitWindow::Month), &self.loss_month),
        ];
        let seconds = [
            ("session_time_s", LimitKind::SessionTime, self.session_time_s),
            ("reality_check_s", LimitKind::RealityCheck, self.reality_check_s),
        ];
        let mut limits = Vec::new();
        for (key, limit, window, text) in sums {
            let value = text.as_ref().and_then(|text| money(check, format!("{at}.{key}"), currency, text));
            limits.extend(value.map(|value| SetLimit { limit, window, value: Some(value.0) }));
        }
        for (key, limit, value) in seconds {
            if let Some(value) = value {
                check.range(format!("{at}.{key}"), value, 1..=2_592_000);
                limits.push(SetLimit { limit, window: None, value: Some(value) });
            }
        }
        limits
    }
}
