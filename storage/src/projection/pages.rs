//! The answers, read from pages of an owner's lines: written once, for every back end that can hand out pages.

use protocol::{AccountId, Amount, Book, Holding, Holdings, PlayerId, RecordKey, Timestamp, frame::RoundView};

use super::{
    ANSWER_LINES_MAX, AsOf, Posting, StatementLine,
    fold::{self, Line},
    round::{RoundKey, RoundName, RoundRow},
};
use crate::ledger::{BoxFuture, StorageError};

/// Lines a page holds at most, unless one block brought more for the owner than that.
pub const PAGE_LINES_MAX: usize = 256;

/// A run of an owner's lines, never empty, and its balances before the first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub opening: Holdings,
    pub lines: Vec<Line>,
}

/// Which page.
#[derive(Clone, Copy, Debug)]
pub enum Seek {
    /// The one with the newest line below a sequence.
    Before(u64),
    /// The one with the oldest line above a sequence.
    After(u64),
    /// The oldest with a line that wrote a version above this.
    AfterVersion(u64),
}

/// One consistent state of a back end.
pub trait Snapshot: Send {
    fn shards(&mut self) -> BoxFuture<'_, Result<Vec<u16>, StorageError>>;
    fn page(&mut self, shard: u16, owner: RecordKey, seek: Seek) -> BoxFuture<'_, Result<Option<Page>, StorageError>>;
    fn rounds_named<'a>(
        &'a mut self,
        name: &'a RoundName,
        player: Option<PlayerId>,
    ) -> BoxFuture<'a, Result<Vec<(RoundKey, RoundRow)>, StorageError>>;
    /// A sequence up to which no unit is later than a time: not the last one, but near it.
    fn sequence_at(&mut self, shard: u16, at: Timestamp) -> BoxFuture<'_, Result<u64, StorageError>>;
}

/// SQLite keeps signed numbers; no sequence comes near this.
pub const SEQUENCE_MAX: u64 = i64::MAX as u64;

/// The shard a player has lines in, with the newest page.
async fn home(snapshot: &mut dyn Snapshot, owner: RecordKey, seek: Seek) -> Result<Option<(u16, Page)>, StorageError> {
    for shard in snapshot.shards().await? {
        if let Some(page) = snapshot.page(shard, owner, seek).await? {
            return Ok(Some((shard, page)));
        }
    }
    Ok(None)
}

fn bounds(before: Option<u64>, max: usize) -> (u64, usize) {
    (before.unwrap_or(SEQUENCE_MAX).min(SEQUENCE_MAX), max.min(ANSWER_LINES_MAX))
}

/// The player's rounds whose last change is this line's unit.
async fn rounds_of_line(
    snapshot: &mut dyn Snapshot,
    player: PlayerId,
    line: &Line,
    out: &mut Vec<RoundView>,
) -> Result<(), StorageError> {
    for name in &line.rounds {
        let rows = snapshot.rounds_named(name, Some(player)).await?;
        out.extend(rows.iter().filter(|(_, row)| row.position == line.sequence).map(|(key, row)| row.view(key)));
    }
    Ok(())
}

pub async fn rounds(
    snapshot: &mut dyn Snapshot,
    player: PlayerId,
    before: Option<u64>,
    max: usize,
) -> Result<Vec<RoundView>, StorageError> {
    let (mut before, max) = bounds(before, max);
    let owner = RecordKey::player(player);
    let mut views = Vec::new();
    let mut next = home(snapshot, owner, Seek::Before(before)).await?;
    while let Some((shard, page)) = next {
        for line in page.lines.iter().rev().filter(|line| line.sequence < before) {
            if views.len() >= max {
                return Ok(views);
            }
            rounds_of_line(snapshot, player, line, &mut views).await?;
        }
        before = page.lines.first().map_or(0, |line| line.sequence);
        next = snapshot.page(shard, owner, Seek::Before(before)).await?.map(|page| (shard, page));
    }
    Ok(views)
}

pub async fn rounds_since_version(
    snapshot: &mut dyn Snapshot,
    player: PlayerId,
    version: u64,
    max: usize,
) -> Result<Vec<RoundView>, StorageError> {
    let (_, max) = bounds(None, max);
    let owner = RecordKey::player(player);
    let mut views = Vec::new();
    let mut next = home(snapshot, owner, Seek::AfterVersion(version.min(SEQUENCE_MAX))).await?;
    let mut after = 0;
    while let Some((shard, page)) = next {
        for line in page.lines.iter().filter(|line| line.sequence > after && (line.version == 0 || line.version > version)) {
            if views.len() >= max {
                return Ok(views);
            }
            let known = views.len();
            rounds_of_line(snapshot, player, line, &mut views).await?;
            let is_old = |view: &RoundView| view.version <= version;
            if views[known..].iter().any(is_old) {
                let kept = views.split_off(known);
                views.extend(kept.into_iter().filter(|view| !is_old(view)));
            }
        }
        after = page.lines.last().map_or(after, |line| line.sequence);
        next = snapshot.page(shard, owner, Seek::After(after)).await?.map(|page| (shard, page));
    }
    Ok(views)
}

pub async fn round(snapshot: &mut dyn Snapshot, player: Option<PlayerId>, round: &str) -> Result<Option<RoundView>, StorageError> {
    let rows = snapshot.rounds_named(&RoundName::of_text(round), player).await?;
    let latest = rows.iter().max_by_key(|(key, row)| (row.at, row.position, key.player));
    Ok(latest.map(|(key, row)| row.view(key)))
}

