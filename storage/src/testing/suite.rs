//! What every ledger does: one suite for every back end. `ledger_test_suite!(name, constructor)` makes a module of tests, the
//! constructor answering a fresh [`Place`](super::Place).

use std::{sync::Arc, task::Poll};

use bytes::Bytes;
use protocol::{AccountCode, AccountId, Amount, OwnerKind, RecordKey};
use smallvec::smallvec;

use super::{Place, bank, bare, book, cash, deposit, key, leg, player, provider, revenue, spin, write};
use crate::{
    ledger::{CommitError, Ledger, Receipt, Refusal, ShardHead, ShardWriter, StorageError},
    unit::{Guard, Source, StoredUnit, UnitKey, UnitOfWork, chain},
};

/// Tests of one back end. The constructor is an expression that answers a [`Place`](super::Place).
#[macro_export]
macro_rules! ledger_test_suite {
    ($name:ident, $constructor:expr) => {
        $crate::ledger_test_suite!(@tests $name, $constructor,
            a_replay_is_byte_for_byte, another_body_is_a_conflict, sources_scope_their_ids, a_key_twice_in_a_batch_waits,
            a_stale_record_is_named, guards_hold, a_chain_of_writes_in_one_batch_commits, a_negative_balance_is_refused,
            a_win_never_funds_its_own_stake, an_owner_outside_the_records_is_refused, malformed_units_are_refused,
            each_refused_unit_is_refused_alone, sequences_have_no_gap, an_old_writer_is_fenced_for_ever,
            the_chain_covers_every_unit, units_come_in_pages, records_come_in_pages, units_are_found_by_key,
            house_balances_are_summed, overflow_is_refused_and_nothing_moves, kept_bytes_stay, reopening_finds_everything,
            a_dropped_commit_still_commits, an_empty_batch_commits_nothing, unknown_shards_are_refused,
        );
    };
    (@tests $name:ident, $constructor:expr, $($test:ident),+ $(,)?) => {
        mod $name {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                let place = $constructor;
                $crate::testing::suite::$test(&place).await;
            })+
        }
    };
}

type Writer = Box<dyn ShardWriter>;

async fn fresh(place: &impl Place) -> (Arc<dyn Ledger>, Writer) {
    let ledger = place.open().await;
    let writer = ledger.open_shard(0).await.unwrap();
    (ledger, writer)
}

async fn commit(writer: &mut Writer, units: impl IntoIterator<Item = UnitOfWork>) -> Vec<Receipt> {
    writer.commit(units.into_iter().collect()).await.unwrap()
}

