//! Projections: both back ends tell the same, each block has its whole effect once, and the ledger confirms them.

mod projection_journal;
mod projection_world;

use bytes::Bytes;
use projection_world::{SHARD, World, book, cash_of, provider, revenue};
use protocol::{AccountCode, AccountId, Amount, Book, OwnerKind, PlayerId, RecordKey, Timestamp, frame::RoundView};
use rand::{Rng, SeedableRng, rngs::StdRng};
use storage::{
    Ledger, ShardHead, ShardWriter, StorageError, StoredRecord, StoredUnit, UnitKey,
    ledger::BoxFuture,
    projection::{
        AsOf, MemoryProjection, OpenRound, OwnerTotals, Posting, ProjectionReader, ProjectionStore, SqliteProjection,
        StatementLine, sqlite::ProjectionOptions, verify_projections,
    },
};
use tempfile::TempDir;

/// Buckets this small are filed all the time.
const TIGHT: ProjectionOptions = ProjectionOptions { bucket_bytes_max: 1_500 };

struct Memory;
struct Sqlite;
struct SqliteTight;

trait BackEnd {
    async fn open(dir: &TempDir) -> Box<dyn ProjectionStore>;
}

impl BackEnd for Memory {
    async fn open(_: &TempDir) -> Box<dyn ProjectionStore> {
        Box::new(MemoryProjection::new())
    }
}

impl BackEnd for Sqlite {
    async fn open(dir: &TempDir) -> Box<dyn ProjectionStore> {
        Box::new(sqlite(dir, ProjectionOptions::default()).await)
    }
}

impl BackEnd for SqliteTight {
    async fn open(dir: &TempDir) -> Box<dyn ProjectionStore> {
        Box::new(sqlite(dir, TIGHT).await)
    }
}

async fn sqlite(dir: &TempDir, options: ProjectionOptions) -> SqliteProjection {
    SqliteProjection::open(&dir.path().join("projections.sqlite"), options).await.unwrap()
}

/// Everything a reader says, asked in several ways.
#[derive(Debug, PartialEq)]
struct Answers {
    rounds: Vec<Vec<RoundView>>,
    since: Vec<Vec<RoundView>>,
    statements: Vec<Vec<StatementLine>>,
    postings: Vec<Vec<Posting>>,
    balances: Vec<Amount>,
    open: Vec<OpenRound>,
    versions: Vec<u64>,
    totals: Vec<OwnerTotals>,
    rounds_count: u64,
}

async fn paged_rounds(reader: &dyn ProjectionReader, player: PlayerId, max: usize) -> Vec<RoundView> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = reader.rounds(player, before, max).await.unwrap();
        assert!(page.is_sorted_by(|a, b| a.position > b.position));
        let Some(last) = page.last() else { return all };
        before = Some(last.position);
        all.extend(page);
    }
}

async fn paged_statement(reader: &dyn ProjectionReader, player: PlayerId, max: usize) -> Vec<StatementLine> {
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = reader.statement(player, before, max).await.unwrap();
        assert!(page.len() <= max);
        let Some(last) = page.last() else { return all };
        before = Some(last.sequence);
        all.extend(page);
    }
}

async fn paged_postings(reader: &dyn ProjectionReader, account: AccountId, max: usize) -> Vec<Posting> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = reader.postings(SHARD, book(), account, after, max).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = last.sequence;
        all.extend(page);
    }
}

async fn answers(reader: &dyn ProjectionReader, world: &World, seed: u64) -> Answers {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut answers = Answers {
        rounds: Vec::new(),
        since: Vec::new(),
        statements: Vec::new(),
        postings: Vec::new(),
        balances: Vec::new(),
        open: reader.open_rounds(1_000).await.unwrap(),
        versions: Vec::new(),
        totals: reader.owner_totals(SHARD, None, 1_000).await.unwrap(),
        rounds_count: reader.rounds_count(SHARD).await.unwrap(),
    };
    for player in &world.players {
        answers.rounds.push(paged_rounds(reader, player.id, rng.random_range(1..9)).await);
        let after = rng.random_range(0..=player.version);
        answers.since.push(reader.rounds_since_version(player.id, after, rng.random_range(1..30)).await.unwrap());
        answers.statements.push(paged_statement(reader, player.id, rng.random_range(1..9)).await);
        answers.versions.push(reader.player_version(player.id).await.unwrap());
    }
    let accounts = world.players.iter().map(|player| cash_of(player.id)).chain([revenue(provider(0)), revenue(provider(1))]);
    for account in accounts {
        answers.postings.push(paged_postings(reader, account, rng.random_range(1..50)).await);
        for _ in 0..4 {
            let sequence = AsOf::Sequence(rng.random_range(0..world.sequence + 2));
            answers.balances.push(reader.balance_at(SHARD, book(), account, sequence).await.unwrap());
            let time = AsOf::Time(Timestamp(rng.random_range(1_699_999_999_000..world.at.0 + 1_000)));
            answers.balances.push(reader.balance_at(SHARD, book(), account, time).await.unwrap());
        }
    }
    answers
}

