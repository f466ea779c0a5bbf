//! The writing thread: opens the store, then does one command after the other until the ledger is closed or dropped.
//!
//! A commit is one transaction: the head's guard first, then the checks of [`crate::ledger::apply`], then the rows. An error
//! before the COMMIT rolls back and is certain; an error of the COMMIT itself is not, so the session ends there and the next
//! takeover works on a new connection, whose head decides.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use protocol::RecordKey;
use sqlx::{ConnectOptions, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
};

use super::{
    codec::{HouseRow, corrupt, holdings_bytes, owner_bytes, read_holdings, signed, unsigned},
    lock::StoreLock,
    raw::{Connection, Param, SqliteFault, Statement},
};
use crate::{
    ledger::{
        CommitError, Receipt, ShardHead, StorageError,
        apply::{self, Batch, Checked, House, Known, Row, Stored},
        faults::{Fault, FaultPlan},
    },
    unit::{StoredUnit, UnitKey, UnitOfWork},
};

/// The only shard of this back end.
pub const SHARD: u16 = 0;

pub type Answer<T> = oneshot::Sender<T>;

pub enum Command {
    OpenShard {
        shard: u16,
        answer: Answer<Result<Arc<Session>, StorageError>>,
    },
    Commit {
        session: Arc<Session>,
        units: Vec<UnitOfWork>,
        answer: Answer<Result<Vec<Receipt>, CommitError>>,
    },
    /// Checkpoints and ends; the answer is dropped when that is done.
    Close {
        answer: Answer<()>,
    },
    /// Ends after what is queued before it.
    Stop,
}

/// One incarnation of the shard's writer.
pub struct Session {
    state: Mutex<(ShardHead, bool)>,
}

impl Session {
    fn new(head: ShardHead) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((head, true)) })
    }

    pub fn head(&self) -> ShardHead {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The head to commit on; `None` when this incarnation is over.
    fn live(&self) -> Option<ShardHead> {
        let (head, live) = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        live.then_some(head)
    }

    fn advance(&self, head: ShardHead) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 = head;
    }

    fn end(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = false;
    }
}

/// Why a connection's work ended.
enum Ended {
    /// An outcome is unknown: the command in hand needs a new connection.
    Reconnect(Command),
    Closed,
}

/// The thread's whole life.
pub fn run(
    options: SqliteConnectOptions,
    faults: FaultPlan,
    lock: StoreLock,
    mut queue: mpsc::Receiver<Command>,
    opened: oneshot::Sender<Result<(), StorageError>>,
) {
    // sqlx's calls are futures of its own channels; they need no driver, and none is shared with the server's runtime.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(opened.send(Err(StorageError::Unavailable(format!("no runtime: {error}"))))),
    };
    let mut connection = match runtime.block_on(connect(&options)) {
        Ok(connection) => connection,
        Err(error) => return drop(opened.send(Err(error))),
    };
    if opened.send(Ok(())).is_ok() {
        let mut pending = None;
        while let Ended::Reconnect(command) = serve(&runtime, &mut connection, &faults, pending.take(), &mut queue) {
            match runtime.block_on(connect(&options)) {
                Ok(fresh) => {
                    let old = std::mem::replace(&mut connection, fresh);
                    report_close(runtime.block_on(old.close()));
                    pending = Some(command);
                }
                Err(error) => refuse(command, error),
            }
        }
    }
    report_close(runtime.block_on(connection.close()));
    drop(lock);
}

fn report_close(result: Result<(), sqlx::Error>) {
    if let Err(error) = result {
        tracing::warn!(%error, "a ledger connection did not close cleanly");
    }
}

/// Answers a command that no connection could take.
fn refuse(command: Command, error: StorageError) {
    // An answer nobody waits for any more is no loss: the state it speaks of is in the store.
    match command {
        Command::OpenShard { answer, .. } => drop(answer.send(Err(error))),
        Command::Commit { answer, .. } => drop(answer.send(Err(CommitError::Failed(error)))),
        Command::Close { answer } => drop(answer),
        Command::Stop => {}
    }
}

async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, StorageError> {
    let mut connection = options.connect().await.map_err(|error| super::read::fault(&error))?;
    sqlx::migrate!("./migrations/ledger").run(&mut connection).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => super::read::fault(&error),
        error => corrupt("schema", error),
    })?;
    Ok(connection)
}