async fn refusals(writer: &mut Writer, units: impl IntoIterator<Item = UnitOfWork>) -> Vec<(usize, Refusal)> {
    let before = writer.head();
    match writer.commit(units.into_iter().collect()).await {
        Err(CommitError::Refused(refusals)) => {
            assert_eq!(writer.head(), before, "a refused batch moves no head");
            refusals
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

async fn refusal(writer: &mut Writer, unit: UnitOfWork) -> Refusal {
    let refusals = refusals(writer, [unit]).await;
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].0, 0);
    refusals[0].1.clone()
}

async fn balance(ledger: &Arc<dyn Ledger>, owner: RecordKey) -> i64 {
    let record = ledger.record(owner).await.unwrap().unwrap();
    record.holdings.get(&book(), AccountCode::Cash, 0).0
}

async fn house(ledger: &Arc<dyn Ledger>, account: AccountId) -> Option<i64> {
    let accounts = ledger.house_accounts().await.unwrap();
    accounts.iter().find(|(of, id, _)| *of == book() && *id == account).map(|(_, _, amount)| amount.0)
}

pub async fn a_replay_is_byte_for_byte(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    let unit = deposit(1, player(1), 0, 500);
    commit(&mut writer, [unit.clone()]).await;
    // The second attempt was decided on another state, and answers otherwise: the first answer counts.
    let again = UnitOfWork { reply: Bytes::from_static(b"other"), ..deposit(1, player(1), 1, 500) };
    assert_eq!(refusal(&mut writer, again).await, Refusal::Replay { reply: unit.reply, sequence: 1 });
    assert_eq!(balance(&ledger, player(1)).await, 500);
}

pub async fn another_body_is_a_conflict(place: &impl Place) {
    let (_ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [bare(1)]).await;
    assert_eq!(refusal(&mut writer, UnitOfWork { body_hash: [9; 32], ..bare(1) }).await, Refusal::Conflict);
}

pub async fn sources_scope_their_ids(place: &impl Place) {
    let (_ledger, mut writer) = fresh(place).await;
    let of = |source| UnitOfWork { key: UnitKey::new(source, b"same"), ..bare(1) };
    let sources = [
        Source::Provider(provider()),
        Source::System(provider().0),
        Source::Player(protocol::PlayerId(super::id(1))),
        Source::Player(protocol::PlayerId(super::id(2))),
    ];
    commit(&mut writer, sources.map(of)).await;
    for source in sources {
        assert!(matches!(refusal(&mut writer, of(source)).await, Refusal::Replay { .. }));
    }
}

pub async fn a_key_twice_in_a_batch_waits(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    let units = [bare(1), bare(2), UnitOfWork { body_hash: [7; 32], ..bare(1) }];
    assert_eq!(refusals(&mut writer, units).await, [(2, Refusal::SameBatch)]);
    assert_eq!(ledger.head(0).await.unwrap().sequence, 0);
}

pub async fn a_stale_record_is_named(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, 500), deposit(2, player(1), 1, 500)]).await;
    for expected in [0, 1, 3] {
        let stale = Refusal::Stale { key: player(1), stored: 2 };
        assert_eq!(refusal(&mut writer, spin(3, player(1), expected, 10, 0)).await, stale);
    }
    let missing = Refusal::Stale { key: player(2), stored: 0 };
    assert_eq!(refusal(&mut writer, spin(3, player(2), 1, 10, 0)).await, missing);
    assert_eq!(balance(&ledger, player(1)).await, 1_000);
}

pub async fn guards_hold(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    let tombstone = RecordKey { kind: OwnerKind::Tombstone, id: [3; 16] };
    let guarded = |n, version| UnitOfWork { guards: smallvec![Guard { key: tombstone, version }], ..bare(n) };
    assert_eq!(refusal(&mut writer, guarded(1, 1)).await, Refusal::Stale { key: tombstone, stored: 0 });
    commit(&mut writer, [guarded(1, 0)]).await;
    assert!(ledger.record(tombstone).await.unwrap().is_none(), "a guard writes nothing");
    commit(&mut writer, [UnitOfWork { records: smallvec![write(tombstone, 0)], ..bare(2) }]).await;
    assert_eq!(refusal(&mut writer, guarded(3, 0)).await, Refusal::Stale { key: tombstone, stored: 1 });
    commit(&mut writer, [guarded(3, 1)]).await;
    // Within a batch the guard sees the units before it.
    let moved = UnitOfWork { records: smallvec![write(tombstone, 1)], ..bare(4) };
    assert_eq!(refusals(&mut writer, [moved, guarded(5, 1)]).await, [(1, Refusal::Stale { key: tombstone, stored: 2 })]);
}

pub async fn a_chain_of_writes_in_one_batch_commits(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    let units = [deposit(1, player(1), 0, 100), spin(2, player(1), 1, 100, 30), spin(3, player(1), 2, 30, 0)];
    let receipts = commit(&mut writer, units.clone()).await;
    let record = ledger.record(player(1)).await.unwrap().unwrap();
    assert_eq!(record.version, 3);
    assert!(record.holdings.is_empty());
    assert_eq!(Some(&record.bytes), units[2].records[0].bytes.as_ref());
    for (receipt, unit) in receipts.iter().zip(&units) {
        let stored = StoredUnit::decode(&receipt.encoded).unwrap();
        assert_eq!(stored, StoredUnit::new(0, receipt.sequence, unit));
    }
}

pub async fn a_negative_balance_is_refused(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, 99)]).await;
    assert!(matches!(refusal(&mut writer, spin(2, player(1), 1, 100, 0)).await, Refusal::Invalid { .. }));
    // A house account and a receivable may go below zero.
    let receivable = AccountId::new(player(1), AccountCode::Receivable);
    let owed = UnitOfWork {
        legs: smallvec![leg(receivable, revenue(), 40), leg(revenue(), bank(), 1_000)],
        records: smallvec![write(player(1), 1)],
        ..bare(3)
    };
    commit(&mut writer, [owed]).await;
    let record = ledger.record(player(1)).await.unwrap().unwrap();
    assert_eq!(record.holdings.get(&book(), AccountCode::Receivable, 0), Amount(-40));
    assert_eq!(house(&ledger, revenue()).await, Some(-960));
}

