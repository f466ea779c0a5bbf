//! The projection in memory: for simulation, and as the measure of the other back end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use protocol::{AccountId, Amount, Book, Holdings, PlayerId, ProviderId, RecordKey, Timestamp, frame::RoundView};

use super::{
    ANSWER_LINES_MAX, AsOf, OpenRound, OwnerTotals, Posting, ProjectionReader, ProjectionStore, StatementLine,
    fold::{self, Folded, Line},
    pages::{self, PAGE_LINES_MAX, Page, Seek, Snapshot},
    round::{Moment, RoundChange, RoundKey, RoundName, RoundRow, RoundStatus},
};
use crate::{
    ledger::{BoxFuture, StorageError},
    unit::StoredUnit,
};

/// Cheap to clone; all clones are the same projection.
#[derive(Clone, Default)]
pub struct MemoryProjection {
    /// Queries keep the state they began with; a block that comes meanwhile works on a copy.
    state: Arc<Mutex<Arc<State>>>,
}

/// Rounds by name, then by whom they belong to, with their shard.
#[derive(Clone, Default)]
struct Rounds(BTreeMap<RoundName, OfName>);

type OfName = BTreeMap<(PlayerId, ProviderId), (u16, RoundRow)>;

#[derive(Clone, Default)]
struct State {
    positions: BTreeMap<u16, u64>,
    owners: BTreeMap<(u16, RecordKey), Owner>,
    rounds: Rounds,
}

#[derive(Clone, Default)]
struct Owner {
    pages: Vec<Page>,
    holdings: Holdings,
    version: u64,
}

/// The effect of a block before it is shown.
#[derive(Default)]
struct Staged {
    lines: BTreeMap<RecordKey, Vec<Line>>,
    holdings: BTreeMap<RecordKey, Holdings>,
    rounds: Rounds,
}

impl MemoryProjection {
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<State>> {
        // A block is staged before it is taken over, and taking over cannot panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProjectionStore for MemoryProjection {
    fn apply(&mut self, shard: u16, units: &[StoredUnit]) -> Result<u64, StorageError> {
        let mut state = self.lock();
        let state = Arc::make_mut(&mut state);
        let known = state.positions.get(&shard).copied().unwrap_or_default();
        let (mut position, mut staged) = (known, Staged::default());
        for unit in units.iter().skip_while(|unit| unit.sequence <= known) {
            if unit.sequence != position + 1 {
                return Err(fold::damaged(unit.sequence, format_args!("expected {}", position + 1)));
            }
            position = unit.sequence;
            state.stage(&mut staged, shard, unit)?;
        }
        state.take_over(staged, shard);
        state.positions.insert(shard, position);
        Ok(position)
    }

    fn position(&mut self, shard: u16) -> Result<u64, StorageError> {
        Ok(self.lock().positions.get(&shard).copied().unwrap_or_default())
    }

    fn reader(&self) -> Arc<dyn ProjectionReader> {
        Arc::new(self.clone())
    }
}

impl State {
    fn stage(&self, staged: &mut Staged, shard: u16, unit: &StoredUnit) -> Result<(), StorageError> {
        let Folded { lines, rounds } = fold::fold(unit)?;
        for change in &rounds {
            let version =
                lines.iter().find(|(owner, _)| *owner == RecordKey::player(change.player)).map_or(0, |(_, line)| line.version);
            let moment = Moment { sequence: unit.sequence, at: unit.at, version };
            self.stage_round(staged, shard, change, moment)?;
        }
        for (owner, line) in lines {
            let holdings = staged
                .holdings
                .entry(owner)
                .or_insert_with(|| self.owners.get(&(shard, owner)).map(|owner| owner.holdings.clone()).unwrap_or_default());
            fold::apply_line(holdings, owner, &line)?;
            staged.lines.entry(owner).or_default().push(line);
        }
        Ok(())
    }