pub async fn statement(
    snapshot: &mut dyn Snapshot,
    player: PlayerId,
    before: Option<u64>,
    max: usize,
) -> Result<Vec<StatementLine>, StorageError> {
    let (mut before, max) = bounds(before, max);
    let owner = RecordKey::player(player);
    let mut statement = Vec::new();
    let mut next = home(snapshot, owner, Seek::Before(before)).await?;
    while let Some((shard, page)) = next {
        let first = page.lines.first().map_or(0, |line| line.sequence);
        let mut holdings = page.opening;
        let mut lines = Vec::with_capacity(page.lines.len());
        for line in page.lines.into_iter().take_while(|line| line.sequence < before) {
            fold::apply_line(&mut holdings, owner, &line)?;
            lines.push(statement_line(owner, &holdings, line));
        }
        statement.extend(lines.into_iter().rev().take(max - statement.len()));
        if statement.len() >= max {
            break;
        }
        before = first;
        next = snapshot.page(shard, owner, Seek::Before(before)).await?.map(|page| (shard, page));
    }
    Ok(statement)
}

fn statement_line(owner: RecordKey, holdings: &Holdings, line: Line) -> StatementLine {
    let mut balances: Vec<Holding> = Vec::with_capacity(2);
    for leg in &line.legs {
        for account in [leg.from, leg.to].into_iter().filter(|account| account.owner == owner) {
            let amount = holdings.get(&leg.book, account.code, account.sub);
            let holding = Holding { book: leg.book, code: account.code, sub: account.sub, amount };
            if !balances.contains(&holding) {
                balances.push(holding);
            }
        }
    }
    let Line { sequence, at, key, kind, version, legs, .. } = line;
    StatementLine { sequence, at, key, kind: kind.into_owned(), legs, balances, version }
}

pub async fn postings(
    snapshot: &mut dyn Snapshot,
    shard: u16,
    book: Book,
    account: AccountId,
    after: u64,
    max: usize,
) -> Result<Vec<Posting>, StorageError> {
    let (_, max) = bounds(None, max);
    let mut after = after.min(SEQUENCE_MAX);
    let mut postings = Vec::new();
    while let Some(page) = snapshot.page(shard, account.owner, Seek::After(after)).await? {
        let mut balance = page.opening.get(&book, account.code, account.sub);
        for line in &page.lines {
            if postings.len() >= max {
                return Ok(postings);
            }
            let is_asked = line.sequence > after;
            for (counterparty, amount) in sides(line, &book, account) {
                balance = balance.checked_add(amount).map_err(|error| fold::damaged(line.sequence, error))?;
                if is_asked {
                    let (key, kind) = (line.key.clone(), line.kind.to_string());
                    postings.push(Posting { sequence: line.sequence, at: line.at, key, kind, counterparty, amount, balance });
                }
            }
        }
        after = page.lines.last().map_or(SEQUENCE_MAX, |line| line.sequence);
    }
    Ok(postings)
}

/// What a line takes from and adds to one account, in order.
fn sides<'a>(line: &'a Line, book: &'a Book, account: AccountId) -> impl Iterator<Item = (AccountId, Amount)> + 'a {
    line.legs.iter().filter(move |leg| leg.book == *book).flat_map(move |leg| {
        let debit = (leg.from == account).then_some((leg.to, Amount(-leg.amount.0)));
        let credit = (leg.to == account).then_some((leg.from, leg.amount));
        debit.into_iter().chain(credit)
    })
}

pub async fn balance_at(
    snapshot: &mut dyn Snapshot,
    shard: u16,
    book: Book,
    account: AccountId,
    as_of: AsOf,
) -> Result<Amount, StorageError> {
    let (sequence, later_than) = match as_of {
        AsOf::Sequence(sequence) => (sequence.min(SEQUENCE_MAX - 1), None),
        AsOf::Time(at) => (snapshot.sequence_at(shard, at).await?, Some(at)),
    };
    let mut balance = Amount::ZERO;
    if let Some(page) = snapshot.page(shard, account.owner, Seek::Before(sequence + 1)).await? {
        balance = page.opening.get(&book, account.code, account.sub);
        for line in page.lines.iter().take_while(|line| line.sequence <= sequence) {
            balance = moved(balance, line, &book, account)?;
        }
    }
    let Some(at) = later_than else { return Ok(balance) };
    let mut after = sequence;
    while let Some(page) = snapshot.page(shard, account.owner, Seek::After(after)).await? {
        for line in page.lines.iter().filter(|line| line.sequence > after) {
            if line.at > at {
                return Ok(balance);
            }
            balance = moved(balance, line, &book, account)?;
        }
        after = page.lines.last().map_or(SEQUENCE_MAX, |line| line.sequence);
    }
    Ok(balance)
}

fn moved(balance: Amount, line: &Line, book: &Book, account: AccountId) -> Result<Amount, StorageError> {
    sides(line, book, account)
        .try_fold(balance, |balance, (_, amount)| balance.checked_add(amount))
        .map_err(|error| fold::damaged(line.sequence, error))
}

pub async fn player_version(snapshot: &mut dyn Snapshot, player: PlayerId) -> Result<u64, StorageError> {
    let owner = RecordKey::player(player);
    let mut next = home(snapshot, owner, Seek::Before(SEQUENCE_MAX)).await?;
    while let Some((shard, page)) = next {
        if let Some(line) = page.lines.iter().rev().find(|line| line.version > 0) {
            return Ok(line.version);
        }
        let before = page.lines.first().map_or(0, |line| line.sequence);
        next = snapshot.page(shard, owner, Seek::Before(before)).await?.map(|page| (shard, page));
    }
    Ok(0)
}
