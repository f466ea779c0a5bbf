//! The defaults hold, and every kind of mistake is found and named.

use super::*;

fn read(overrides: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
    load::load_layers(&Layers {
        defaults: DEFAULTS,
        env_prefix: ENV_PREFIX,
        overrides: overrides.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        ..Layers::default()
    })
}

fn read_text(change: impl Fn(String) -> String) -> Result<Config, ConfigError> {
    load::load_layers(&Layers { defaults: &change(DEFAULTS.to_owned()), env_prefix: ENV_PREFIX, ..Layers::default() })
}

fn keys(result: Result<Config, ConfigError>) -> Vec<String> {
    match result {
        Err(ConfigError::Keys(keys)) => keys.into_iter().map(|bad| bad.key).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_defaults_make_a_catalogue() {
    let config = read(&[]).unwrap();
    let parts = config.catalogue().unwrap();
    let tenant = |name: &str| name.parse::<protocol::TenantId>().unwrap();
    let starfall = |name: &str| parts.games[&(tenant(name), "starfall".parse().unwrap())].clone();
    assert_eq!(parts.brands.len(), 3);
    assert_eq!(parts.brands[&tenant("demo")].policy.slot_cycle_ms, 2500);
    assert_eq!(parts.brands[&tenant("reality")].policy.reality_check_s, Some(1));
    assert_eq!(parts.brands[&tenant("load")].policy.slot_cycle_ms, 0);
    assert_eq!(starfall("demo").jackpot.unwrap().jackpot.as_str(), "sunburst");
    assert_eq!(starfall("load").jackpot.unwrap().jackpot.as_str(), "load-jackpot");
    assert_eq!(starfall("reality").jackpot, None);
    assert_eq!(parts.jackpots[0].ceiling, protocol::Amount(150_000));

    let players = config.demo_players().unwrap();
    let ben = players.iter().find(|player| player.key.as_str() == "ben").unwrap();
    let offer = &config.offers().unwrap()[ben.offer.as_ref().unwrap()];
    assert_eq!((offer.amount, offer.multiplier), (protocol::Amount(2_000), 10));
    assert_eq!(players.iter().find(|player| player.key.as_str() == "cyd").unwrap().limits.len(), 5);
    assert_eq!(config.load_players().unwrap().balance, protocol::Amount(100_000_000));
}

#[test]
fn the_slot_is_offered_as_its_studio_publishes_it() {
    let config = read(&[]).unwrap();
    let slot = sandbox::slot::STARFALL;
    for id in [slot.id, sandbox::slot::STARFALL_REMOTE_ID] {
        let game = config.games.iter().find(|game| game.id.as_str() == id).unwrap();
        assert_eq!(game.rtp_ppm, slot.rtp_ppm);
        assert!(game.steps.iter().all(|step| step % i64::from(slot.lines) == 0), "{id}: {:?}", game.steps);
        let allowed = game.min_stake..=game.max_stake;
        assert!(game.hosted || slot.stake_steps.iter().all(|step| allowed.contains(step)), "{id}");
    }
}

#[test]
fn every_number_has_a_bound() {
    let table: toml::Table = DEFAULTS.parse().unwrap();
    // Two switches between seed data; every other number of a section is a size, a count or a time.
    let mut numbers = 0;
    for (section, values) in table.iter().filter_map(|(name, value)| Some((name, value.as_table()?))) {
        for key in values.iter().filter(|(_, value)| value.is_integer()).map(|(key, _)| key) {
            let name = format!("{section}.{key}");
            let found = load::load_layers::<Config>(&Layers {
                defaults: DEFAULTS,
                env_prefix: ENV_PREFIX,
                overrides: vec![(&name, "0".to_owned())],
                ..Layers::default()
            });
            let keys = keys(found);
            assert!(keys.contains(&name), "{name} = 0 is taken: {keys:?}");
            numbers += 1;
        }
    }
    assert!(numbers > 30, "{numbers}");
}

#[test]
fn wrong_values_are_named() {
    assert_eq!(keys(read(&[("ws.frame_bytes_max", "12")])), ["ws.frame_bytes_max"]);
    assert_eq!(keys(read(&[("ws.frame_bytes", "12")])), ["ws.frame_bytes"]);
    assert_eq!(keys(read(&[("listen.public", "8080")])), ["listen.public"]);
    assert_eq!(keys(read(&[("listen.public", "nowhere:1")])), ["listen.public"]);
    assert_eq!(keys(read(&[("listen.provider", "127.0.0.1:8080")])), ["listen.provider"]);
    assert_eq!(keys(read(&[("scenario", "prod")])), ["scenario"]);
    assert_eq!(keys(read(&[("log.filter", "=,=")])), ["log.filter"]);
    assert_eq!(keys(read(&[("ws.origins", "[\"play.example\"]")])), ["ws.origins.0"]);
    assert_eq!(keys(read(&[("load.tenant", "nobody")])), ["load.tenant"]);
    assert!(read(&[("ws.origins", "[\"https://play.example:8443\"]"), ("listen.public", "0.0.0.0:0")]).is_ok());
}

#[test]
fn references_and_sums_are_checked_by_key() {
    let cases = [
        ("time_zone = \"Europe/Malta\"", "time_zone = \"Europe/Atlantis\"", "brands.0.time_zone"),
        ("seed = \"1000.00\"", "seed = \"1500.00\"", "jackpots.0.ceiling"),
        ("seed = \"1000.00\"", "seed = \"1000.001\"", "jackpots.0.seed"),
        ("reserve_ppm = 200000", "reserve_ppm = 1000000", "jackpots.0.reserve_ppm"),
        ("steps = [20, 40", "steps = [10, 40", "games.0.steps.0"),
        ("steps = [20, 40", "steps = [40, 20", "games.0.steps.1"),
        ("rate_ppm = 10000 ", "rate_ppm = 1000001 ", "games.0.jackpots.0.rate_ppm"),
        ("jackpot = \"sunburst\"", "jackpot = \"moonburst\"", "games.0.jackpots.0.jackpot"),
        ("tenants = [\"demo\"", "tenants = [\"dome\"", "games.0.tenants.0"),
        ("provider = \"sandbox\"", "provider = \"studio\"", "games.0.provider"),
        ("balance = \"100.00\"", "balance = \"-1\"", "demo_players.0.balance"),
        ("offer = \"welcome\"", "offer = \"farewell\"", "demo_players.1.offer"),
        ("days = 30", "days = 0", "offers.0.days"),
        ("amount = \"20.00\"", "amount = \"0\"", "offers.0.amount"),
        ("key = \"ben\"", "key = \"ana\"", "demo_players.1.key"),
        (
            "name = \"Ana\"\ntenant = \"demo\"\ncurrency = \"EUR\"",
            "name = \"Ana\"\ntenant = \"demo\"\ncurrency = \"JPY\"",
            "demo_players.0.currency",
        ),
        ("tenant = \"reality\"\nname", "tenant = \"demo\"\nname", "brands.1.tenant"),
        ("secret_file = \"keys/provider-sandbox-1.key\"", "secret = \"short\"", "providers.0.keys.0.secret"),
        ("secret_file = \"keys/provider-sandbox-1.key\"", "", "providers.0.keys.0"),
        ("id = \"sandbox-1\"", "id = \"sandbox-1\"\nnot_after = \"soon\"", "providers.0.keys.0.not_after"),
    ];
    for (from, to, key) in cases {
        let found = keys(read_text(|text| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1)
        }));
        assert!(found.contains(&key.to_owned()), "{to}: {found:?}");
    }
}