pub async fn a_win_never_funds_its_own_stake(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, 99)]).await;
    assert!(matches!(refusal(&mut writer, spin(2, player(1), 1, 100, 5_000)).await, Refusal::Invalid { .. }));
    let to_self = UnitOfWork {
        legs: smallvec![leg(cash(player(1)), cash(player(1)), 100)],
        records: smallvec![write(player(1), 1)],
        ..bare(3)
    };
    assert!(matches!(refusal(&mut writer, to_self).await, Refusal::Invalid { .. }));
    assert_eq!(balance(&ledger, player(1)).await, 99);
}

pub async fn an_owner_outside_the_records_is_refused(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, 100)]).await;
    let mut unit = spin(2, player(1), 1, 10, 0);
    unit.records.clear();
    assert!(matches!(refusal(&mut writer, unit).await, Refusal::Invalid { .. }));
    assert_eq!(ledger.record(player(1)).await.unwrap().unwrap().version, 1);
}

pub async fn malformed_units_are_refused(place: &impl Place) {
    let (_ledger, mut writer) = fresh(place).await;
    let guarded_house = AccountId::new(RecordKey::HOUSE, AccountCode::Cash);
    let paying = |amount| UnitOfWork {
        legs: smallvec![leg(bank(), cash(player(1)), amount)],
        records: smallvec![write(player(1), 0)],
        ..bare(1)
    };
    let malformed = [
        paying(0),
        paying(-5),
        paying(i64::MIN),
        UnitOfWork { legs: smallvec![leg(bank(), guarded_house, 5)], ..bare(1) },
        UnitOfWork { records: smallvec![write(player(1), 0), write(player(1), 0)], ..bare(1) },
        UnitOfWork { records: smallvec![write(RecordKey::HOUSE, 0)], ..bare(1) },
        UnitOfWork { key: UnitKey::new(key(1).source, b""), ..bare(1) },
        UnitOfWork { key: UnitKey::new(key(1).source, [1; 65]), ..bare(1) },
    ];
    for unit in malformed {
        let answer = refusal(&mut writer, unit.clone()).await;
        assert!(matches!(answer, Refusal::Invalid { .. }), "{unit:?} was answered {answer:?}");
    }
    commit(&mut writer, [UnitOfWork { key: UnitKey::new(key(1).source, [1; 64]), ..bare(1) }]).await;
}

pub async fn each_refused_unit_is_refused_alone(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, 100), deposit(2, player(2), 0, 100), deposit(3, player(3), 0, 100)]).await;
    let batch = [
        spin(4, player(1), 1, 10, 0),
        spin(5, player(2), 7, 10, 0),
        spin(6, player(3), 1, 500, 0),
        deposit(1, player(1), 0, 100),
        spin(7, player(3), 1, 10, 5),
        UnitOfWork { body_hash: [0; 32], ..bare(2) },
    ];
    let refused = refusals(&mut writer, batch.clone()).await;
    let indices: Vec<usize> = refused.iter().map(|(index, _)| *index).collect();
    assert_eq!(indices, [1, 2, 3, 5]);
    assert_eq!(refused[0].1, Refusal::Stale { key: player(2), stored: 1 });
    assert!(matches!(refused[1].1, Refusal::Invalid { .. }));
    assert!(matches!(refused[2].1, Refusal::Replay { sequence: 1, .. }));
    assert_eq!(refused[3].1, Refusal::Conflict);
    assert_eq!(ledger.head(0).await.unwrap().sequence, 3, "nothing of a refused batch is stored");
    let rest = batch.into_iter().enumerate().filter(|(index, _)| !indices.contains(index)).map(|(_, unit)| unit);
    let receipts = commit(&mut writer, rest).await;
    assert_eq!(receipts.iter().map(|receipt| receipt.sequence).collect::<Vec<_>>(), [4, 5]);
    assert_eq!((balance(&ledger, player(1)).await, balance(&ledger, player(3)).await), (90, 95));
}

