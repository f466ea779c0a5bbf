//! The layout chosen, written through sqlx: a few statements of many rows a batch, each a hop to sqlx's thread and back.

use std::{collections::BTreeMap, path::Path};

use sqlx::{ConnectOptions, Connection, Executor, QueryBuilder, Row, Sqlite, SqliteConnection};
use storage::{StoredUnit, UnitOfWork, unit::chain};

const SCHEMA: &str = include_str!("../../migrations/ledger/0001_ledger.sql");

pub struct MultiRow {
    connection: SqliteConnection,
    sequence: u64,
    hash: [u8; 32],
}

impl MultiRow {
    pub async fn open(dir: &Path) -> Self {
        let mut connection = super::connect_options(dir).connect().await.unwrap();
        connection.execute(SCHEMA).await.unwrap();
        Self { connection, sequence: 0, hash: [0; 32] }
    }

    pub async fn commit(&mut self, units: Vec<UnitOfWork>) {
        let mut tx = self.connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let first = self.sequence;
        let mut find = QueryBuilder::<Sqlite>::new("SELECT sequence FROM unit_key WHERE (id, source) IN (");
        find.push_values(&units, |mut row, unit| {
            row.push_bind(unit.key.id.to_vec()).push_bind(unit.key.source.to_bytes().to_vec());
        });
        find.push(")");
        assert!(find.build().fetch_all(&mut *tx).await.unwrap().is_empty());
        let mut read = QueryBuilder::<Sqlite>::new("SELECT id, version, holdings, bytes FROM record WHERE (kind, id) IN (");
        read.push_values(&units, |mut row, unit| {
            row.push_bind(1_i64).push_bind(unit.records[0].key.id.to_vec());
        });
        read.push(")");
        let rows = read.build().fetch_all(&mut *tx).await.unwrap();
        let mut records: BTreeMap<Vec<u8>, (i64, Vec<u8>, Vec<u8>)> =
            rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3)))).collect();
        let mut encoded = Vec::new();
        for unit in &units {
            self.sequence += 1;
            let body = StoredUnit::new(0, self.sequence, unit).encode();
            self.hash = chain(&self.hash, &body);
            encoded.push((self.sequence as i64, body));
            let write = &unit.records[0];
            let state = (write.expected as i64 + 1, vec![1; 48], write.bytes.as_ref().unwrap().to_vec());
            records.insert(write.key.id.to_vec(), state);
        }
        let mut put = QueryBuilder::<Sqlite>::new("INSERT INTO unit (sequence, body) ");
        put.push_values(encoded, |mut row, (sequence, body)| {
            row.push_bind(sequence).push_bind(body);
        });
        put.build().execute(&mut *tx).await.unwrap();
        let mut put = QueryBuilder::<Sqlite>::new("INSERT INTO unit_key (id, source, sequence) ");
        put.push_values((first as i64 + 1..).zip(&units), |mut row, (sequence, unit)| {
            row.push_bind(unit.key.id.to_vec()).push_bind(unit.key.source.to_bytes().to_vec()).push_bind(sequence);
        });
        put.build().execute(&mut *tx).await.unwrap();
        let mut put = QueryBuilder::<Sqlite>::new("INSERT INTO record (kind, id, version, holdings, bytes) ");
        put.push_values(records, |mut row, (id, (version, holdings, bytes))| {
            row.push_bind(1_i64).push_bind(id).push_bind(version).push_bind(holdings).push_bind(bytes);
        });
        put.push(" ON CONFLICT DO UPDATE SET version = excluded.version, holdings = excluded.holdings, bytes = excluded.bytes");
        put.build().execute(&mut *tx).await.unwrap();
        let house = "INSERT INTO house VALUES ('demo', 'mga', 'EUR', x'00', 64, 0, 40), ('demo', 'mga', 'EUR', x'00', 68, 0, -1)
             ON CONFLICT DO UPDATE SET balance = balance + excluded.balance";
        sqlx::query(house).execute(&mut *tx).await.unwrap();
        let head = sqlx::query("UPDATE shard SET sequence = ?1, hash = ?2 WHERE shard = 0 AND sequence = ?3");
        let head = head.bind(self.sequence as i64).bind(&self.hash[..]).bind(first as i64);
        assert_eq!(head.execute(&mut *tx).await.unwrap().rows_affected(), 1);
        tx.commit().await.unwrap();
    }
}