#[test]
fn secrets_are_read_but_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let config = read(&[("data.dir", dir)]).unwrap();
    let providers = config.providers().unwrap();
    assert_eq!(providers[0].keys[0].secret.expose().len(), PROVIDER_SECRET_BYTES);
    assert_eq!(providers[0].url, "http://127.0.0.1:8090");
    assert_eq!(config.providers().unwrap()[0].keys[0].secret, providers[0].keys[0].secret);

    let keys = "[{id=\"p\",name=\"P\",keys=[{id=\"k\",secret=\"a secret of some length\",not_after=\"2030-01-31T00:00:00Z\"}]},{id=\"sandbox\",name=\"S\",keys=[]}]";
    let config = read(&[("providers", keys)]).unwrap();
    let shown = format!("{}{config:?}", load::effective(&config).unwrap());
    assert!(!shown.contains("some length") && shown.contains("(hidden)"), "{shown}");
    let key = &config.providers().unwrap()[0].keys[0];
    let end = key.not_after.unwrap();
    assert!(key.is_valid(end) && !key.is_valid(end.plus_ms(1)));
}

#[test]
fn the_effective_configuration_reads_back() {
    let text = load::effective(&read(&[]).unwrap()).unwrap();
    let again: Config = load::load_layers(&Layers { defaults: &text, env_prefix: ENV_PREFIX, ..Layers::default() }).unwrap();
    assert_eq!(load::effective(&again).unwrap(), text);
}

#[test]
fn every_key_has_a_comment_above_it_in_its_first_section() {
    // Lists repeat their keys; a section's own keys are each explained right above, alone or with their group.
    let mut commented = false;
    for line in DEFAULTS.lines().take_while(|line| !line.starts_with("# ----")) {
        if line.starts_with('#') {
            commented = true;
        } else if line.is_empty() || line.starts_with('[') {
            commented = false;
        } else {
            assert!(commented, "no comment above {line:?}");
        }
    }
}