fn apply_in_blocks(store: &mut dyn ProjectionStore, units: &[StoredUnit], seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rest = units;
    while !rest.is_empty() {
        let (block, left) = rest.split_at(rng.random_range(1..=rest.len().min(90)));
        let position = store.apply(SHARD, block).unwrap();
        assert_eq!(position, block.last().unwrap().sequence);
        rest = left;
    }
}

/// What the units say, folded by the plainest means.
async fn a_reader_tells_what_the_units_say<B: BackEnd>() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = B::open(&dir).await;
    let mut world = World::new(1, 5);
    let units = world.units(900);
    apply_in_blocks(&mut *store, &units, 1);
    let reader = store.reader();
    for player in &world.players {
        let account = cash_of(player.id);
        let of_account = |unit: &StoredUnit| {
            let legs = unit.legs.iter().filter(move |leg| leg.book == book());
            legs.map(|leg| i64::from(leg.to == account) * leg.amount.0 - i64::from(leg.from == account) * leg.amount.0).sum::<i64>()
        };
        let postings = paged_postings(&*reader, account, 7).await;
        assert_eq!(postings.last().unwrap().balance, Amount(player.cash));
        assert_eq!(postings.iter().map(|posting| posting.amount.0).sum::<i64>(), player.cash);
        for sequence in [0, 1, 17, 450, 899, 900, 5_000] {
            let expected: i64 = units.iter().filter(|unit| unit.sequence <= sequence).map(of_account).sum();
            let found = reader.balance_at(SHARD, book(), account, AsOf::Sequence(sequence)).await.unwrap();
            assert_eq!(found, Amount(expected), "at {sequence}");
        }
        let statement = paged_statement(&*reader, player.id, 11).await;
        let touched = |unit: &&StoredUnit| {
            unit.records.iter().any(|(key, _, _)| *key == RecordKey::player(player.id)) || of_account(unit) != 0
        };
        let expected: Vec<u64> = units.iter().filter(touched).map(|unit| unit.sequence).rev().collect();
        assert_eq!(statement.iter().map(|line| line.sequence).collect::<Vec<_>>(), expected);
        let newest_cash = statement.iter().flat_map(|line| &line.balances).find(|holding| holding.code == AccountCode::Cash);
        assert_eq!(newest_cash.unwrap().amount, Amount(player.cash));
        assert_eq!(reader.player_version(player.id).await.unwrap(), player.version);
        let in_play = AccountId::new(RecordKey::player(player.id), AccountCode::InPlayCash);
        let open = reader.open_rounds(1_000).await.unwrap();
        let held: i64 = open.iter().filter(|round| round.player == player.id).map(|round| round.view.stake.0).sum();
        assert_eq!(held, player.in_play);
        assert_eq!(reader.balance_at(SHARD, book(), in_play, AsOf::Sequence(900)).await.unwrap(), Amount(held));
        let rounds = paged_rounds(&*reader, player.id, 13).await;
        let returned: i64 = rounds.iter().map(|round| round.win.0 + round.jackpot_win.0 - round.stake.0).sum();
        let funded: i64 = statement.iter().filter(|line| line.kind == "wallet.funded").map(|line| line.legs[0].amount.0).sum();
        assert_eq!(funded + returned, player.cash, "rounds explain the balance");
        let known = reader.round(Some(player.id), &rounds[0].round).await.unwrap().unwrap();
        assert_eq!(known, rounds[0]);
        let settled = rounds.iter().find(|round| round.detail.is_some()).unwrap();
        assert!(settled.detail.as_ref().unwrap().0.get().contains("symbols"));
    }
    assert_eq!(reader.round(None, "unheard of").await.unwrap(), None);
}

async fn rounds_since_a_version_miss_nothing<B: BackEnd>() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = B::open(&dir).await;
    let mut world = World::new(2, 2);
    apply_in_blocks(&mut *store, &world.units(700), 2);
    let reader = store.reader();
    for player in &world.players {
        let mut all = paged_rounds(&*reader, player.id, 100).await;
        all.reverse();
        for after in [0, 1, player.version / 2, player.version - 1, player.version, player.version + 9] {
            let expected: Vec<_> = all.iter().filter(|round| round.version > after).cloned().collect();
            let found = reader.rounds_since_version(player.id, after, 1_000).await.unwrap();
            assert_eq!(found, expected, "after version {after}");
            let first = reader.rounds_since_version(player.id, after, 3).await.unwrap();
            assert_eq!(first, expected[..expected.len().min(3)]);
        }
    }
}