    fn stage_round(&self, staged: &mut Staged, shard: u16, change: &RoundChange, moment: Moment) -> Result<(), StorageError> {
        let key = match change.provider {
            Some(provider) => RoundKey { name: change.name.clone(), player: change.player, provider },
            None => {
                let mut known = self.rounds.named(&change.name, Some(change.player));
                known.extend(staged.rounds.named(&change.name, Some(change.player)));
                let Some((key, _)) = known.into_iter().max_by_key(|(key, row)| (row.position, key.provider)) else { return Ok(()) };
                key
            }
        };
        let row = staged.rounds.get(&key).or_else(|| self.rounds.get(&key)).cloned();
        let row = RoundRow::after(row, &change.change, moment).map_err(|error| fold::damaged(moment.sequence, error))?;
        if let Some(row) = row {
            staged.rounds.insert(&key, shard, row);
        }
        Ok(())
    }

    fn take_over(&mut self, staged: Staged, shard: u16) {
        for (owner, lines) in staged.lines {
            let kept = self.owners.entry((shard, owner)).or_default();
            let mut holdings = std::mem::take(&mut kept.holdings);
            for line in lines {
                if kept.pages.last().is_none_or(|page| page.lines.len() >= PAGE_LINES_MAX) {
                    kept.pages.push(Page { opening: holdings.clone(), lines: Vec::new() });
                }
                // Staging has applied the same line without an error.
                let _ = fold::apply_line(&mut holdings, owner, &line);
                kept.version = kept.version.max(line.version);
                if let Some(page) = kept.pages.last_mut() {
                    page.lines.push(line);
                }
            }
            kept.holdings = holdings;
        }
        for (name, rounds) in staged.rounds.0 {
            self.rounds.0.entry(name).or_default().extend(rounds);
        }
    }
}

impl Rounds {
    fn get(&self, key: &RoundKey) -> Option<&RoundRow> {
        self.0.get(&key.name)?.get(&(key.player, key.provider)).map(|(_, row)| row)
    }

    fn insert(&mut self, key: &RoundKey, shard: u16, row: RoundRow) {
        self.0.entry(key.name.clone()).or_default().insert((key.player, key.provider), (shard, row));
    }

    /// Rounds of a name, of one player or of all.
    fn named(&self, name: &RoundName, player: Option<PlayerId>) -> Vec<(RoundKey, RoundRow)> {
        let all = self.0.get(name).into_iter().flatten();
        all.filter(|((of, _), _)| player.is_none_or(|player| player == *of))
            .map(|((player, provider), (_, row))| {
                (RoundKey { name: name.clone(), player: *player, provider: *provider }, row.clone())
            })
            .collect()
    }

    fn iter(&self) -> impl Iterator<Item = (RoundKey, u16, &RoundRow)> {
        self.0.iter().flat_map(|(name, rounds)| {
            rounds.iter().map(|((player, provider), (shard, row))| {
                (RoundKey { name: name.clone(), player: *player, provider: *provider }, *shard, row)
            })
        })
    }
}

/// The state as one query sees it.
struct Kept(Arc<State>);

impl Snapshot for Kept {
    fn shards(&mut self) -> BoxFuture<'_, Result<Vec<u16>, StorageError>> {
        ready(Ok(self.0.positions.keys().copied().collect()))
    }

    fn page(&mut self, shard: u16, owner: RecordKey, seek: Seek) -> BoxFuture<'_, Result<Option<Page>, StorageError>> {
        let pages = self.0.owners.get(&(shard, owner)).map(|owner| owner.pages.as_slice()).unwrap_or_default();
        let first = |page: &Page| page.lines.first().map_or(0, |line| line.sequence);
        let last = |page: &Page| page.lines.last().map_or(0, |line| line.sequence);
        let version = |page: &Page| page.lines.iter().map(|line| line.version).max().unwrap_or(0);
        let page = match seek {
            Seek::Before(before) => {
                pages.partition_point(|page| first(page) < before).checked_sub(1).and_then(|index| pages.get(index))
            }
            Seek::After(after) => pages.get(pages.partition_point(|page| last(page) <= after)),
            Seek::AfterVersion(after) => pages.iter().find(|page| version(page) > after),
        };
        ready(Ok(page.cloned()))
    }

    fn rounds_named<'a>(
        &'a mut self,
        name: &'a RoundName,
        player: Option<PlayerId>,
    ) -> BoxFuture<'a, Result<Vec<(RoundKey, RoundRow)>, StorageError>> {
        ready(Ok(self.0.rounds.named(name, player)))
    }

    fn sequence_at(&mut self, _: u16, _: Timestamp) -> BoxFuture<'_, Result<u64, StorageError>> {
        // From the start on: the query walks the account's lines itself.
        ready(Ok(0))
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl MemoryProjection {
    fn snapshot(&self) -> Kept {
        Kept(Arc::clone(&self.lock()))
    }
}

