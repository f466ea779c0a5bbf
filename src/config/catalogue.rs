//! Brands, games and jackpots: from configured text to the values the rules decide with.
//!
//! Sums that belong to a brand are decimal strings in its currency; stakes of games are minor units, since a game is shared
//! between brands. Whatever does not fit together is reported by key; what could be built is still returned, so that later
//! checks do not report the same mistake twice.

use std::{collections::HashMap, sync::Arc};

use access::load::ConfigError;
use jiff::tz::TimeZone;
use protocol::{Amount, Currency, GameId, JackpotId, ProviderId, Slug, TenantId};
use rules::{
    brand::{Brand, Game, GameKind, JackpotRate, OperatorLimits, Policy},
    jackpot::JackpotSpec,
};
use serde::{Deserialize, Serialize};

use super::{Check, Config, section};

/// One whole in parts per million.
pub(super) const PPM: u32 = 1_000_000;
/// Most steps a hosted game may have.
const STEPS_MAX: usize = 64;

/// What the floor runs on.
#[derive(Clone, Debug, Default)]
pub struct CatalogueParts {
    pub brands: HashMap<TenantId, Arc<Brand>>,
    /// A game as one brand offers it: the jackpot it feeds is that brand's.
    pub games: HashMap<(TenantId, GameId), Arc<Game>>,
    pub jackpots: Vec<JackpotSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindName {
    Slot,
    Table,
}

section! {
    BrandConfig {
        tenant: TenantId,
        name: String,
        licence: Slug,
        region: Slug,
        time_zone: String,
        currency: Currency,
        policy: PolicyConfig,
    }

    PolicyConfig {
        name: String,
        slot_cycle_ms: i64,
        table_cycle_ms: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reality_check_s: Option<i64>,
        session_inactivity_s: i64,
        limit_relax_s: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bonus_cash_out_multiple_max: Option<u32>,
        #[serde(default)]
        operator_limits: OperatorLimitsConfig,
    }

    GameConfig {
        id: GameId,
        name: String,
        provider: ProviderId,
        kind: KindName,
        enabled: bool,
        hosted: bool,
        min_stake: i64,
        max_stake: i64,
        steps: Vec<i64>,
        wager_weight_ppm: u32,
        bonus_eligible: bool,
        rtp_ppm: u32,
        tenants: Vec<TenantId>,
        #[serde(default)]
        jackpots: Vec<GameJackpot>,
    }

    GameJackpot { jackpot: JackpotId, rate_ppm: u32, }

    JackpotConfig { id: JackpotId, name: String, tenant: TenantId, seed: String, ceiling: String, reserve_ppm: u32, }
}

/// Absent ceilings do not bind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OperatorLimitsConfig {
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
}

impl Config {
    /// Brands, games and jackpots as the floor uses them.
    pub fn catalogue(&self) -> Result<CatalogueParts, ConfigError> {
        let mut check = Check::default();
        let parts = build(self, &mut check);
        if check.0.is_empty() { Ok(parts) } else { Err(ConfigError::invalid(check.0)) }
    }

    pub fn currency_of(&self, tenant: TenantId) -> Option<Currency> {
        self.brands.iter().find(|brand| brand.tenant == tenant).map(|brand| brand.currency)
    }
}

/// Builds what can be built and reports the rest.
pub(super) fn build(config: &Config, check: &mut Check) -> CatalogueParts {
    check.unique("brands", "tenant", config.brands.iter().map(|brand| brand.tenant));
    check.unique("jackpots", "id", config.jackpots.iter().map(|jackpot| jackpot.id));
    check.unique("games", "id", config.games.iter().map(|game| game.id));
    let mut parts = CatalogueParts::default();
    for (at, brand) in config.brands.iter().enumerate() {
        if let Some(built) = brand.build(&format!("brands.{at}"), check) {
            parts.brands.insert(built.tenant, Arc::new(built));
        }
    }
    for (at, jackpot) in config.jackpots.iter().enumerate() {
        parts.jackpots.extend(jackpot.build(config, &format!("jackpots.{at}"), check));
    }
    for (at, game) in config.games.iter().enumerate() {
        game.build(config, &format!("games.{at}"), check, &mut parts);
    }
    parts
}