/// Works on one connection until it must be replaced or the ledger ends.
fn serve(
    runtime: &Runtime,
    connection: &mut SqliteConnection,
    faults: &FaultPlan,
    pending: Option<Command>,
    queue: &mut mpsc::Receiver<Command>,
) -> Ended {
    let mut handle = match runtime.block_on(connection.lock_handle()) {
        Ok(handle) => handle,
        Err(error) => return fail_all(queue, &super::read::fault(&error)),
    };
    let raw = Connection::new(&mut handle);
    let mut store = match Store::prepare(&raw, runtime, faults) {
        Ok(store) => store,
        Err(fault) => return fail_all(queue, &fault.into()),
    };
    let mut doubtful = false;
    let mut next = pending.or_else(|| queue.blocking_recv());
    while let Some(command) = next {
        match command {
            command @ Command::OpenShard { .. } if doubtful => return Ended::Reconnect(command),
            Command::OpenShard { shard, answer } => drop(answer.send(store.open_shard(shard))),
            Command::Commit { session, units, answer } => {
                let result = store.commit_session(&session, &units);
                doubtful |= matches!(result, Err(CommitError::Unknown(_)));
                drop(answer.send(result));
            }
            Command::Close { answer } => {
                store.checkpoint();
                queue.close();
                drop(answer);
                return Ended::Closed;
            }
            Command::Stop => return Ended::Closed,
        }
        next = queue.blocking_recv();
    }
    Ended::Closed
}

/// The connection is of no use: every command gets the reason until the ledger ends.
fn fail_all(queue: &mut mpsc::Receiver<Command>, error: &StorageError) -> Ended {
    while let Some(command) = queue.blocking_recv() {
        let last = matches!(command, Command::Close { .. } | Command::Stop);
        refuse(command, error.clone());
        if last {
            break;
        }
    }
    Ended::Closed
}

/// The prepared statements of one connection, and the house's balances, which only this thread changes.
struct Store<'s> {
    raw: &'s Connection<'s>,
    runtime: &'s Runtime,
    faults: &'s FaultPlan,
    house: House,
    begin: Statement<'s>,
    commit: Statement<'s>,
    rollback: Statement<'s>,
    take_over: Statement<'s>,
    read_head: Statement<'s>,
    read_house: Statement<'s>,
    guard_head: Statement<'s>,
    set_hash: Statement<'s>,
    put_key: Statement<'s>,
    put_unit: Statement<'s>,
    new_record: Statement<'s>,
    set_record: Statement<'s>,
    put_house: Statement<'s>,
    reads: Reads<'s>,
}

/// The reads of the checks.
struct Reads<'s> {
    key: Statement<'s>,
    unit: Statement<'s>,
    record: Statement<'s>,
}

impl<'s> Store<'s> {
    fn prepare(raw: &'s Connection<'s>, runtime: &'s Runtime, faults: &'s FaultPlan) -> Result<Self, SqliteFault> {
        Ok(Self {
            raw,
            runtime,
            faults,
            house: House::new(),
            begin: raw.prepare("BEGIN IMMEDIATE")?,
            commit: raw.prepare("COMMIT")?,
            rollback: raw.prepare("ROLLBACK")?,
            take_over: raw.prepare("UPDATE shard SET epoch = epoch + 1 WHERE shard = ?1")?,
            read_head: raw.prepare("SELECT epoch, sequence, hash FROM shard WHERE shard = ?1")?,
            read_house: raw.prepare("SELECT tenant, licence, currency, owner, code, sub, balance FROM house")?,
            guard_head: raw.prepare(
                "UPDATE shard SET sequence = sequence + ?5 WHERE shard = ?1 AND epoch = ?2 AND sequence = ?3 AND hash = ?4",
            )?,
            set_hash: raw.prepare("UPDATE shard SET hash = ?2 WHERE shard = ?1")?,
            put_key: raw.prepare("INSERT INTO unit_key (id, source, sequence) VALUES (?1, ?2, ?3)")?,
            put_unit: raw.prepare("INSERT INTO unit (sequence, body) VALUES (?1, ?2)")?,
            new_record: raw.prepare("INSERT INTO record (version, holdings, bytes, kind, id) VALUES (?1, ?2, ?3, ?4, ?5)")?,
            set_record: raw.prepare("UPDATE record SET version = ?1, holdings = ?2, bytes = ?3 WHERE kind = ?4 AND id = ?5")?,
            put_house: raw.prepare(
                "INSERT INTO house (tenant, licence, currency, owner, code, sub, balance) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT DO UPDATE SET balance = excluded.balance",
            )?,
            reads: Reads {
                key: raw.prepare("SELECT sequence FROM unit_key WHERE id = ?1 AND source = ?2")?,
                unit: raw.prepare("SELECT body FROM unit WHERE sequence = ?1")?,
                record: raw.prepare("SELECT version, holdings, bytes FROM record WHERE kind = ?1 AND id = ?2")?,
            },
        })
    }

