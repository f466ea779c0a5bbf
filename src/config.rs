//! The whole configuration: one validated struct per concern, every key commented in `config/default.toml`.
//!
//! A [`Config`] that exists is consistent: sizes are within their bounds and every reference between brands, games,
//! jackpots, offers, providers and demo players holds. Nothing outside this module reads a file or a variable for settings.

pub mod catalogue;
pub mod seed;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    fmt::Display,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use access::{
    load::{self, ConfigError, Invalid, Layers, Validate},
    secret::{Secret, SecretFile},
    telemetry::{self, LogFormat},
};
use protocol::{ProviderId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, de};

use catalogue::{BrandConfig, GameConfig, JackpotConfig};
use seed::{DemoPlayerConfig, OfferConfig};

/// The defaults, compiled in; the file is at the same time the reference of every key.
pub const DEFAULTS: &str = include_str!("../config/default.toml");
/// What environment variables begin with: `PITBOSS__WS__PING_INTERVAL_S=5`.
pub const ENV_PREFIX: &str = "PITBOSS__";
/// Length of a provider's secret that we make ourselves, bytes.
pub const PROVIDER_SECRET_BYTES: usize = 32;
/// A provider's key given as text has at least this many characters.
pub const PROVIDER_SECRET_CHARS_MIN: usize = 16;

/// Declares sections of the configuration: plain structs that refuse keys they do not know.
macro_rules! section {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }
    )*};
}
pub(crate) use section;

/// Which data a new store is seeded with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    Demo,
    /// The demo data and `[load] players` players of the load tester's brand.
    Load,
}

/// What happens to a connection that reads too slowly for its outbound queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowReader {
    /// The connection is closed; the client resumes.
    Close,
    /// Pushes are left out while the queue is full; replies never are, so a queue full of them closes.
    DropPushes,
}

section! {
    Config {
        scenario: Scenario,
        data: Data,
        listen: Listen,
        ws: Ws,
        http: Http,
        provider: ProviderRules,
        wallet: Wallet,
        actors: Actors,
        storage: Storage,
        segments: Segments,
        anchor: Anchor,
        token: Token,
        log: Log,
        demo: Demo,
        load: Load,
        providers: Vec<ProviderConfig>,
        brands: Vec<BrandConfig>,
        jackpots: Vec<JackpotConfig>,
        games: Vec<GameConfig>,
        offers: Vec<OfferConfig>,
        demo_players: Vec<DemoPlayerConfig>,
    }

    Data { dir: PathBuf, }

    Listen {
        #[serde(deserialize_with = "address")]
        public: SocketAddr,
        #[serde(deserialize_with = "address")]
        provider: SocketAddr,
        #[serde(deserialize_with = "address")]
        internal: SocketAddr,
        #[serde(deserialize_with = "address")]
        sandbox: SocketAddr,
    }

    Ws {
        frame_bytes_max: usize,
        in_flight_max: usize,
        outbound_frames_max: usize,
        slow_reader: SlowReader,
        ping_interval_s: u64,
        idle_timeout_s: u64,
        hello_timeout_s: u64,
        read_buffer_bytes: usize,
        connections_max: usize,
        /// Allowed `Origin` values; empty allows the host the request was made to.
        origins: Vec<String>,
    }

    Http { body_bytes_max: usize, }

    ProviderRules { replay_window_s: u64, }

    Wallet { batch_units_max: usize, batch_bytes_max: usize, queue_units_max: usize, }

    Actors {
        player_idle_s: u64,
        round_idle_s: u64,
        player_waiting_max: usize,
        round_waiting_max: usize,
        stale_retries_max: u32,
        relay_batches_max: usize,
        leaderboard_rows_max: usize,
        command_deadline_ms: u64,
        reply_timeout_ms: u64,
        restart_delay_min_ms: u64,
        restart_delay_max_ms: u64,
        restarts_max: u32,
        restarts_window_s: u64,
    }

    Storage { wal_autocheckpoint_pages: u32, cache_mib: u32, }

    Segments { segment_mib: u32, retention_mib: u32, }

    Anchor { interval_s: u64, }

    Token { session_s: u64, launch_s: u64, }

    Log { format: LogFormat, filter: String, }

    Demo { enabled: bool, sandbox: bool, }

    Load { tenant: protocol::TenantId, players: u32, balance: String, }

    ProviderConfig {
        id: ProviderId,
        name: String,
        /// Where its games are played; absent means the sandbox's address.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        keys: Vec<ProviderKeyConfig>,
    }

    ProviderKeyConfig {
        id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<Secret>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_file: Option<PathBuf>,
        /// RFC 3339; absent never ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        not_after: Option<String>,
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| de::Error::invalid_value(de::Unexpected::Str(&text), &"an address and port such as 127.0.0.1:8080"))
}

/// A provider with its keys read.
#[derive(Clone, Debug)]
pub struct Provider {
    pub id: ProviderId,
    /// Where its games are played.
    pub url: String,
    pub keys: Vec<ProviderKey>,
}

