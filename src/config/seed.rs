//! What a new store is seeded with: bonus offers, demo players and the load tester's players.
//!
//! Seeding sends the same commands a person would: money comes by ledger transfer, limits by the limit command.

use access::load::{ConfigError, Invalid};
use protocol::{
    Amount, Currency, Slug, TenantId,
    frame::{LimitKind, LimitWindow, SetLimit},
};
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
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_cash_out: Option<String>,
        valid_s: i64,
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

/// A bonus offer with its sums in minor units.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    pub id: Slug,
    pub tenant: TenantId,
    pub currency: Currency,
    pub amount: Amount,
    pub requirement: Amount,
    pub max_bet: Option<Amount>,
    pub max_cash_out: Option<Amount>,
    /// From issue to deadline, seconds.
    pub valid_s: i64,
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
    pub offer: Option<Offer>,
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
    offers: Vec<Offer>,
    demo_players: Vec<DemoPlayer>,
    load: Option<LoadPlayers>,
}

impl Config {
    pub fn offers(&self) -> Result<Vec<Offer>, ConfigError> {
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
        seed.offers.extend(offer.build(config, &format!("offers.{at}"), check));
    }
    for (at, player) in config.demo_players.iter().enumerate() {
        let built = player.build(config, &seed.offers, &format!("demo_players.{at}"), check);
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
        check.range(format!("{at}.valid_s"), self.valid_s, 60..=31_536_000);
        check.range(format!("{at}.wagering_multiple"), self.wagering_multiple, 1..=1000);
        let optional = |check: &mut Check, key: &str, text: &Option<String>| {
            text.as_ref().and_then(|text| money(check, format!("{at}.{key}"), currency, text))
        };
        let max_bet = optional(check, "max_bet", &self.max_bet);
        let max_cash_out = optional(check, "max_cash_out", &self.max_cash_out);
        let amount = money(check, format!("{at}.amount"), currency, &self.amount)?;
        match amount.checked_mul(i64::from(self.wagering_multiple)) {
            Ok(requirement) if amount.is_positive() => Some(Offer {
                id: self.id,
                tenant: self.tenant,
                currency,
                amount,
                requirement,
                max_bet,
                max_cash_out,
                valid_s: self.valid_s,
            }),
            _ => {
                check.fail(format!("{at}.amount"), &self.amount, "a sum above zero whose wagering requirement can be counted");
                None
            }
        }
    }
}

impl DemoPlayerConfig {
    fn build(&self, config: &Config, offers: &[Offer], at: &str, check: &mut Check) -> Option<DemoPlayer> {
        brand_currency(config, check, format!("{at}.tenant"), self.tenant)?;
        let limits = self.limits.build(&format!("{at}.limits"), self.currency, check);
        let balance = money(check, format!("{at}.balance"), self.currency, &self.balance)?;
        let fits = |offer: &&Offer| Some(offer.id) == self.offer && offer.tenant == self.tenant && offer.currency == self.currency;
        let offer = offers.iter().find(fits).cloned();
        if let (Some(id), None) = (self.offer, &offer) {
            check.fail(format!("{at}.offer"), id, "an offer of the same brand and currency");
        }
        let Self { key, name, tenant, currency, .. } = self.clone();
        Some(DemoPlayer { key, name, tenant, currency, balance, offer, limits })
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