pub async fn sequences_have_no_gap(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    for n in 0..5 {
        commit(&mut writer, [bare(10 * n), bare(10 * n + 1)]).await;
        refusal(&mut writer, bare(10 * n)).await;
        writer = ledger.open_shard(0).await.unwrap();
    }
    let sequences: Vec<u64> = ledger.units(0, 0, 100).await.unwrap().into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(sequences, (1..=10).collect::<Vec<u64>>());
    assert_eq!(writer.head(), ledger.head(0).await.unwrap());
}

pub async fn an_old_writer_is_fenced_for_ever(place: &impl Place) {
    let (ledger, mut old) = fresh(place).await;
    commit(&mut old, [bare(1)]).await;
    let mut new = ledger.open_shard(0).await.unwrap();
    assert_eq!(new.head().epoch, old.head().epoch + 1);
    // Before the successor has committed, after it has, and with a batch that would be refused anyway.
    assert!(matches!(old.commit(vec![bare(2)]).await, Err(CommitError::Fenced)));
    commit(&mut new, [bare(3)]).await;
    assert!(matches!(old.commit(vec![bare(2)]).await, Err(CommitError::Fenced)));
    assert!(matches!(old.commit(vec![bare(1)]).await, Err(CommitError::Fenced)));
    commit(&mut new, [bare(2)]).await;
    assert_eq!(ledger.head(0).await.unwrap(), new.head());
    assert_eq!(new.head().sequence, 3);
}

pub async fn the_chain_covers_every_unit(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, 100)]).await;
    commit(&mut writer, [spin(2, player(1), 1, 10, 0), bare(3)]).await;
    let mut hash = [0; 32];
    for (_, bytes) in ledger.units(0, 0, 10).await.unwrap() {
        hash = chain(&hash, &bytes);
    }
    assert_eq!(ledger.head(0).await.unwrap().hash, hash);
    assert_eq!(writer.head(), ShardHead { shard: 0, epoch: writer.head().epoch, sequence: 3, hash });
}

pub async fn units_come_in_pages(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    let receipts = commit(&mut writer, (1..=7).map(bare)).await;
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = ledger.units(0, after, 3).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        assert!(page.len() <= 3);
        after = *last;
        seen.extend(page);
    }
    assert_eq!(seen, receipts.into_iter().map(|receipt| (receipt.sequence, receipt.encoded)).collect::<Vec<_>>());
}

pub async fn records_come_in_pages(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    let round = |n: u8| RecordKey { kind: OwnerKind::Round, id: [n; 16] };
    let keys = [round(0), round(1), round(0x7f), round(0x80), round(0xff)];
    commit(&mut writer, keys.iter().zip(1..).map(|(key, n)| UnitOfWork { records: smallvec![write(*key, 0)], ..bare(n) })).await;
    commit(&mut writer, [deposit(20, player(1), 0, 5)]).await;
    let mut seen = Vec::new();
    loop {
        let page = ledger.records(OwnerKind::Round, seen.last().map(|key: &RecordKey| key.id), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        seen.extend(page.into_iter().map(|record| record.key));
    }
    assert_eq!(seen, keys);
    let players = ledger.records(OwnerKind::Player, None, 10).await.unwrap();
    assert_eq!(players.len(), 1);
    assert_eq!(players[0], ledger.record(player(1)).await.unwrap().unwrap());
}

pub async fn units_are_found_by_key(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    let unit = deposit(1, player(1), 0, 500);
    commit(&mut writer, [bare(2), unit.clone()]).await;
    assert_eq!(ledger.unit_by_key(key(1)).await.unwrap(), Some(StoredUnit::new(0, 2, &unit)));
    assert_eq!(ledger.unit_by_key(key(3)).await.unwrap(), None);
    let positions = ledger.key_positions(vec![key(3), key(1), key(2), key(1)]).await.unwrap();
    assert_eq!(positions, [None, Some((0, 2)), Some((0, 1)), Some((0, 2))]);
}

pub async fn house_balances_are_summed(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, 500), deposit(2, player(2), 0, 70)]).await;
    commit(&mut writer, [spin(3, player(1), 1, 100, 30)]).await;
    writer = ledger.open_shard(0).await.unwrap();
    commit(&mut writer, [spin(4, player(2), 1, 20, 0)]).await;
    assert_eq!(house(&ledger, bank()).await, Some(-570));
    assert_eq!(house(&ledger, revenue()).await, Some(90));
    assert_eq!((balance(&ledger, player(1)).await, balance(&ledger, player(2)).await), (430, 50));
}

