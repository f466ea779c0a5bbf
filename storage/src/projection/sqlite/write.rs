//! Applying a block: fold, pack, and a few statements in one transaction, on the handle that sqlx lends for the block.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
};

use protocol::{Holdings, PlayerId, ProviderId, RecordKey};
use sqlx::sqlite::SqliteConnection;

use super::{ProjectionOptions, bucket_of, section};
use crate::{
    ledger::StorageError,
    projection::{
        fold::{self, Folded, Line},
        pack,
        pages::PAGE_LINES_MAX,
        round::{Moment, RoundChange, RoundKey, RoundName, RoundRow, RoundStatus},
    },
    sqlite::raw::{Connection, Param, SqliteFault, Statement},
    unit::StoredUnit,
};

/// The writing connection and what it remembers between blocks.
pub struct Writer {
    connection: SqliteConnection,
    options: ProjectionOptions,
    /// Bytes of recent lines by shard and bucket; read again after a failed block.
    recent_bytes: Option<HashMap<(u16, u16), usize>>,
}

/// What a block does, computed before anything is written, except what needs the stored rounds.
#[derive(Default)]
struct Block {
    lines: BTreeMap<RecordKey, Vec<Line>>,
    rounds: BTreeMap<RoundKey, RoundRow>,
    at_max: i64,
}

impl Writer {
    pub fn new(connection: SqliteConnection, options: ProjectionOptions) -> Self {
        Self { connection, options, recent_bytes: None }
    }

    pub fn position(&mut self, shard: u16) -> Result<u64, StorageError> {
        self.lend(|_, store| Ok(store.position(shard)?.0))
    }

    pub fn apply(&mut self, shard: u16, units: &[StoredUnit]) -> Result<u64, StorageError> {
        let recent = self.recent_bytes.take();
        let (position, recent) = self.lend(|options, store| {
            let mut recent = match recent {
                Some(recent) => recent,
                None => store.recent_bytes()?,
            };
            store.run("BEGIN IMMEDIATE", &[])?;
            let applied = store.apply(options, shard, units, &mut recent);
            let end = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
            match (applied, store.run(end, &[])) {
                (Ok(position), Ok(())) => Ok((position, recent)),
                (Ok(_), Err(fault)) => {
                    // A commit that failed may have left the transaction open; without it the next block could not begin.
                    if store.connection.in_transaction() {
                        store.run("ROLLBACK", &[])?;
                    }
                    Err(fault.into())
                }
                (Err(error), _) => Err(error),
            }
        })?;
        self.recent_bytes = Some(recent);
        Ok(position)
    }

    /// Runs something on the raw handle, on this thread.
    fn lend<T>(&mut self, run: impl FnOnce(&ProjectionOptions, &Store<'_>) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let mut lock = block_on(self.connection.lock_handle()).map_err(super::fault)?;
        let connection = Connection::new(&mut lock);
        run(&self.options, &Store { connection: &connection })
    }
}

/// How a block finds the rounds that are stored already.
struct Rounds<'s> {
    by_key: Statement<'s>,
    by_name: Statement<'s>,
}

impl Rounds<'_> {
    /// Position and provider of a player's rounds of a name.
    fn of_name(&mut self, name: &RoundName, player: PlayerId) -> Result<Vec<(u64, ProviderId)>, StorageError> {
        let mut found = Vec::new();
        self.by_name.each(&[Param::Blob(name.as_bytes()), Param::Blob(player.as_bytes())], |row| {
            found.push((row.int(0).unsigned_abs(), row.text(1).parse()));
        })?;
        found.into_iter().map(|(position, provider)| Ok((position, provider.map_err(pack::corrupt)?))).collect()
    }

    fn get(&mut self, key: &RoundKey) -> Result<Option<RoundRow>, StorageError> {
        let params = [Param::Blob(key.name.as_bytes()), Param::Blob(key.player.as_bytes()), Param::Text(key.provider.as_str())];
        let row = self.by_key.first(&params, |row| postcard::from_bytes(row.blob(0)))?;
        row.transpose().map_err(pack::corrupt)
    }
}

impl Block {
    fn fold_unit(&mut self, stored: &mut Rounds<'_>, unit: &StoredUnit) -> Result<(), StorageError> {
        let Folded { lines, rounds } = fold::fold(unit)?;
        self.at_max = self.at_max.max(unit.at.0);
        for change in rounds {
            let owner = RecordKey::player(change.player);
            let version = lines.iter().find(|(key, _)| *key == owner).map_or(0, |(_, line)| line.version);
            self.fold_round(stored, change, Moment { sequence: unit.sequence, at: unit.at, version })?;
        }
        for (owner, line) in lines {
            self.lines.entry(owner).or_default().push(line);
        }
        Ok(())
    }