/// Reads a sum in a brand's currency.
pub(super) fn money(check: &mut Check, key: String, currency: Currency, text: &str) -> Option<Amount> {
    match currency.parse(text) {
        Ok(amount) => Some(amount),
        Err(error) => {
            let example = currency.format(Amount(1000));
            check.fail(key, format!("{text:?}"), format!("a sum in {currency} such as \"{example}\" ({error})"));
            None
        }
    }
}

/// The currency of a brand that another entry names.
pub(super) fn brand_currency(config: &Config, check: &mut Check, key: String, tenant: TenantId) -> Option<Currency> {
    let currency = config.currency_of(tenant);
    if currency.is_none() {
        let known: Vec<_> = config.brands.iter().map(|brand| brand.tenant.to_string()).collect();
        check.fail(key, tenant, format!("a brand's tenant: {}", known.join(", ")));
    }
    currency
}

impl BrandConfig {
    fn build(&self, at: &str, check: &mut Check) -> Option<Brand> {
        let policy = self.policy.build(&format!("{at}.policy"), self.currency, check);
        let Ok(time_zone) = TimeZone::get(&self.time_zone) else {
            check.fail(format!("{at}.time_zone"), &self.time_zone, "an IANA time zone such as Europe/Malta");
            return None;
        };
        Some(Brand { tenant: self.tenant, licence: self.licence, region: self.region, time_zone, policy })
    }
}

impl PolicyConfig {
    fn build(&self, at: &str, currency: Currency, check: &mut Check) -> Policy {
        if self.name.is_empty() || self.name.len() > 64 {
            check.fail(format!("{at}.name"), &self.name, "a name and version of 1 to 64 characters, such as demo@1");
        }
        check.range(format!("{at}.slot_cycle_ms"), self.slot_cycle_ms, 0..=60_000);
        check.range(format!("{at}.table_cycle_ms"), self.table_cycle_ms, 0..=60_000);
        check.range(format!("{at}.session_inactivity_s"), self.session_inactivity_s, 10..=86_400);
        check.range(format!("{at}.limit_relax_s"), self.limit_relax_s, 0..=31_536_000);
        if let Some(interval) = self.reality_check_s {
            check.range(format!("{at}.reality_check_s"), interval, 1..=86_400);
        }
        if let Some(multiple) = self.bonus_cash_out_multiple_max {
            check.range(format!("{at}.bonus_cash_out_multiple_max"), multiple, 1..=10_000);
        }
        Policy {
            name: self.name.clone(),
            slot_cycle_ms: self.slot_cycle_ms,
            table_cycle_ms: self.table_cycle_ms,
            reality_check_s: self.reality_check_s,
            session_inactivity_s: self.session_inactivity_s,
            operator_limits: self.operator_limits.build(&format!("{at}.operator_limits"), currency, check),
            limit_relax_s: self.limit_relax_s,
            bonus_cash_out_multiple_max: self.bonus_cash_out_multiple_max,
        }
    }
}

impl OperatorLimitsConfig {
    fn build(&self, at: &str, currency: Currency, check: &mut Check) -> OperatorLimits {
        let mut ceiling =
            |key: &str, value: &Option<String>| value.as_ref().and_then(|text| money(check, format!("{at}.{key}"), currency, text));
        let stake = ceiling("stake", &self.stake);
        let wager = [
            ceiling("wager_day", &self.wager_day),
            ceiling("wager_week", &self.wager_week),
            ceiling("wager_month", &self.wager_month),
        ];
        let loss =
            [ceiling("loss_day", &self.loss_day), ceiling("loss_week", &self.loss_week), ceiling("loss_month", &self.loss_month)];
        if let Some(seconds) = self.session_time_s {
            check.range(format!("{at}.session_time_s"), seconds, 1..=2_592_000);
        }
        OperatorLimits { stake, wager, loss, session_time_s: self.session_time_s }
    }
}