/// One signing key; two may be valid while one replaces the other.
#[derive(Clone, Debug)]
pub struct ProviderKey {
    pub id: String,
    pub secret: Secret,
    pub not_after: Option<Timestamp>,
}

impl ProviderKey {
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_after.is_none_or(|end| now <= end)
    }
}

impl Config {
    /// Reads defaults, the file, the environment and the values of command line options (dotted key, value).
    pub fn load(file: Option<&Path>, overrides: Vec<(&str, String)>) -> Result<Self, ConfigError> {
        load::load_layers(&Layers { defaults: DEFAULTS, file, environment: load::environment(), env_prefix: ENV_PREFIX, overrides })
    }

    /// The providers with their secrets. A secret file is relative to the data folder and made when it is not there.
    pub fn providers(&self) -> Result<Vec<Provider>, ConfigError> {
        let sandbox = format!("http://{}", self.listen.sandbox);
        let providers = self.providers.iter().enumerate().map(|(at, provider)| {
            let keys = provider.keys.iter().enumerate().map(|(n, key)| self.provider_key(&format!("providers.{at}.keys.{n}"), key));
            Ok(Provider {
                id: provider.id,
                url: provider.url.clone().unwrap_or_else(|| sandbox.clone()),
                keys: keys.collect::<Result<_, ConfigError>>()?,
            })
        });
        providers.collect()
    }

    fn provider_key(&self, at: &str, key: &ProviderKeyConfig) -> Result<ProviderKey, ConfigError> {
        let secret = match (&key.secret, &key.secret_file) {
            (Some(secret), _) => secret.clone(),
            (None, file) => {
                let file = file.clone().unwrap_or_default();
                SecretFile::load_or_create(&self.data.dir.join(&file), PROVIDER_SECRET_BYTES).map_err(|error| {
                    ConfigError::invalid(vec![Invalid::new(format!("{at}.secret_file"), file.display(), error.to_string())])
                })?
            }
        };
        let not_after = key.not_after.as_deref().and_then(rfc3339);
        Ok(ProviderKey { id: key.id.clone(), secret, not_after })
    }
}

/// The effective configuration as TOML, secrets hidden; what `pitboss config check` prints.
pub fn check(file: Option<&Path>) -> Result<String, ConfigError> {
    load::effective(&Config::load(file, Vec::new())?)
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_millisecond()))
}

impl Validate for Config {
    fn validate(&self) -> Vec<Invalid> {
        let mut check = Check::default();
        self.check_sizes(&mut check);
        self.check_times(&mut check);
        self.check_addresses(&mut check);
        self.check_providers(&mut check);
        if let Err(filter) = telemetry::check_filter(&self.log.filter) {
            check.fail("log.filter", &self.log.filter, format!("directives such as info or info,pitboss=debug ({filter})"));
        }
        let parts = catalogue::build(self, &mut check);
        seed::build(self, &parts, &mut check);
        check.0
    }
}

impl Config {
    fn check_sizes(&self, check: &mut Check) {
        let Self { ws, http, wallet, actors, storage, segments, .. } = self;
        check.range("ws.frame_bytes_max", ws.frame_bytes_max, 1024..=1 << 20);
        check.range("ws.in_flight_max", ws.in_flight_max, 1..=1024);
        check.range("ws.outbound_frames_max", ws.outbound_frames_max, 8..=65_536);
        check.range("ws.read_buffer_bytes", ws.read_buffer_bytes, 1024..=131_072);
        check.range("ws.connections_max", ws.connections_max, 1..=1_000_000);
        check.range("http.body_bytes_max", http.body_bytes_max, 1024..=1 << 20);
        check.range("wallet.batch_units_max", wallet.batch_units_max, 1..=4096);
        check.range("wallet.batch_bytes_max", wallet.batch_bytes_max, 65_536..=64 << 20);
        check.range("wallet.queue_units_max", wallet.queue_units_max, wallet.batch_units_max..=1 << 20);
        check.range("actors.player_waiting_max", actors.player_waiting_max, 1..=1024);
        check.range("actors.round_waiting_max", actors.round_waiting_max, 1..=1024);
        check.range("actors.stale_retries_max", actors.stale_retries_max, 1..=100);
        check.range("actors.relay_batches_max", actors.relay_batches_max, 1..=65_536);
        check.range("actors.leaderboard_rows_max", actors.leaderboard_rows_max, 1..=1000);
        check.range("actors.restarts_max", actors.restarts_max, 1..=1000);
        check.range("storage.wal_autocheckpoint_pages", storage.wal_autocheckpoint_pages, 100..=1_000_000);
        check.range("storage.cache_mib", storage.cache_mib, 1..=65_536);
        check.range("segments.segment_mib", segments.segment_mib, 1..=4096);
        check.range("segments.retention_mib", segments.retention_mib, segments.segment_mib.saturating_mul(2)..=1 << 24);
        check.range("load.players", self.load.players, 1..=1_000_000);
    }

