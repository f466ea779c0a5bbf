//! The queries: each runs in a read transaction of its own, so it sees one state while the writer goes on.

use std::collections::BTreeSet;

use protocol::{AccountId, Amount, Book, Holdings, PlayerId, RecordKey, Timestamp, frame::RoundView};
use sqlx::{
    Row, Sqlite, Transaction,
    sqlite::{SqlitePool, SqliteRow},
};
use uuid::Uuid;

use super::{
    BUCKETS, bucket_of, fault,
    section::{self, Section},
};
use crate::{
    ledger::{BoxFuture, StorageError},
    projection::{
        ANSWER_LINES_MAX, AsOf, OpenRound, OwnerTotals, Posting, ProjectionReader, StatementLine,
        fold::{self, Line},
        pack::{self, corrupt},
        pages::{self, Page, Seek, Snapshot},
        round::{RoundKey, RoundName, RoundRow},
    },
};

/// Rounds of one name answered at most; a provider's id names one round per player.
const ROUNDS_OF_NAME_MAX: i64 = 64;

pub struct Reader {
    pool: SqlitePool,
}

impl Reader {
    pub fn new(pool: SqlitePool) -> Self {
        Self { pool }
    }

    pub fn pool(&self) -> SqlitePool {
        self.pool.clone()
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn snapshot(&self) -> Result<Read, StorageError> {
        Ok(Read { transaction: self.pool.begin().await.map_err(fault)?, recent: None })
    }
}

/// One read transaction.
struct Read {
    transaction: Transaction<'static, Sqlite>,
    /// The owner's lines that are not filed yet, once read.
    recent: Option<((u16, RecordKey), Vec<Recent>)>,
}

/// What one block brought for an owner, still packed: most queries want the newest of it only.
struct Recent {
    first_sequence: u64,
    last_sequence: u64,
    version: u64,
    opening: Holdings,
    lines: Vec<u8>,
}

impl Read {
    /// The unfiled lines of an owner; they are all newer than the filed ones.
    async fn recent(&mut self, shard: u16, owner: RecordKey) -> Result<&[Recent], StorageError> {
        if self.recent.as_ref().is_none_or(|(of, _)| *of != (shard, owner)) {
            let sections = self.recent_sections(shard, owner).await?;
            self.recent = Some(((shard, owner), sections));
        }
        Ok(self.recent.as_ref().map(|(_, sections)| sections.as_slice()).unwrap_or_default())
    }

    async fn recent_sections(&mut self, shard: u16, owner: RecordKey) -> Result<Vec<Recent>, StorageError> {
        let select = sqlx::query("SELECT lines FROM recent WHERE shard = ? AND bucket = ? ORDER BY first_sequence");
        let rows = select.bind(shard).bind(bucket_of(owner)).fetch_all(&mut *self.transaction).await.map_err(fault)?;
        let mut holdings = self.closing(shard, owner).await?;
        let mut sections = Vec::new();
        for row in rows {
            let blob: &[u8] = row.try_get(0).map_err(fault)?;
            section::each(blob, |of, section| {
                if of == owner {
                    let section = section.read()?;
                    let opening = holdings.clone();
                    section.move_holdings(owner, &mut holdings)?;
                    let Section { first_sequence, last_sequence, version, lines, .. } = section;
                    sections.push(Recent { first_sequence, last_sequence, version, opening, lines: lines.to_vec() });
                }
                Ok(())
            })?;
        }
        Ok(sections)
    }

    async fn closing(&mut self, shard: u16, owner: RecordKey) -> Result<Holdings, StorageError> {
        let select = sqlx::query(super::CLOSING).bind(pack::owner_bytes(owner).to_vec()).bind(shard);
        let Some(row) = select.fetch_optional(&mut *self.transaction).await.map_err(fault)? else { return Ok(Holdings::default()) };
        postcard::from_bytes(row.try_get(0).map_err(fault)?).map_err(corrupt)
    }

    async fn filed(&mut self, shard: u16, owner: RecordKey, seek: Seek) -> Result<Option<Page>, StorageError> {
        let (sql, bound) = match seek {
            Seek::Before(before) => (
                "SELECT lines FROM page WHERE owner = ? AND shard = ? AND first_sequence < ? ORDER BY first_sequence DESC LIMIT 1",
                before,
            ),
            Seek::After(after) => (
                "SELECT lines FROM page WHERE owner = ?1 AND shard = ?2 AND last_sequence > ?3 AND first_sequence >= coalesce((SELECT max(first_sequence) FROM page WHERE owner = ?1 AND shard = ?2 AND first_sequence <= ?3), 0) ORDER BY first_sequence LIMIT 1",
                after,
            ),
            Seek::AfterVersion(after) => {
                ("SELECT lines FROM page WHERE owner = ? AND shard = ? AND last_version > ? ORDER BY first_sequence LIMIT 1", after)
            }
        };
        let select = sqlx::query(sql).bind(pack::owner_bytes(owner).to_vec()).bind(shard).bind(bound as i64);
        let Some(row) = select.fetch_optional(&mut *self.transaction).await.map_err(fault)? else { return Ok(None) };
        page_of(owner, row.try_get(0).map_err(fault)?).map(Some)
    }