async fn it_answers_as_memory_does<B: BackEnd>() {
    for seed in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, mut model) = (B::open(&dir).await, MemoryProjection::new());
        let mut world = World::new(seed, 4);
        for step in 0..3 {
            let units = world.units(150);
            apply_in_blocks(&mut *store, &units, seed + step);
            model.apply(SHARD, &units).unwrap();
            let (found, expected) = (answers(&*store.reader(), &world, seed).await, answers(&*model.reader(), &world, seed).await);
            assert_eq!(found, expected, "seed {seed}, step {step}");
        }
    }
}

async fn a_block_may_come_twice_and_must_not_skip<B: BackEnd>() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = B::open(&dir).await;
    let mut world = World::new(5, 3);
    let units = world.units(300);
    store.apply(SHARD, &units[..200]).unwrap();
    let before = answers(&*store.reader(), &world, 5).await;
    assert_eq!(store.apply(SHARD, &units[..200]).unwrap(), 200);
    assert_eq!(store.apply(SHARD, &units[50..120]).unwrap(), 200);
    assert_eq!(store.apply(SHARD, &[]).unwrap(), 200);
    assert!(matches!(store.apply(SHARD, &units[201..]), Err(StorageError::Corrupt(_))));
    assert_eq!(answers(&*store.reader(), &world, 5).await, before);
    // A block that overlaps the position takes effect behind it only.
    assert_eq!(store.apply(SHARD, &units[150..]).unwrap(), 300);
    let mut model = MemoryProjection::new();
    model.apply(SHARD, &units).unwrap();
    assert_eq!(answers(&*store.reader(), &world, 5).await, answers(&*model.reader(), &world, 5).await);
}

async fn a_block_that_fails_in_the_middle_leaves_nothing<B: BackEnd>() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = B::open(&dir).await;
    let mut world = World::new(6, 3);
    let units = world.units(300);
    store.apply(SHARD, &units[..100]).unwrap();
    let before = answers(&*store.reader(), &world, 6).await;
    let mut broken = units[100..].to_vec();
    broken[90].events = Bytes::from_static(b"{\"id\":");
    assert!(matches!(store.apply(SHARD, &broken), Err(StorageError::Corrupt(_))));
    assert_eq!((store.position(SHARD).unwrap(), answers(&*store.reader(), &world, 6).await), (100, before));
    assert_eq!(store.apply(SHARD, &units[100..]).unwrap(), 300);
}

async fn the_ledger_confirms_it<B: BackEnd>() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = B::open(&dir).await;
    let mut world = World::new(7, 6);
    let units = world.units(600);
    apply_in_blocks(&mut *store, &units[..500], 7);
    // The ledger may be ahead, never behind, and never say anything else.
    let reader = store.reader();
    assert_eq!(verify_projections(&Units(units.clone()), &*reader).await.unwrap(), Vec::<String>::new());
    assert_eq!(verify_projections(&Units(units[..400].to_vec()), &*reader).await.unwrap().len(), 1);
    let mut other = units.clone();
    let spun = other
        .iter()
        .position(|unit| {
            unit.legs.len() == 2 && unit.legs[1].to.code == AccountCode::Cash && unit.legs[0].from.code == AccountCode::Cash
        })
        .unwrap();
    other[spun].legs[1].amount.0 += 1;
    assert!(!verify_projections(&Units(other), &*reader).await.unwrap().is_empty());
    let mut other = units;
    let text = String::from_utf8(other[spun].events.to_vec()).unwrap().replace("\"multiplier\":2", "\"multiplier\":9");
    other[spun].events = Bytes::from(text);
    assert_eq!(verify_projections(&Units(other), &*reader).await.unwrap().len(), 1);
}

macro_rules! projection_test_suite {
    ($module:ident, $back_end:ident: $($test:ident),* $(,)?) => {
        mod $module {
            $(#[tokio::test]
            async fn $test() {
                super::$test::<super::$back_end>().await;
            })*
        }
    };
    ($module:ident, $back_end:ident) => {
        projection_test_suite!($module, $back_end:
            a_reader_tells_what_the_units_say,
            rounds_since_a_version_miss_nothing,
            it_answers_as_memory_does,
            a_block_may_come_twice_and_must_not_skip,
            a_block_that_fails_in_the_middle_leaves_nothing,
            the_ledger_confirms_it,
        );
    };
}