    /// Commands run one after the other, so a predecessor's commit is over when this begins.
    fn open_shard(&mut self, shard: u16) -> Result<Arc<Session>, StorageError> {
        if shard != SHARD {
            return Err(StorageError::Unavailable(format!("this store has one shard, not a shard {shard}")));
        }
        // One statement outside a transaction is a transaction: the epoch is durable when it returns.
        self.take_over.run(&[Param::Int(i64::from(shard))])?;
        let head = self.head()?;
        let mut house = Vec::new();
        self.read_house.each(&[], |row| {
            let row = HouseRow {
                tenant: row.text(0),
                licence: row.text(1),
                currency: row.text(2),
                owner: row.blob(3),
                code: row.int(4),
                sub: row.int(5),
                balance: row.int(6),
            };
            house.push(row.read());
        })?;
        self.house = house
            .into_iter()
            .map(|row| row.map(|(book, account, balance)| ((book, account), balance)))
            .collect::<Result<_, _>>()?;
        Ok(Session::new(head))
    }

    fn head(&mut self) -> Result<ShardHead, StorageError> {
        let row = self.read_head.first(&[Param::Int(i64::from(SHARD))], |row| (row.int(0), row.int(1), row.blob(2).to_vec()))?;
        let (epoch, sequence, hash) = row.ok_or_else(|| corrupt("shard", "its row is missing"))?;
        let hash = hash.try_into().map_err(|_| corrupt("shard", "its hash has not 32 bytes"))?;
        Ok(ShardHead { shard: SHARD, epoch: unsigned(epoch, "epoch")?, sequence: unsigned(sequence, "sequence")?, hash })
    }

    fn commit_session(&mut self, session: &Session, units: &[UnitOfWork]) -> Result<Vec<Receipt>, CommitError> {
        let Some(head) = session.live() else { return Err(CommitError::Fenced) };
        if units.is_empty() {
            return Ok(Vec::new());
        }
        match self.commit(&head, units) {
            Ok(batch) => {
                session.advance(batch.head);
                self.house.extend(batch.house);
                let receipt = |unit: apply::BatchUnit| Receipt { shard: SHARD, sequence: unit.sequence, encoded: unit.encoded };
                Ok(batch.units.into_iter().map(receipt).collect())
            }
            Err(error) => {
                if matches!(error, CommitError::Fenced | CommitError::Unknown(_)) {
                    session.end();
                }
                Err(error)
            }
        }
    }

    fn commit(&mut self, head: &ShardHead, units: &[UnitOfWork]) -> Result<Batch, CommitError> {
        let fault = self.faults.next();
        match &fault {
            Some(Fault::FailBefore(error)) => return Err(CommitError::Failed(error.clone())),
            Some(Fault::Slow(gate)) => self.runtime.block_on(gate.pass()),
            Some(Fault::Fence) => self.take_over.run(&[Param::Int(i64::from(SHARD))]).map_err(|f| CommitError::Failed(f.into()))?,
            _ => {}
        }
        self.begin.run(&[]).map_err(|fault| CommitError::Failed(fault.into()))?;
        let batch = match self.write(head, units) {
            Ok(batch) => batch,
            Err(error) => return Err(self.undo(error)),
        };
        if matches!(fault, Some(Fault::UnknownLost)) {
            self.undo(CommitError::Fenced);
            return Err(CommitError::Unknown(StorageError::Unavailable("injected: lost".to_owned())));
        }
        self.commit.run(&[]).map_err(|fault| self.after_failed_commit(fault))?;
        match fault {
            Some(Fault::UnknownStored) => Err(CommitError::Unknown(StorageError::Unavailable("injected: stored".to_owned()))),
            _ => Ok(batch),
        }
    }

    /// Everything between BEGIN and COMMIT. Its errors are certain: the caller rolls back.
    fn write(&mut self, head: &ShardHead, units: &[UnitOfWork]) -> Result<Batch, CommitError> {
        let shard = Param::Int(i64::from(head.shard));
        let failed = |fault: SqliteFault| CommitError::Failed(fault.into());
        let count = i64::try_from(units.len()).unwrap_or(i64::MAX);
        let guard =
            [shard, Param::Int(signed(head.epoch)), Param::Int(signed(head.sequence)), Param::Blob(&head.hash), Param::Int(count)];
        self.guard_head.run(&guard).map_err(failed)?;
        if self.raw.changes() != 1 {
            return Err(CommitError::Fenced);
        }
        let batch = match apply::check(head, units, &mut self.reads, &self.house).map_err(CommitError::Failed)? {
            Checked::Ready(batch) => batch,
            Checked::Refused(refusals) => return Err(CommitError::Refused(refusals)),
        };
        self.write_rows(&batch).map_err(failed)?;
        self.set_hash.run(&[shard, Param::Blob(&batch.head.hash)]).map_err(failed)?;
        Ok(batch)
    }