    /// Owners with lines, filed or not, after one.
    async fn owners(&mut self, shard: u16, after: Option<RecordKey>, max: usize) -> Result<BTreeSet<RecordKey>, StorageError> {
        let mut owners = BTreeSet::new();
        let bound = after.map(|after| pack::owner_bytes(after).to_vec()).unwrap_or_default();
        let sql = "SELECT DISTINCT owner FROM page WHERE owner > ? AND shard = ? ORDER BY owner LIMIT ?";
        let select = sqlx::query_scalar::<_, Vec<u8>>(sql).bind(bound).bind(shard).bind(max as i64);
        for owner in select.fetch_all(&mut *self.transaction).await.map_err(fault)? {
            owners.insert(pack::owner_of(&owner)?);
        }
        for bucket in 0..BUCKETS as i64 {
            let select = sqlx::query_scalar::<_, Vec<u8>>("SELECT lines FROM recent WHERE shard = ? AND bucket = ?").bind(shard);
            for blob in select.bind(bucket).fetch_all(&mut *self.transaction).await.map_err(fault)? {
                section::each(&blob, |owner, _| {
                    if after.is_none_or(|after| owner > after) {
                        owners.insert(owner);
                    }
                    Ok(())
                })?;
                while owners.len() > max {
                    owners.pop_last();
                }
            }
        }
        Ok(owners)
    }

    async fn totals_of(&mut self, shard: u16, owner: RecordKey) -> Result<OwnerTotals, StorageError> {
        let mut totals = OwnerTotals { owner, lines: 0, version: 0, holdings: Holdings::default(), digest: Line::DIGEST_START };
        let mut after = 0;
        while let Some(page) = self.page(shard, owner, Seek::After(after)).await? {
            for line in page.lines.iter().filter(|line| line.sequence > after) {
                fold::apply_line(&mut totals.holdings, owner, line)?;
                totals.lines += 1;
                totals.version = totals.version.max(line.version);
                totals.digest = line.digest(totals.digest);
            }
            after = page.lines.last().map_or(pages::SEQUENCE_MAX, |line| line.sequence);
        }
        Ok(totals)
    }
}

fn page_of(owner: RecordKey, blob: &[u8]) -> Result<Page, StorageError> {
    let (opening, packed) = postcard::take_from_bytes(blob).map_err(corrupt)?;
    let mut lines = Vec::new();
    pack::unpack(packed, owner, &mut lines)?;
    Ok(Page { opening, lines })
}

fn round_of(row: &SqliteRow) -> Result<(RoundKey, RoundRow), StorageError> {
    let name = RoundName::of_bytes(row.try_get("name").map_err(fault)?);
    let player = Uuid::from_slice(row.try_get("player").map_err(fault)?).map_err(corrupt)?;
    let provider: &str = row.try_get("provider").map_err(fault)?;
    let provider = provider.parse().map_err(corrupt)?;
    let data = postcard::from_bytes(row.try_get("data").map_err(fault)?).map_err(corrupt)?;
    Ok((RoundKey { name, player: PlayerId(player), provider }, data))
}

impl Snapshot for Read {
    fn shards(&mut self) -> BoxFuture<'_, Result<Vec<u16>, StorageError>> {
        Box::pin(async move {
            let select = sqlx::query_scalar("SELECT shard FROM position ORDER BY shard");
            select.fetch_all(&mut *self.transaction).await.map_err(fault)
        })
    }