    fn fold_round(&mut self, stored: &mut Rounds<'_>, change: RoundChange, moment: Moment) -> Result<(), StorageError> {
        let RoundChange { name, player, provider, change } = change;
        let key = match provider {
            Some(provider) => RoundKey { name, player, provider },
            None => {
                let known = stored.of_name(&name, player)?;
                let of_block = self.rounds.iter().filter(|(key, _)| key.name == name && key.player == player);
                let all = of_block.map(|(key, row)| (row.position, key.provider)).chain(known);
                let Some((_, provider)) = all.max() else { return Ok(()) };
                RoundKey { name, player, provider }
            }
        };
        let row = match self.rounds.remove(&key) {
            Some(row) => Some(row),
            None => stored.get(&key)?,
        };
        let row = RoundRow::after(row, &change, moment).map_err(|error| fold::damaged(moment.sequence, error))?;
        self.rounds.extend(row.map(|row| (key, row)));
        Ok(())
    }
}

/// The statements of a block.
struct Store<'c> {
    connection: &'c Connection<'c>,
}

impl<'c> Store<'c> {
    fn prepare(&self, sql: &str) -> Result<Statement<'_>, SqliteFault> {
        self.connection.prepare(sql)
    }

    fn run(&self, sql: &str, params: &[Param<'_>]) -> Result<(), SqliteFault> {
        self.prepare(sql)?.run(params)
    }

    fn position(&self, shard: u16) -> Result<(u64, i64), SqliteFault> {
        let mut select = self.prepare("SELECT sequence, at_max FROM position WHERE shard = ?")?;
        let found = select.first(&[Param::Int(i64::from(shard))], |row| (row.int(0).unsigned_abs(), row.int(1)))?;
        Ok(found.unwrap_or((0, i64::MIN)))
    }

    fn recent_bytes(&self) -> Result<HashMap<(u16, u16), usize>, SqliteFault> {
        let mut bytes = HashMap::new();
        let mut select = self.prepare("SELECT shard, bucket, sum(length(lines)) FROM recent GROUP BY shard, bucket")?;
        select.each(&[], |row| {
            bytes.insert((row.int(0) as u16, row.int(1) as u16), row.int(2) as usize);
        })?;
        Ok(bytes)
    }

    fn apply(
        &self,
        options: &ProjectionOptions,
        shard: u16,
        units: &[StoredUnit],
        recent: &mut HashMap<(u16, u16), usize>,
    ) -> Result<u64, StorageError> {
        let (known, at_max) = self.position(shard)?;
        let mut block = Block { at_max, ..Block::default() };
        let mut position = known;
        let mut rounds = Rounds {
            by_key: self.prepare("SELECT data FROM round WHERE name = ? AND player = ? AND provider = ?")?,
            by_name: self.prepare("SELECT position, provider FROM round WHERE name = ? AND player = ?")?,
        };
        for unit in units.iter().skip_while(|unit| unit.sequence <= known) {
            if unit.sequence != position + 1 {
                return Err(fold::damaged(unit.sequence, format_args!("expected {}", position + 1)));
            }
            position = unit.sequence;
            block.fold_unit(&mut rounds, unit)?;
        }
        if position == known {
            return Ok(position);
        }
        self.write_lines(options, shard, known + 1, &block.lines, recent)?;
        self.write_rounds(shard, &block.rounds)?;
        let (shard, sequence) = (i64::from(shard), position as i64);
        let params = [Param::Int(shard), Param::Int(block.at_max), Param::Int(sequence)];
        self.run("INSERT INTO moment (shard, at, sequence) VALUES (?, ?, ?)", &params)?;
        let upsert = "INSERT INTO position (shard, at_max, sequence) VALUES (?, ?, ?) \
                      ON CONFLICT (shard) DO UPDATE SET at_max = excluded.at_max, sequence = excluded.sequence";
        self.run(upsert, &params)?;
        Ok(position)
    }

    fn write_rounds(&self, shard: u16, rounds: &BTreeMap<RoundKey, RoundRow>) -> Result<(), StorageError> {
        let mut insert = self.prepare(
            "INSERT INTO round (name, player, provider, shard, position, is_open, data) VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (name, player, provider) DO UPDATE \
             SET shard = excluded.shard, position = excluded.position, is_open = excluded.is_open, data = excluded.data",
        )?;
        let mut data = Vec::new();
        for (key, row) in rounds {
            data.clear();
            data = postcard::to_extend(row, data).map_err(pack::corrupt)?;
            insert.run(&[
                Param::Blob(key.name.as_bytes()),
                Param::Blob(key.player.as_bytes()),
                Param::Text(key.provider.as_str()),
                Param::Int(i64::from(shard)),
                Param::Int(row.position as i64),
                Param::Int(i64::from(row.status() == RoundStatus::Open)),
                Param::Blob(&data),
            ])?;
        }
        Ok(())
    }

    /// Puts the block's lines into their buckets, and files the buckets that are full.
    fn write_lines(
        &self,
        options: &ProjectionOptions,
        shard: u16,
        first_sequence: u64,
        lines: &BTreeMap<RecordKey, Vec<Line>>,
        recent: &mut HashMap<(u16, u16), usize>,
    ) -> Result<(), StorageError> {
        let mut buckets: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
        for (owner, lines) in lines {
            let bucket = buckets.entry(bucket_of(*owner)).or_default();
            for lines in lines.chunks(PAGE_LINES_MAX) {
                section::write(bucket, *owner, lines)?;
            }
        }
        let mut insert = self.prepare("INSERT INTO recent (shard, bucket, first_sequence, lines) VALUES (?, ?, ?, ?)")?;
        for (bucket, sections) in buckets {
            let bytes = recent.entry((shard, bucket)).or_default();
            if *bytes + sections.len() > options.bucket_bytes_max {
                self.file(shard, bucket, sections)?;
                *bytes = 0;
            } else {
                *bytes += sections.len();
                let of = [Param::Int(i64::from(shard)), Param::Int(i64::from(bucket))];
                insert.run(&[of[0], of[1], Param::Int(first_sequence as i64), Param::Blob(&sections)])?;
            }
        }
        Ok(())
    }

    /// Moves a bucket's lines, the newest given, to pages of their owners.
    fn file(&self, shard: u16, bucket: u16, newest: Vec<u8>) -> Result<(), StorageError> {
        let of = [Param::Int(i64::from(shard)), Param::Int(i64::from(bucket))];
        let mut blobs = Vec::new();
        let mut select = self.prepare("SELECT lines FROM recent WHERE shard = ? AND bucket = ? ORDER BY first_sequence")?;
        select.each(&of, |row| blobs.push(row.blob(0).to_vec()))?;
        drop(select);
        self.run("DELETE FROM recent WHERE shard = ? AND bucket = ?", &of)?;
        blobs.push(newest);
        let mut owners: BTreeMap<RecordKey, Vec<section::Section<'_>>> = BTreeMap::new();
        for blob in &blobs {
            section::each(blob, |owner, section| {
                owners.entry(owner).or_default().push(section.read()?);
                Ok(())
            })?;
        }
        let mut closing = self.prepare(super::CLOSING)?;
        let mut insert = self.prepare(
            "INSERT INTO page (owner, shard, first_sequence, last_sequence, last_version, count, closing, lines) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        for (owner, sections) in owners {
            let key = pack::owner_bytes(owner);
            let stored = closing.first(&[Param::Blob(&key), of[0]], |row| postcard::from_bytes(row.blob(0)))?;
            let mut holdings: Holdings = stored.transpose().map_err(pack::corrupt)?.unwrap_or_default();
            for page in section::pages(&sections) {
                let opening = holdings.clone();
                let (mut count, mut version) = (0, 0);
                let mut lines = postcard::to_allocvec(&opening).map_err(pack::corrupt)?;
                for section in page {
                    section.move_holdings(owner, &mut holdings)?;
                    count += section.count;
                    version = version.max(section.version);
                    lines.extend_from_slice(section.lines);
                }
                let first = page.first().map_or(0, |section| section.first_sequence) as i64;
                let last = page.last().map_or(0, |section| section.last_sequence) as i64;
                let closing = postcard::to_allocvec(&holdings).map_err(pack::corrupt)?;
                insert.run(&[
                    Param::Blob(&key),
                    of[0],
                    Param::Int(first),
                    Param::Int(last),
                    Param::Int(version as i64),
                    Param::Int(i64::from(count)),
                    Param::Blob(&closing),
                    Param::Blob(&lines),
                ])?;
            }
        }
        Ok(())
    }
}

/// Waits on this thread for sqlx's worker; needs no runtime, so the writer may live on a plain thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
