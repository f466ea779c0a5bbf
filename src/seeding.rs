//! What a new store is given: demo players, and the load tester's. Everything comes through commands with fixed keys, so that
//! seeding again changes nothing.

use std::collections::HashMap;

use actors::{Answer, Floor, command::Action};
use anyhow::bail;
use futures_util::{StreamExt, stream};
use protocol::{Amount, Currency, GrantId, PlayerId, Slug, TenantId};
use sha2::{Digest, Sha256};
use storage::{Source, UnitKey};
use uuid::Uuid;

use crate::{
    config::{
        Config, Scenario,
        seed::{DemoPlayer, LoadPlayers},
    },
    edge::state::DemoSeat,
    stores::Folder,
};

const SOURCE: Slug = Slug::from_known("seed");
/// Players seeded at the same time.
const SEEDED_AT_ONCE: usize = 256;

/// Seeds what the configuration asks for and answers who may log in by a key.
pub async fn seed(floor: &Floor, config: &Config, folder: &Folder) -> anyhow::Result<HashMap<String, DemoSeat>> {
    let mut seats = HashMap::new();
    if config.demo.enabled {
        for demo in config.demo_players()? {
            let player = pseudonym(demo.tenant, demo.key.as_str());
            seed_demo(floor, player, &demo).await?;
            seats.insert(demo.key.to_string(), DemoSeat { player, tenant: demo.tenant, shown: Some(demo) });
        }
    }
    if config.scenario == Scenario::Load {
        let load = config.load_players()?;
        let marker = folder.0.join("followers").join(format!("seeded-{}-{}", load.tenant, load.count));
        if !marker.exists() {
            seed_load(floor, &load).await?;
            // Only saves the next start the work; the keys make seeding again harmless.
            std::fs::write(&marker, b"")?;
        }
        for number in 1..=load.count {
            let key = load_key(number);
            let seat = DemoSeat { player: pseudonym(load.tenant, &key), tenant: load.tenant, shown: None };
            seats.insert(key, seat);
        }
    }
    Ok(seats)
}

fn load_key(number: u32) -> String {
    format!("load-{number:06}")
}

/// The pseudonym a demo key stands for, the same at every start.
fn pseudonym(tenant: TenantId, key: &str) -> PlayerId {
    PlayerId(derived(&["player", tenant.as_str(), key]))
}

fn derived(parts: &[&str]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

async fn seed_demo(floor: &Floor, player: PlayerId, demo: &DemoPlayer) -> anyhow::Result<()> {
    open(floor, player, demo.tenant, demo.currency, demo.balance).await?;
    if let Some(offer) = &demo.offer {
        let grant = GrantId(derived(&["grant", demo.tenant.as_str(), demo.key.as_str()]));
        step(floor, player, &["bonus"], Action::IssueBonus { offer: offer.clone(), grant }).await?;
    }
    for (number, limit) in demo.limits.iter().enumerate() {
        let action = Action::SetLimit { limit: limit.limit, window: limit.window, value: limit.value };
        step(floor, player, &["limit", &number.to_string()], action).await?;
    }
    Ok(())
}

async fn seed_load(floor: &Floor, load: &LoadPlayers) -> anyhow::Result<()> {
    let players = (1..=load.count).map(|number| pseudonym(load.tenant, &load_key(number)));
    let mut opened = stream::iter(players)
        .map(|player| open(floor, player, load.tenant, load.currency, load.balance))
        .buffer_unordered(SEEDED_AT_ONCE);
    while let Some(result) = opened.next().await {
        result?;
    }
    Ok(())
}

async fn open(floor: &Floor, player: PlayerId, tenant: TenantId, currency: Currency, balance: Amount) -> anyhow::Result<()> {
    let client_seed = player.0.simple().to_string();
    step(floor, player, &["open"], Action::Open { currency, tenant, client_seed }).await?;
    if balance.is_positive() {
        step(floor, player, &["fund"], Action::Fund { source: "demo".to_owned(), amount: balance }).await?;
    }
    Ok(())
}

/// One command under a key of its own.
async fn step(floor: &Floor, player: PlayerId, what: &[&str], action: Action) -> anyhow::Result<()> {
    let name = action.name();
    let id = derived(&[&[player.to_string().as_str()], what].concat());
    let answer: Answer = floor.own(player, Some(UnitKey::new(Source::System(SOURCE), id.as_bytes())), action).await;
    if !answer.ok {
        bail!("seeding {name} for player {player} was refused: {}", String::from_utf8_lossy(&answer.body));
    }
    Ok(())
}