    fn page(&mut self, shard: u16, owner: RecordKey, seek: Seek) -> BoxFuture<'_, Result<Option<Page>, StorageError>> {
        Box::pin(async move {
            let is_forward = !matches!(seek, Seek::Before(_));
            if is_forward && let Some(page) = self.filed(shard, owner, seek).await? {
                return Ok(Some(page));
            }
            let sections = self.recent(shard, owner).await?;
            let found = match seek {
                Seek::Before(before) => sections.iter().rfind(|section| section.first_sequence < before),
                Seek::After(after) => sections.iter().find(|section| section.last_sequence > after),
                Seek::AfterVersion(after) => sections.iter().find(|section| section.version > after),
            };
            if let Some(section) = found {
                let mut lines = Vec::new();
                pack::unpack(&section.lines, owner, &mut lines)?;
                return Ok(Some(Page { opening: section.opening.clone(), lines }));
            }
            if is_forward { Ok(None) } else { self.filed(shard, owner, seek).await }
        })
    }

    fn rounds_named<'a>(
        &'a mut self,
        name: &'a RoundName,
        player: Option<PlayerId>,
    ) -> BoxFuture<'a, Result<Vec<(RoundKey, RoundRow)>, StorageError>> {
        Box::pin(async move {
            let select = match player {
                Some(player) => {
                    let sql = "SELECT name, player, provider, data FROM round WHERE name = ? AND player = ? LIMIT ?";
                    sqlx::query(sql).bind(name.as_bytes()).bind(player.as_bytes().to_vec())
                }
                None => sqlx::query("SELECT name, player, provider, data FROM round WHERE name = ? LIMIT ?").bind(name.as_bytes()),
            };
            let rows = select.bind(ROUNDS_OF_NAME_MAX).fetch_all(&mut *self.transaction).await.map_err(fault)?;
            rows.iter().map(round_of).collect()
        })
    }

    fn sequence_at(&mut self, shard: u16, at: Timestamp) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            let sql = "SELECT sequence FROM moment WHERE shard = ? AND at <= ? ORDER BY at DESC, sequence DESC LIMIT 1";
            let select = sqlx::query_scalar::<_, i64>(sql).bind(shard).bind(at.0);
            let found = select.fetch_optional(&mut *self.transaction).await.map_err(fault)?;
            Ok(found.unwrap_or(0).unsigned_abs())
        })
    }
}

impl ProjectionReader for Reader {
    fn position(&self, shard: u16) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            let select = sqlx::query_scalar::<_, i64>("SELECT sequence FROM position WHERE shard = ?").bind(shard);
            Ok(select.fetch_optional(&self.pool).await.map_err(fault)?.unwrap_or(0).unsigned_abs())
        })
    }

    fn rounds(&self, player: PlayerId, before: Option<u64>, max: usize) -> BoxFuture<'_, Result<Vec<RoundView>, StorageError>> {
        Box::pin(async move { pages::rounds(&mut self.snapshot().await?, player, before, max).await })
    }

    fn rounds_since_version(
        &self,
        player: PlayerId,
        after_version: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<RoundView>, StorageError>> {
        Box::pin(async move { pages::rounds_since_version(&mut self.snapshot().await?, player, after_version, max).await })
    }

    fn round<'a>(&'a self, player: Option<PlayerId>, round: &'a str) -> BoxFuture<'a, Result<Option<RoundView>, StorageError>> {
        Box::pin(async move { pages::round(&mut self.snapshot().await?, player, round).await })
    }

    fn statement(
        &self,
        player: PlayerId,
        before: Option<u64>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<StatementLine>, StorageError>> {
        Box::pin(async move { pages::statement(&mut self.snapshot().await?, player, before, max).await })
    }

    fn postings(
        &self,
        shard: u16,
        book: Book,
        account: AccountId,
        after: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Posting>, StorageError>> {
        Box::pin(async move { pages::postings(&mut self.snapshot().await?, shard, book, account, after, max).await })
    }

    fn balance_at(&self, shard: u16, book: Book, account: AccountId, as_of: AsOf) -> BoxFuture<'_, Result<Amount, StorageError>> {
        Box::pin(async move { pages::balance_at(&mut self.snapshot().await?, shard, book, account, as_of).await })
    }

    fn open_rounds(&self, max: usize) -> BoxFuture<'_, Result<Vec<OpenRound>, StorageError>> {
        Box::pin(async move {
            let sql = "SELECT name, player, provider, data, shard FROM round INDEXED BY round_open \
                       WHERE is_open = 1 ORDER BY shard, position LIMIT ?";
            let select = sqlx::query(sql).bind(max.min(ANSWER_LINES_MAX) as i64);
            let rows = select.fetch_all(&self.pool).await.map_err(fault)?;
            let open = rows.iter().map(|row| {
                let (key, data) = round_of(row)?;
                Ok(data.open_view(row.try_get("shard").map_err(fault)?, &key))
            });
            open.collect()
        })
    }

    fn player_version(&self, player: PlayerId) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move { pages::player_version(&mut self.snapshot().await?, player).await })
    }

    fn rounds_count(&self, shard: u16) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            let select = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM round WHERE shard = ?").bind(shard);
            Ok(select.fetch_one(&self.pool).await.map_err(fault)?.unsigned_abs())
        })
    }

    fn owner_totals(
        &self,
        shard: u16,
        after: Option<RecordKey>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<OwnerTotals>, StorageError>> {
        Box::pin(async move {
            let mut read = self.snapshot().await?;
            let owners = read.owners(shard, after, max.min(ANSWER_LINES_MAX)).await?;
            let mut totals = Vec::with_capacity(owners.len());
            for owner in owners {
                totals.push(read.totals_of(shard, owner).await?);
            }
            Ok(totals)
        })
    }
}