impl JackpotConfig {
    fn build(&self, config: &Config, at: &str, check: &mut Check) -> Option<JackpotSpec> {
        let currency = brand_currency(config, check, format!("{at}.tenant"), self.tenant)?;
        let licence = config.brands.iter().find(|brand| brand.tenant == self.tenant)?.licence;
        check.range(format!("{at}.reserve_ppm"), self.reserve_ppm, 0..=PPM - 1);
        let seed = money(check, format!("{at}.seed"), currency, &self.seed)?;
        let ceiling = money(check, format!("{at}.ceiling"), currency, &self.ceiling)?;
        if ceiling <= seed || ceiling.to_micro().is_err() {
            check.fail(format!("{at}.ceiling"), &self.ceiling, format!("a sum above the seed of {}", self.seed));
            return None;
        }
        let Self { id, name, tenant, reserve_ppm, .. } = self.clone();
        Some(JackpotSpec { id, name, tenant, licence, currency, seed, ceiling, reserve_ppm })
    }
}

impl GameConfig {
    fn build(&self, config: &Config, at: &str, check: &mut Check, parts: &mut CatalogueParts) {
        self.check_stakes(at, check);
        check.range(format!("{at}.wager_weight_ppm"), self.wager_weight_ppm, 0..=PPM);
        check.range(format!("{at}.rtp_ppm"), self.rtp_ppm, 1..=PPM);
        if !config.providers.iter().any(|provider| provider.id == self.provider) {
            let known: Vec<_> = config.providers.iter().map(|provider| provider.id.to_string()).collect();
            check.fail(format!("{at}.provider"), self.provider, format!("a provider's id: {}", known.join(", ")));
        }
        let rates = self.rates(config, at, check);
        for (n, tenant) in self.tenants.iter().enumerate() {
            if brand_currency(config, check, format!("{at}.tenants.{n}"), *tenant).is_some() {
                parts.games.insert((*tenant, self.id), Arc::new(self.game(rates.get(tenant).copied())));
            }
        }
    }

    fn game(&self, jackpot: Option<JackpotRate>) -> Game {
        Game {
            id: self.id,
            name: self.name.clone(),
            provider: self.provider,
            kind: match self.kind {
                KindName::Slot => GameKind::Slot,
                KindName::Table => GameKind::Table,
            },
            enabled: self.enabled,
            hosted: self.hosted,
            min_stake: Amount(self.min_stake),
            max_stake: Amount(self.max_stake),
            steps: self.steps.iter().copied().map(Amount).collect(),
            wager_weight_ppm: self.wager_weight_ppm,
            bonus_eligible: self.bonus_eligible,
            jackpot,
            rtp_ppm: self.rtp_ppm,
        }
    }

    fn check_stakes(&self, at: &str, check: &mut Check) {
        // A stake in micro units must fit 64 bits, with room for every rate.
        check.range(format!("{at}.max_stake"), self.max_stake, 1..=i64::from(u32::MAX));
        check.range(format!("{at}.min_stake"), self.min_stake, 1..=self.max_stake.max(1));
        if self.steps.len() > STEPS_MAX {
            check.fail(format!("{at}.steps"), format!("{} steps", self.steps.len()), format!("at most {STEPS_MAX} steps"));
        }
        let mut least = self.min_stake;
        for (n, step) in self.steps.iter().enumerate() {
            check.range(format!("{at}.steps.{n}"), *step, least..=self.max_stake.max(least));
            least = step.saturating_add(1);
        }
    }

    /// Which jackpot the game feeds at which brand.
    fn rates(&self, config: &Config, at: &str, check: &mut Check) -> HashMap<TenantId, JackpotRate> {
        let mut rates = HashMap::new();
        for (n, GameJackpot { jackpot, rate_ppm }) in self.jackpots.iter().enumerate() {
            let key = format!("{at}.jackpots.{n}");
            check.range(format!("{key}.rate_ppm"), *rate_ppm, 1..=PPM);
            let Some(spec) = config.jackpots.iter().find(|spec| spec.id == *jackpot) else {
                let known: Vec<_> = config.jackpots.iter().map(|spec| spec.id.to_string()).collect();
                check.fail(format!("{key}.jackpot"), jackpot, format!("a jackpot's id: {}", known.join(", ")));
                continue;
            };
            if !self.tenants.contains(&spec.tenant) {
                check.fail(format!("{key}.jackpot"), jackpot, "a jackpot of a brand that offers the game");
            }
            if rates.insert(spec.tenant, JackpotRate { jackpot: *jackpot, rate_ppm: *rate_ppm }).is_some() {
                check.fail(format!("{key}.jackpot"), jackpot, "one jackpot for each brand");
            }
        }
        rates
    }
}