    fn write_rows(&mut self, batch: &Batch) -> Result<(), SqliteFault> {
        for unit in &batch.units {
            let sequence = Param::Int(signed(unit.sequence));
            self.put_unit.run(&[sequence, Param::Blob(&unit.encoded)])?;
            self.put_key.run(&[Param::Blob(&unit.key.id), Param::Blob(&unit.key.source.to_bytes()), sequence])?;
        }
        for (key, (row, existed)) in &batch.records {
            let statement = if *existed { &mut self.set_record } else { &mut self.new_record };
            statement.run(&[
                Param::Int(signed(row.version)),
                Param::Blob(&holdings_bytes(&row.holdings)),
                Param::Blob(&row.bytes),
                Param::Int(i64::from(key.kind.number())),
                Param::Blob(&key.id),
            ])?;
        }
        for ((book, account), balance) in &batch.house {
            self.put_house.run(&[
                Param::Text(book.tenant.as_str()),
                Param::Text(book.licence.as_str()),
                Param::Text(book.currency.code()),
                Param::Blob(&owner_bytes(&account.owner)),
                Param::Int(i64::from(account.code.number())),
                Param::Int(i64::from(account.sub)),
                Param::Int(balance.0),
            ])?;
        }
        Ok(())
    }

    /// Rolls back and passes the reason on. Without a COMMIT nothing can have been stored, whatever the rollback says; but a
    /// connection that cannot roll back is of no use, so the session ends.
    fn undo(&mut self, error: CommitError) -> CommitError {
        if !self.raw.in_transaction() {
            return error;
        }
        match self.rollback.run(&[]) {
            Ok(()) => error,
            Err(fault) => CommitError::Unknown(fault.into()),
        }
    }

    /// SQLite leaves the transaction open when a COMMIT did not begin (busy). Otherwise the log may hold the commit already,
    /// and a crash could bring it back: nobody knows until the next writer has written over it.
    fn after_failed_commit(&mut self, fault: SqliteFault) -> CommitError {
        let busy = fault.code & 0xff == libsqlite3_sys::SQLITE_BUSY;
        let error = StorageError::from(fault);
        if busy && self.raw.in_transaction() {
            return self.undo(CommitError::Failed(error));
        }
        self.undo(CommitError::Unknown(error))
    }

    /// Copies the log into the database and empties it.
    fn checkpoint(&mut self) {
        let result = self.raw.prepare("PRAGMA wal_checkpoint(TRUNCATE)").and_then(|mut checkpoint| checkpoint.run(&[]));
        if let Err(fault) = result {
            tracing::warn!(code = fault.code, message = fault.message, "the last checkpoint failed; the log stays");
        }
    }
}

impl Stored for Reads<'_> {
    fn known(&mut self, key: &UnitKey) -> Result<Option<Known>, StorageError> {
        let source = key.source.to_bytes();
        let Some(sequence) = self.key.first(&[Param::Blob(&key.id), Param::Blob(&source)], |row| row.int(0))? else {
            return Ok(None);
        };
        let unit = self.unit.first(&[Param::Int(sequence)], |row| StoredUnit::decode(row.blob(0)))?;
        let unit = unit.ok_or_else(|| corrupt("unit", format!("{sequence} is indexed and missing")))?;
        let unit = unit.map_err(|error| corrupt("unit", error))?;
        Ok(Some(Known { sequence: unit.sequence, body_hash: unit.body_hash, reply: unit.reply }))
    }

    fn row(&mut self, key: &RecordKey) -> Result<Option<Row>, StorageError> {
        let params = [Param::Int(i64::from(key.kind.number())), Param::Blob(&key.id)];
        let row = self.record.first(&params, |row| -> Result<Row, StorageError> {
            let version = unsigned(row.int(0), "version")?;
            Ok(Row { version, holdings: read_holdings(row.blob(1))?, bytes: Bytes::copy_from_slice(row.blob(2)) })
        })?;
        row.transpose()
    }
}