    fn check_times(&self, check: &mut Check) {
        let Self { ws, actors, .. } = self;
        check.range("ws.ping_interval_s", ws.ping_interval_s, 1..=3600);
        check.range("ws.idle_timeout_s", ws.idle_timeout_s, ws.ping_interval_s.saturating_add(1)..=86_400);
        check.range("ws.hello_timeout_s", ws.hello_timeout_s, 1..=60);
        check.range("provider.replay_window_s", self.provider.replay_window_s, 1..=3600);
        check.range("actors.player_idle_s", actors.player_idle_s, 1..=86_400);
        check.range("actors.round_idle_s", actors.round_idle_s, 1..=86_400);
        check.range("actors.command_deadline_ms", actors.command_deadline_ms, 10..=60_000);
        check.range("actors.reply_timeout_ms", actors.reply_timeout_ms, actors.command_deadline_ms..=120_000);
        check.range("actors.restart_delay_min_ms", actors.restart_delay_min_ms, 1..=60_000);
        check.range("actors.restart_delay_max_ms", actors.restart_delay_max_ms, actors.restart_delay_min_ms..=600_000);
        check.range("actors.restarts_window_s", actors.restarts_window_s, 1..=86_400);
        check.range("anchor.interval_s", self.anchor.interval_s, 1..=3600);
        check.range("token.session_s", self.token.session_s, 1..=86_400);
        check.range("token.launch_s", self.token.launch_s, 1..=3600);
    }

    fn check_addresses(&self, check: &mut Check) {
        let Listen { public, provider, internal, sandbox } = self.listen;
        let mut seen = HashSet::new();
        for (key, listener) in [("public", public), ("provider", provider), ("internal", internal), ("sandbox", sandbox)] {
            // Port 0 asks the system for a free one, so it never collides.
            if listener.port() != 0 && !seen.insert(listener) {
                check.fail(format!("listen.{key}"), listener, "an address no other listener has");
            }
        }
        for (at, origin) in self.ws.origins.iter().enumerate() {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains(['/', ' '])) {
                check.fail(
                    format!("ws.origins.{at}"),
                    origin,
                    "scheme, host and port without a path, such as https://play.example",
                );
            }
        }
    }

    fn check_providers(&self, check: &mut Check) {
        check.unique("providers", "id", self.providers.iter().map(|provider| provider.id));
        for (at, provider) in self.providers.iter().enumerate() {
            let keys = format!("providers.{at}.keys");
            check.unique(&keys, "id", provider.keys.iter().map(|key| &key.id));
            for (n, key) in provider.keys.iter().enumerate() {
                key.check(&format!("{keys}.{n}"), check);
            }
            if let Some(url) = provider.url.as_ref().filter(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
                check.fail(format!("providers.{at}.url"), url, "an http:// or https:// address");
            }
        }
    }
}

impl ProviderKeyConfig {
    fn check(&self, at: &str, check: &mut Check) {
        if self.id.is_empty() || self.id.len() > 64 || !self.id.bytes().all(|b| b.is_ascii_graphic()) {
            check.fail(format!("{at}.id"), &self.id, "1 to 64 printable ASCII characters");
        }
        match (&self.secret, &self.secret_file) {
            (Some(secret), None) if secret.expose().len() < PROVIDER_SECRET_CHARS_MIN => {
                check.fail(format!("{at}.secret"), "(hidden)", format!("at least {PROVIDER_SECRET_CHARS_MIN} characters"));
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => check.fail(at, "a key", "exactly one of secret and secret_file"),
        }
        if let Some(end) = self.not_after.as_ref().filter(|end| rfc3339(end).is_none()) {
            check.fail(format!("{at}.not_after"), end, "a time such as 2030-01-31T00:00:00Z");
        }
    }
}

/// Collects what is wrong, so that one start reports all of it.
#[derive(Default)]
pub(crate) struct Check(Vec<Invalid>);

impl Check {
    fn fail(&mut self, key: impl Into<String>, value: impl Display, allowed: impl Into<String>) {
        self.0.push(Invalid::new(key, value, allowed));
    }

    fn range<N: PartialOrd + Display>(&mut self, key: impl Into<String>, value: N, allowed: RangeInclusive<N>) {
        if !allowed.contains(&value) {
            self.fail(key, value, format!("{} to {}", allowed.start(), allowed.end()));
        }
    }

    /// Every element of a list has another value of `field`.
    fn unique<T: std::hash::Hash + Eq + Display>(&mut self, list: &str, field: &str, values: impl Iterator<Item = T>) {
        let mut seen = HashSet::new();
        for (at, value) in values.enumerate() {
            let text = value.to_string();
            if !seen.insert(value) {
                self.fail(format!("{list}.{at}.{field}"), text, "a value no other entry of the list has");
            }
        }
    }
}
