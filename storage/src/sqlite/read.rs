//! The reads of the ledger, each one statement on a pooled read-only connection.
//!
//! Every read fetches all its rows: a statement left between rows would hold its snapshot, and the log could not be reset.

use bytes::Bytes;
use protocol::{OwnerKind, RecordKey};
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool, sqlite::SqliteRow};

use super::{
    codec::{HouseRow, corrupt, read_holdings, signed, unsigned},
    raw::storage_error,
    writer::SHARD,
};
use crate::{
    ledger::{HouseBalance, Position, ShardHead, StorageError, StoredRecord},
    unit::{StoredUnit, UnitKey},
};

/// What an error of sqlx means to the ledger's callers.
pub fn fault(error: &sqlx::Error) -> StorageError {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse().ok());
    match code {
        Some(code) => storage_error(code, error.to_string()),
        None => StorageError::Unavailable(error.to_string()),
    }
}

fn only(shard: u16) -> Result<(), StorageError> {
    if shard == SHARD { Ok(()) } else { Err(StorageError::Unavailable(format!("this store has one shard, not a shard {shard}"))) }
}

fn limit(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}

pub async fn head(pool: &SqlitePool, shard: u16) -> Result<ShardHead, StorageError> {
    only(shard)?;
    let query = sqlx::query("SELECT epoch, sequence, hash FROM shard WHERE shard = ?1").bind(i64::from(shard));
    let rows = query.fetch_all(pool).await.map_err(|error| fault(&error))?;
    let row = rows.first().ok_or_else(|| corrupt("shard", "its row is missing"))?;
    let hash = row.get_unchecked::<&[u8], _>(2).try_into().map_err(|_| corrupt("shard", "its hash has not 32 bytes"))?;
    let (epoch, sequence) = (row.get_unchecked(0), row.get_unchecked(1));
    Ok(ShardHead { shard, epoch: unsigned(epoch, "epoch")?, sequence: unsigned(sequence, "sequence")?, hash })
}

pub async fn record(pool: &SqlitePool, key: RecordKey) -> Result<Option<StoredRecord>, StorageError> {
    let query = sqlx::query("SELECT id, version, holdings, bytes FROM record WHERE kind = ?1 AND id = ?2");
    let rows = query.bind(i64::from(key.kind.number())).bind(&key.id[..]).fetch_all(pool).await.map_err(|error| fault(&error))?;
    rows.first().map(|row| read_record(key.kind, row)).transpose()
}

pub async fn records(
    pool: &SqlitePool,
    kind: OwnerKind,
    after: Option<[u8; 16]>,
    max: usize,
) -> Result<Vec<StoredRecord>, StorageError> {
    // An empty blob sorts before every id.
    let after = after.as_ref().map_or(&[][..], |id| &id[..]);
    let query = sqlx::query("SELECT id, version, holdings, bytes FROM record WHERE kind = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
    let query = query.bind(i64::from(kind.number())).bind(after).bind(limit(max));
    let rows = query.fetch_all(pool).await.map_err(|error| fault(&error))?;
    rows.iter().map(|row| read_record(kind, row)).collect()
}

fn read_record(kind: OwnerKind, row: &SqliteRow) -> Result<StoredRecord, StorageError> {
    let id = row.get_unchecked::<&[u8], _>(0).try_into().map_err(|_| corrupt("record", "its id has not 16 bytes"))?;
    let version = unsigned(row.get_unchecked(1), "version")?;
    let holdings = read_holdings(row.get_unchecked(2))?;
    Ok(StoredRecord { key: RecordKey { kind, id }, version, holdings, bytes: row.get_unchecked::<Vec<u8>, _>(3).into() })
}

pub async fn unit_by_key(pool: &SqlitePool, key: UnitKey) -> Result<Option<StoredUnit>, StorageError> {
    let sql = "SELECT unit.body FROM unit_key JOIN unit USING (sequence) WHERE unit_key.id = ?1 AND unit_key.source = ?2";
    let source = key.source.to_bytes();
    let rows = sqlx::query(sql).bind(&key.id[..]).bind(&source[..]).fetch_all(pool).await.map_err(|error| fault(&error))?;
    rows.first().map(|row| StoredUnit::decode(row.get_unchecked(0)).map_err(|error| corrupt("unit", error))).transpose()
}

/// Keys asked for in one statement; each binds three values.
const KEYS_PER_STATEMENT_MAX: usize = 1_000;

pub async fn key_positions(pool: &SqlitePool, keys: Vec<UnitKey>) -> Result<Vec<Option<Position>>, StorageError> {
    let mut positions = vec![None; keys.len()];
    for (chunk, keys) in keys.chunks(KEYS_PER_STATEMENT_MAX).enumerate() {
        let mut query = QueryBuilder::<Sqlite>::new("WITH wanted (number, id, source) AS (");
        query.push_values(keys.iter().zip(0_i64..), |mut row, (key, number)| {
            row.push_bind(number).push_bind(key.id.to_vec()).push_bind(key.source.to_bytes().to_vec());
        });
        query.push(") SELECT number, sequence FROM wanted JOIN unit_key USING (id, source)");
        for row in query.build().fetch_all(pool).await.map_err(|error| fault(&error))? {
            let number = unsigned(row.get_unchecked(0), "number")? as usize + chunk * KEYS_PER_STATEMENT_MAX;
            if let Some(position) = positions.get_mut(number) {
                *position = Some((SHARD, unsigned(row.get_unchecked(1), "sequence")?));
            }
        }
    }
    Ok(positions)
}

pub async fn units(pool: &SqlitePool, shard: u16, after: u64, max: usize) -> Result<Vec<(u64, Bytes)>, StorageError> {
    only(shard)?;
    let query = sqlx::query("SELECT sequence, body FROM unit WHERE sequence > ?1 ORDER BY sequence LIMIT ?2");
    let rows = query.bind(signed(after)).bind(limit(max)).fetch_all(pool).await.map_err(|error| fault(&error))?;
    let read = |row: &SqliteRow| Ok((unsigned(row.get_unchecked(0), "sequence")?, row.get_unchecked::<Vec<u8>, _>(1).into()));
    rows.iter().map(read).collect()
}

pub async fn house_accounts(pool: &SqlitePool) -> Result<Vec<HouseBalance>, StorageError> {
    let sql = "SELECT tenant, licence, currency, owner, code, sub, balance FROM house ORDER BY 1, 2, 3, 4, 5, 6";
    let rows = sqlx::query(sql).fetch_all(pool).await.map_err(|error| fault(&error))?;
    let read = |row: &SqliteRow| {
        let house = HouseRow {
            tenant: row.get_unchecked(0),
            licence: row.get_unchecked(1),
            currency: row.get_unchecked(2),
            owner: row.get_unchecked(3),
            code: row.get_unchecked(4),
            sub: row.get_unchecked(5),
            balance: row.get_unchecked(6),
        };
        house.read()
    };
    rows.iter().map(read).collect()
}
