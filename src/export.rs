//! `pitboss ledger export`: every unit as one JSON line, in order.

use std::io::{BufWriter, Write};

use protocol::{AccountId, Leg};
use serde::Serialize;
use serde_json::value::RawValue;
use storage::{Ledger, Source, StoredUnit};

/// Units read at once.
const PAGE_UNITS: usize = 2_000;

#[derive(Serialize)]
struct Unit<'a> {
    shard: u16,
    sequence: u64,
    key: Key,
    body_hash: String,
    at: i64,
    legs: Vec<LegLine>,
    records: Vec<RecordLine>,
    events: Option<&'a RawValue>,
    reply: Option<&'a RawValue>,
    /// Whether the reply tells a refusal; absent for units nobody was told of.
    refused: Option<bool>,
}

#[derive(Serialize)]
struct Key {
    source: String,
    id: String,
}

#[derive(Serialize)]
struct LegLine {
    tenant: String,
    licence: String,
    currency: String,
    from: AccountLine,
    to: AccountLine,
    amount: i64,
}

#[derive(Serialize)]
struct AccountLine {
    owner: String,
    code: protocol::AccountCode,
    sub: u32,
}

#[derive(Serialize)]
struct RecordLine {
    key: String,
    version: u64,
}

/// Writes all units of a ledger to `out`.
pub async fn export(ledger: &dyn Ledger, out: impl Write) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, out);
    for shard in 0..ledger.shards() {
        let mut after = 0;
        loop {
            let page = ledger.units(shard, after, PAGE_UNITS).await?;
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (_, bytes) in &page {
                write(&mut out, &StoredUnit::decode(bytes)?)?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn write(out: &mut impl Write, unit: &StoredUnit) -> anyhow::Result<()> {
    let reply = unit.reply.get(1..).filter(|reply| !reply.is_empty());
    let line = Unit {
        shard: unit.shard,
        sequence: unit.sequence,
        key: key(unit),
        body_hash: hex::encode(unit.body_hash),
        at: unit.at.0,
        legs: unit.legs.iter().map(leg).collect(),
        records: unit.records.iter().map(|(key, version, _)| RecordLine { key: key.to_string(), version: *version }).collect(),
        events: json(&unit.events)?,
        reply: reply.map(json).transpose()?.flatten(),
        refused: unit.reply.first().map(|kind| *kind != b'+'),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn json(bytes: &[u8]) -> anyhow::Result<Option<&RawValue>> {
    if bytes.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(bytes)?)) }
}

fn key(unit: &StoredUnit) -> Key {
    let source = match unit.key.source {
        Source::Player(player) => format!("player:{player}"),
        Source::Provider(provider) => format!("provider:{provider}"),
        Source::System(name) => format!("system:{name}"),
    };
    let text = unit.key.to_string();
    let id = text.split_once('/').map_or(text.as_str(), |(_, id)| id).to_owned();
    Key { source, id }
}

fn leg(leg: &Leg) -> LegLine {
    LegLine {
        tenant: leg.book.tenant.to_string(),
        licence: leg.book.licence.to_string(),
        currency: leg.book.currency.to_string(),
        from: account(&leg.from),
        to: account(&leg.to),
        amount: leg.amount.0,
    }
}

fn account(account: &AccountId) -> AccountLine {
    AccountLine { owner: account.owner.to_string(), code: account.code, sub: account.sub }
}