pub async fn overflow_is_refused_and_nothing_moves(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, i64::MAX)]).await;
    // The bank stands at −i64::MAX: one more takes it to i64::MIN, two more past it.
    for amount in [2, i64::MAX] {
        assert!(matches!(refusal(&mut writer, deposit(2, player(2), 0, amount)).await, Refusal::Invalid { .. }));
    }
    let from_elsewhere = AccountId::new(RecordKey::HOUSE, AccountCode::Suspense);
    let unit =
        UnitOfWork { legs: smallvec![leg(from_elsewhere, cash(player(1)), 1)], records: smallvec![write(player(1), 1)], ..bare(3) };
    assert!(matches!(refusal(&mut writer, unit).await, Refusal::Invalid { .. }));
    assert_eq!(balance(&ledger, player(1)).await, i64::MAX);
    assert_eq!(house(&ledger, bank()).await, Some(-i64::MAX));
    assert_eq!(house(&ledger, from_elsewhere).await, None);
}

pub async fn kept_bytes_stay(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, 500)]).await;
    let before = ledger.record(player(1)).await.unwrap().unwrap();
    let mut touch = spin(2, player(1), 1, 10, 0);
    touch.records[0].bytes = None;
    commit(&mut writer, [touch]).await;
    let after = ledger.record(player(1)).await.unwrap().unwrap();
    assert_eq!((after.version, &after.bytes), (2, &before.bytes));
    assert_eq!(balance(&ledger, player(1)).await, 490);
}

pub async fn reopening_finds_everything(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [deposit(1, player(1), 0, 500), spin(2, player(1), 1, 100, 30)]).await;
    let (head, units) = (writer.head(), ledger.units(0, 0, 10).await.unwrap());
    let (record, accounts) = (ledger.record(player(1)).await.unwrap(), ledger.house_accounts().await.unwrap());
    drop((writer, ledger));
    for _ in 0..2 {
        let ledger = place.open().await;
        let writer = ledger.open_shard(0).await.unwrap();
        assert!(writer.head().epoch > head.epoch);
        assert_eq!(ShardHead { epoch: head.epoch, ..writer.head() }, head);
        assert_eq!(ledger.units(0, 0, 10).await.unwrap(), units);
        assert_eq!(ledger.record(player(1)).await.unwrap(), record);
        assert_eq!(ledger.house_accounts().await.unwrap(), accounts);
        ledger.close().await;
        drop((writer, ledger));
    }
    let (ledger, mut writer) = fresh(place).await;
    commit(&mut writer, [spin(3, player(1), 2, 30, 0)]).await;
    assert_eq!(house(&ledger, revenue()).await, Some(100));
}

pub async fn a_dropped_commit_still_commits(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    {
        let mut commit = writer.commit(vec![deposit(1, player(1), 0, 500)]);
        // Polled once, the batch is the ledger's; nobody waits for the answer.
        let polled = std::future::poll_fn(|context| Poll::Ready(commit.as_mut().poll(context).is_ready())).await;
        drop(commit);
        assert!(!polled, "a commit answers later than its first poll");
    }
    // A takeover waits for the commit in flight, so its head tells.
    let mut next = ledger.open_shard(0).await.unwrap();
    assert_eq!(next.head().sequence, 1);
    assert_eq!(balance(&ledger, player(1)).await, 500);
    assert!(matches!(refusal(&mut next, deposit(1, player(1), 0, 500)).await, Refusal::Replay { sequence: 1, .. }));
}

pub async fn an_empty_batch_commits_nothing(place: &impl Place) {
    let (ledger, mut writer) = fresh(place).await;
    assert_eq!(commit(&mut writer, []).await, []);
    assert_eq!(ledger.head(0).await.unwrap(), writer.head());
}

pub async fn unknown_shards_are_refused(place: &impl Place) {
    let (ledger, _writer) = fresh(place).await;
    let beyond = ledger.shards();
    assert!(matches!(ledger.open_shard(beyond).await.err(), Some(StorageError::Unavailable(_))));
    assert!(ledger.head(beyond).await.is_err());
    assert!(ledger.units(beyond, 0, 1).await.is_err());
}
