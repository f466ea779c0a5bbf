//! The layout not chosen: each leg and each event a row of its own, statements on the raw handle.

use std::path::Path;

use sqlx::{ConnectOptions, Executor};
use storage::{
    StoredUnit, UnitOfWork,
    sqlite::raw::{Connection, Param, Statement},
    unit::chain,
};
use tokio::sync::{mpsc, oneshot};

const SCHEMA: &str = "
CREATE TABLE shard (shard INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
INSERT INTO shard VALUES (0, 0, zeroblob(32));
CREATE TABLE unit (sequence INTEGER PRIMARY KEY, body_hash BLOB NOT NULL, at INTEGER NOT NULL, reply BLOB NOT NULL) STRICT;
CREATE TABLE unit_key (id BLOB NOT NULL, source BLOB NOT NULL, sequence INTEGER NOT NULL, PRIMARY KEY (id, source)) STRICT, WITHOUT ROWID;
CREATE TABLE posting (sequence INTEGER NOT NULL, leg INTEGER NOT NULL, from_owner BLOB NOT NULL, from_code INTEGER NOT NULL,
    to_owner BLOB NOT NULL, to_code INTEGER NOT NULL, amount INTEGER NOT NULL, PRIMARY KEY (sequence, leg)) STRICT, WITHOUT ROWID;
CREATE TABLE event (sequence INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (sequence, number)) STRICT, WITHOUT ROWID;
CREATE TABLE record (id BLOB PRIMARY KEY, version INTEGER NOT NULL, balance INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE house (code INTEGER PRIMARY KEY, balance INTEGER NOT NULL) STRICT;";

/// Events of a spin when each fact is its own.
const EVENTS: usize = 5;

type Batch = (Vec<UnitOfWork>, oneshot::Sender<()>);

/// The writing thread, as the chosen layout has one.
pub struct Unpacked {
    batches: mpsc::Sender<Batch>,
}

impl Unpacked {
    pub async fn open(dir: &Path) -> Self {
        let mut connection = super::connect_options(dir).connect().await.unwrap();
        connection.execute(SCHEMA).await.unwrap();
        let (batches, mut queue) = mpsc::channel::<Batch>(1);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut handle = runtime.block_on(connection.lock_handle()).unwrap();
            let raw = Connection::new(&mut handle);
            let mut statements = Statements::new(&raw);
            while let Some((units, done)) = queue.blocking_recv() {
                statements.commit(&units);
                done.send(()).unwrap();
            }
        });
        Self { batches }
    }

    pub async fn commit(&mut self, units: Vec<UnitOfWork>) {
        let (done, wait) = oneshot::channel();
        self.batches.send((units, done)).await.unwrap();
        wait.await.unwrap();
    }
}

struct Statements<'s> {
    sequence: u64,
    hash: [u8; 32],
    begin: Statement<'s>,
    end: Statement<'s>,
    head: Statement<'s>,
    find_key: Statement<'s>,
    find_record: Statement<'s>,
    unit: Statement<'s>,
    key: Statement<'s>,
    posting: Statement<'s>,
    event: Statement<'s>,
    record: Statement<'s>,
    house: Statement<'s>,
}

impl<'s> Statements<'s> {
    fn new(raw: &'s Connection<'s>) -> Self {
        let prepare = |sql| raw.prepare(sql).unwrap();
        Self {
            sequence: 0,
            hash: [0; 32],
            begin: prepare("BEGIN IMMEDIATE"),
            end: prepare("COMMIT"),
            head: prepare("UPDATE shard SET sequence = ?1, hash = ?2 WHERE shard = 0"),
            find_key: prepare("SELECT sequence FROM unit_key WHERE id = ?1 AND source = ?2"),
            find_record: prepare("SELECT version, balance, bytes FROM record WHERE id = ?1"),
            unit: prepare("INSERT INTO unit VALUES (?1, ?2, ?3, ?4)"),
            key: prepare("INSERT INTO unit_key VALUES (?1, ?2, ?3)"),
            posting: prepare("INSERT INTO posting VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
            event: prepare("INSERT INTO event VALUES (?1, ?2, ?3)"),
            record: prepare("INSERT OR REPLACE INTO record VALUES (?1, ?2, ?3, ?4)"),
            house: prepare("INSERT INTO house VALUES (?1, ?2) ON CONFLICT DO UPDATE SET balance = balance + excluded.balance"),
        }
    }

    fn commit(&mut self, units: &[UnitOfWork]) {
        self.begin.run(&[]).unwrap();
        for unit in units {
            self.unit(unit);
        }
        self.house.run(&[Param::Int(64), Param::Int(40)]).unwrap();
        self.house.run(&[Param::Int(68), Param::Int(-1)]).unwrap();
        self.head.run(&[Param::Int(self.sequence as i64), Param::Blob(&self.hash)]).unwrap();
        self.end.run(&[]).unwrap();
    }

    fn unit(&mut self, unit: &UnitOfWork) {
        self.sequence += 1;
        let sequence = Param::Int(self.sequence as i64);
        let source = unit.key.source.to_bytes();
        let (id, source) = (Param::Blob(&unit.key.id), Param::Blob(&source));
        assert!(self.find_key.first(&[id, source], |row| row.int(0)).unwrap().is_none());
        let write = &unit.records[0];
        let balance = self.find_record.first(&[Param::Blob(&write.key.id)], |row| row.int(1)).unwrap().unwrap_or_default();
        self.hash = chain(&self.hash, &StoredUnit::new(0, self.sequence, unit).encode());
        self.unit.run(&[sequence, Param::Blob(&unit.body_hash), Param::Int(unit.at.0), Param::Blob(&unit.reply)]).unwrap();
        self.key.run(&[id, source, sequence]).unwrap();
        for (number, leg) in (0..).zip(&unit.legs) {
            let row = [
                sequence,
                Param::Int(number),
                Param::Blob(&leg.from.owner.id),
                Param::Int(i64::from(leg.from.code.number())),
                Param::Blob(&leg.to.owner.id),
                Param::Int(i64::from(leg.to.code.number())),
                Param::Int(leg.amount.0),
            ];
            self.posting.run(&row).unwrap();
        }
        // Rows of their own repeat the header, so five facts of a pack take about 250 bytes each.
        for number in 0..EVENTS {
            self.event.run(&[sequence, Param::Int(number as i64), Param::Blob(&unit.events[..250])]).unwrap();
        }
        let version = Param::Int(write.expected as i64 + 1);
        let bytes = write.bytes.as_ref().unwrap();
        self.record.run(&[Param::Blob(&write.key.id), version, Param::Int(balance - 40), Param::Blob(bytes)]).unwrap();
    }
}