impl ProjectionReader for MemoryProjection {
    fn position(&self, shard: u16) -> BoxFuture<'_, Result<u64, StorageError>> {
        ready(Ok(self.lock().positions.get(&shard).copied().unwrap_or_default()))
    }

    fn rounds(&self, player: PlayerId, before: Option<u64>, max: usize) -> BoxFuture<'_, Result<Vec<RoundView>, StorageError>> {
        Box::pin(async move { pages::rounds(&mut self.snapshot(), player, before, max).await })
    }

    fn rounds_since_version(
        &self,
        player: PlayerId,
        after_version: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<RoundView>, StorageError>> {
        Box::pin(async move { pages::rounds_since_version(&mut self.snapshot(), player, after_version, max).await })
    }

    fn round<'a>(&'a self, player: Option<PlayerId>, round: &'a str) -> BoxFuture<'a, Result<Option<RoundView>, StorageError>> {
        Box::pin(async move { pages::round(&mut self.snapshot(), player, round).await })
    }

    fn statement(
        &self,
        player: PlayerId,
        before: Option<u64>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<StatementLine>, StorageError>> {
        Box::pin(async move { pages::statement(&mut self.snapshot(), player, before, max).await })
    }

    fn postings(
        &self,
        shard: u16,
        book: Book,
        account: AccountId,
        after: u64,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Posting>, StorageError>> {
        Box::pin(async move { pages::postings(&mut self.snapshot(), shard, book, account, after, max).await })
    }

    fn balance_at(&self, shard: u16, book: Book, account: AccountId, as_of: AsOf) -> BoxFuture<'_, Result<Amount, StorageError>> {
        Box::pin(async move { pages::balance_at(&mut self.snapshot(), shard, book, account, as_of).await })
    }

    fn open_rounds(&self, max: usize) -> BoxFuture<'_, Result<Vec<OpenRound>, StorageError>> {
        let state = self.snapshot().0;
        let open = state.rounds.iter().filter(|(_, _, row)| row.status() == RoundStatus::Open);
        let mut open: Vec<_> = open.map(|(key, shard, row)| row.open_view(shard, &key)).collect();
        open.sort_by(|a, b| (a.shard, a.view.position, &a.view.round).cmp(&(b.shard, b.view.position, &b.view.round)));
        open.truncate(max.min(ANSWER_LINES_MAX));
        ready(Ok(open))
    }

    fn player_version(&self, player: PlayerId) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move { pages::player_version(&mut self.snapshot(), player).await })
    }

    fn rounds_count(&self, shard: u16) -> BoxFuture<'_, Result<u64, StorageError>> {
        let state = self.snapshot().0;
        ready(Ok(state.rounds.iter().filter(|(_, of, _)| *of == shard).count() as u64))
    }

    fn owner_totals(
        &self,
        shard: u16,
        after: Option<RecordKey>,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<OwnerTotals>, StorageError>> {
        let state = self.snapshot().0;
        let owners = state.owners.iter().filter(|((of, owner), _)| *of == shard && after.is_none_or(|after| *owner > after));
        let totals = owners.take(max.min(ANSWER_LINES_MAX)).map(|((_, owner), kept)| OwnerTotals {
            owner: *owner,
            lines: kept.pages.iter().map(|page| page.lines.len() as u64).sum(),
            version: kept.version,
            holdings: kept.holdings.clone(),
            digest: kept.pages.iter().flat_map(|page| &page.lines).fold(Line::DIGEST_START, |digest, line| line.digest(digest)),
        });
        ready(Ok(totals.collect()))
    }
}
