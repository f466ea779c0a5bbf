//! What SQLite alone must prove: nobody hears of a commit before its log is synced, and every failure says what is certain.

use std::{sync::Arc, task::Poll};

use storage::{
    CommitError, Ledger, StorageError, UnitOfWork,
    ledger::faults::{Fault, FaultPlan, Gate},
    memory::MemoryLedger,
    sqlite::{
        SqliteLedger, SqliteOptions,
        trace::{self, SyncTrace},
    },
    testing::{bare, deposit, player, spin},
};
use tempfile::TempDir;

const SQLITE_FULL: i32 = 13;
const SQLITE_IOERR_FSYNC: i32 = 1_034;

struct Traced {
    dir: TempDir,
    trace: SyncTrace,
    ledger: SqliteLedger,
}

async fn traced(autocheckpoint: u32) -> Traced {
    let dir = TempDir::new().unwrap();
    let trace = trace::install();
    let options = SqliteOptions { vfs: trace.vfs(), wal_autocheckpoint_pages: autocheckpoint, ..Default::default() };
    let ledger = SqliteLedger::open(dir.path(), options).await.unwrap();
    Traced { dir, trace, ledger }
}

async fn poll_once<T>(future: &mut storage::ledger::BoxFuture<'_, T>) -> Poll<T> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

#[tokio::test]
async fn every_commit_is_answered_after_its_log_is_synced() {
    // With a checkpoint at nearly every commit, and with none.
    for autocheckpoint in [4, 0] {
        let Traced { dir, trace, ledger } = traced(autocheckpoint).await;
        let mut writer = ledger.open_shard(0).await.unwrap();
        for n in 0..40 {
            let before = trace.state(dir.path());
            let units = vec![deposit(2 * n, player(n), 0, 50), spin(2 * n + 1, player(n), 1, 20, 5)];
            writer.commit(units).await.unwrap();
            let after = trace.state(dir.path());
            assert!(after.writes > before.writes, "the commit was written to the log");
            assert!(after.syncs > before.syncs, "the log was synced");
            assert_eq!(after.unsynced, 0, "nothing was written after the sync");
        }
    }
}

#[tokio::test]
async fn a_takeover_is_durable_before_it_is_answered() {
    let Traced { dir, trace, ledger } = traced(0).await;
    let before = trace.state(dir.path());
    drop(ledger.open_shard(0).await.unwrap());
    let after = trace.state(dir.path());
    assert!(after.syncs > before.syncs && after.unsynced == 0);
}

#[tokio::test]
async fn no_answer_leaves_while_the_sync_is_held_back() {
    let Traced { dir, trace, ledger } = traced(0).await;
    let mut writer = ledger.open_shard(0).await.unwrap();
    trace.hold(dir.path());
    let mut commit = writer.commit(vec![deposit(1, player(1), 0, 50)]);
    assert!(poll_once(&mut commit).await.is_pending());
    trace.wait_held(dir.path());
    // Everything but the sync is done: neither the answer nor a reader may show the unit.
    assert!(poll_once(&mut commit).await.is_pending());
    assert!(ledger.record(player(1)).await.unwrap().is_none());
    trace.release(dir.path());
    commit.await.unwrap();
    assert!(ledger.record(player(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_commit_whose_sync_fails_is_unknown_until_the_shard_is_opened_again() {
    let Traced { dir, trace, ledger } = traced(0).await;
    let mut writer = ledger.open_shard(0).await.unwrap();
    writer.commit(vec![bare(1)]).await.unwrap();
    trace.fail_syncs(dir.path(), Some(SQLITE_IOERR_FSYNC));
    let error = writer.commit(vec![bare(2)]).await.unwrap_err();
    assert!(matches!(error, CommitError::Unknown(StorageError::Unavailable(_))), "{error}");
    assert!(ledger.open_shard(0).await.is_err(), "no takeover while the disk fails");
    trace.fail_syncs(dir.path(), None);
    assert!(matches!(writer.commit(vec![bare(3)]).await, Err(CommitError::Fenced)));
    let mut writer = ledger.open_shard(0).await.unwrap();
    let head = ledger.head(0).await.unwrap();
    assert_eq!(writer.head(), head);
    // Whatever the head says, each unit can be committed exactly once.
    let again = writer.commit(vec![bare(2)]).await;
    assert_eq!(again.is_ok(), head.sequence == 1);
    assert_eq!(ledger.head(0).await.unwrap().sequence, 2);
}

#[tokio::test]
async fn a_full_disk_is_named_and_reads_go_on() {
    let Traced { dir, trace, ledger } = traced(0).await;
    let mut writer = ledger.open_shard(0).await.unwrap();
    writer.commit(vec![deposit(1, player(1), 0, 50)]).await.unwrap();
    trace.fail_writes(dir.path(), Some(SQLITE_FULL));
    let error = writer.commit(vec![spin(2, player(1), 1, 10, 0)]).await.unwrap_err();
    assert!(matches!(error, CommitError::Unknown(StorageError::Full) | CommitError::Failed(StorageError::Full)), "{error:?}");
    assert!(matches!(ledger.open_shard(0).await.err(), Some(StorageError::Full)));
    assert_eq!(ledger.record(player(1)).await.unwrap().unwrap().version, 1);
    trace.fail_writes(dir.path(), None);
    let mut writer = ledger.open_shard(0).await.unwrap();
    writer.commit(vec![spin(2, player(1), 1, 10, 0)]).await.unwrap();
    assert_eq!(ledger.record(player(1)).await.unwrap().unwrap().version, 2);
}

#[tokio::test]
async fn a_store_has_one_owner_at_a_time() {
    let dir = TempDir::new().unwrap();
    let first = SqliteLedger::open(dir.path(), Default::default()).await.unwrap();
    let second = SqliteLedger::open(dir.path(), Default::default()).await;
    assert!(matches!(second.err(), Some(StorageError::Unavailable(reason)) if reason.contains("another process")));
    first.close().await;
    let second = SqliteLedger::open(dir.path(), Default::default()).await.unwrap();
    assert!(first.open_shard(0).await.is_err(), "a closed ledger stays closed");
    drop(second);
    SqliteLedger::open(dir.path(), Default::default()).await.unwrap();
}

#[tokio::test]
async fn closing_leaves_an_empty_log_and_dropping_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let ledger = SqliteLedger::open(dir.path(), Default::default()).await.unwrap();
    let mut writer = ledger.open_shard(0).await.unwrap();
    writer.commit(vec![bare(1)]).await.unwrap();
    drop(ledger);
    assert!(matches!(writer.commit(vec![bare(2)]).await, Err(CommitError::Failed(_))));
    let ledger = SqliteLedger::open(dir.path(), Default::default()).await.unwrap();
    assert_eq!(ledger.head(0).await.unwrap().sequence, 1);
    ledger.close().await;
    let log = dir.path().join("ledger.sqlite-wal");
    assert!(!log.exists() || log.metadata().unwrap().len() == 0);
}

/// Both back ends answer the same faults alike.
async fn faulty(check: impl AsyncFn(&dyn Ledger, &FaultPlan)) {
    let memory = MemoryLedger::new(1);
    check(&memory, memory.faults()).await;
    let dir = TempDir::new().unwrap();
    let faults = FaultPlan::default();
    let ledger = SqliteLedger::open(dir.path(), SqliteOptions { faults: faults.clone(), ..Default::default() }).await.unwrap();
    check(&ledger, &faults).await;
}

fn one(n: u64) -> Vec<UnitOfWork> {
    vec![bare(n)]
}

#[tokio::test]
async fn injected_faults_leave_what_they_say() {
    faulty(async |ledger, faults| {
        let mut writer = ledger.open_shard(0).await.unwrap();
        faults.inject(1, Fault::FailBefore(StorageError::Full));
        writer.commit(one(1)).await.unwrap();
        assert!(matches!(writer.commit(one(2)).await, Err(CommitError::Failed(StorageError::Full))));
        writer.commit(one(2)).await.unwrap();
        faults.inject(0, Fault::UnknownStored);
        assert!(matches!(writer.commit(one(3)).await, Err(CommitError::Unknown(_))));
        assert!(matches!(writer.commit(one(4)).await, Err(CommitError::Fenced)));
        let mut writer = ledger.open_shard(0).await.unwrap();
        assert_eq!(writer.head().sequence, 3);
        faults.inject(0, Fault::UnknownLost);
        assert!(matches!(writer.commit(one(4)).await, Err(CommitError::Unknown(_))));
        let mut writer = ledger.open_shard(0).await.unwrap();
        assert_eq!(writer.head().sequence, 3);
        faults.inject(0, Fault::Fence);
        assert!(matches!(writer.commit(one(4)).await, Err(CommitError::Fenced)));
        ledger.open_shard(0).await.unwrap().commit(one(4)).await.unwrap();
        assert_eq!(ledger.head(0).await.unwrap().sequence, 4);
    })
    .await;
}

#[tokio::test]
async fn a_takeover_waits_for_the_commit_in_flight() {
    faulty(async |ledger, faults| {
        let mut writer = ledger.open_shard(0).await.unwrap();
        let gate = Gate::new();
        faults.inject(0, Fault::Slow(Arc::clone(&gate)));
        let mut commit = writer.commit(one(1));
        assert!(poll_once(&mut commit).await.is_pending());
        gate.arrived().await;
        drop(commit);
        let mut takeover = ledger.open_shard(0);
        assert!(poll_once(&mut takeover).await.is_pending());
        gate.open();
        let next = takeover.await.unwrap();
        assert_eq!(next.head().sequence, 1, "the predecessor's commit came first, although nobody waited for it");
    })
    .await;
}