projection_test_suite!(memory, Memory);
projection_test_suite!(sqlite, Sqlite);
projection_test_suite!(sqlite_tight, SqliteTight);

#[tokio::test]
async fn a_file_goes_on_where_it_was_left_and_equals_a_rebuilt_one() {
    let (dir, rebuilt) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut world = World::new(8, 4);
    let units = world.units(800);
    for block in units.chunks(130) {
        let mut store = sqlite(&dir, TIGHT).await;
        assert_eq!(store.position(SHARD).unwrap(), block[0].sequence - 1);
        store.apply(SHARD, block).unwrap();
        store.close().await;
    }
    let mut at_once = sqlite(&rebuilt, ProjectionOptions::default()).await;
    at_once.apply(SHARD, &units).unwrap();
    let incremental = sqlite(&dir, TIGHT).await;
    let (found, expected) = (answers(&*incremental.reader(), &world, 8).await, answers(&*at_once.reader(), &world, 8).await);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_failure_at_the_very_end_of_the_transaction_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = sqlite(&dir, TIGHT).await;
    let mut world = World::new(9, 3);
    let units = world.units(400);
    store.apply(SHARD, &units[..100]).unwrap();
    let before = answers(&*store.reader(), &world, 9).await;
    let trigger = "CREATE TRIGGER full BEFORE UPDATE ON position BEGIN SELECT RAISE(ABORT, 'no more'); END";
    sqlx::query(trigger).execute(&store.pool()).await.unwrap();
    assert!(store.apply(SHARD, &units[100..]).is_err());
    assert_eq!((store.position(SHARD).unwrap(), answers(&*store.reader(), &world, 9).await), (100, before));
    sqlx::query("DROP TRIGGER full").execute(&store.pool()).await.unwrap();
    assert_eq!(store.apply(SHARD, &units[100..]).unwrap(), 400);
    assert_eq!(verify_projections(&Units(units), &*store.reader()).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_page_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = sqlite(&dir, TIGHT).await;
    let units = World::new(10, 4).units(600);
    apply_in_blocks(&mut store, &units, 10);
    let verified = verify_projections(&Units(units.clone()), &*store.reader()).await.unwrap();
    assert_eq!(verified, Vec::<String>::new());
    for lost in [
        "DELETE FROM round WHERE name = (SELECT max(name) FROM round)",
        "DELETE FROM recent WHERE first_sequence = (SELECT max(first_sequence) FROM recent)",
        "DELETE FROM page WHERE first_sequence = (SELECT max(first_sequence) FROM page)",
    ] {
        let known = verify_projections(&Units(units.clone()), &*store.reader()).await.map_or(0, |violations| violations.len());
        assert_eq!(sqlx::query(lost).execute(&store.pool()).await.unwrap().rows_affected().min(1), 1);
        let verified = verify_projections(&Units(units.clone()), &*store.reader()).await;
        assert!(verified.is_err() || verified.is_ok_and(|violations| violations.len() > known), "{lost}");
    }
}

/// A ledger that has units and nothing else.
struct Units(Vec<StoredUnit>);

fn nothing<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, StorageError>> {
    Box::pin(async { Err(StorageError::Unavailable("only units".to_owned())) })
}

impl Ledger for Units {
    fn shards(&self) -> u16 {
        1
    }

    fn open_shard(&self, _: u16) -> BoxFuture<'_, Result<Box<dyn ShardWriter>, StorageError>> {
        nothing()
    }

    fn head(&self, shard: u16) -> BoxFuture<'_, Result<ShardHead, StorageError>> {
        let sequence = self.0.last().map_or(0, |unit| unit.sequence);
        Box::pin(async move { Ok(ShardHead { shard, epoch: 1, sequence, hash: [0; 32] }) })
    }

    fn record(&self, _: RecordKey) -> BoxFuture<'_, Result<Option<StoredRecord>, StorageError>> {
        nothing()
    }

    fn records(&self, _: OwnerKind, _: Option<[u8; 16]>, _: usize) -> BoxFuture<'_, Result<Vec<StoredRecord>, StorageError>> {
        nothing()
    }

    fn unit_by_key(&self, _: UnitKey) -> BoxFuture<'_, Result<Option<StoredUnit>, StorageError>> {
        nothing()
    }

    fn units(&self, _: u16, after: u64, max: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StorageError>> {
        let after = self.0.iter().filter(move |unit| unit.sequence > after).take(max);
        let units = after.map(|unit| (unit.sequence, Bytes::from(unit.encode()))).collect();
        Box::pin(async move { Ok(units) })
    }

    fn house_accounts(&self) -> BoxFuture<'_, Result<Vec<(Book, AccountId, Amount)>, StorageError>> {
        nothing()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
