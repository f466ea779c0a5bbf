//! The walk finds nothing in a ledger that only its writers touched, and finds each thing that was tampered with.

use protocol::{Amount, RecordKey, Timestamp};
use smallvec::smallvec;
use storage::{
    Ledger, ShardHead, ShardWriter, StorageError, UnitOfWork,
    anchor::{Anchor, AnchorLog},
    memory::MemoryLedger,
    sqlite::SqliteLedger,
    testing::{bank, bare, cash, deposit, leg, player, revenue, spin, write},
    unit::{StoredUnit, chain},
    verify::{VerifyReport, verify_ledger},
};
use tempfile::TempDir;

async fn play(writer: &mut Box<dyn ShardWriter>) {
    for n in 0..20 {
        let owner = player(n % 4);
        let version = n / 4 * 2;
        let units = vec![deposit(10 * n, owner, version, 500), spin(10 * n + 1, owner, version + 1, 100, (n % 3) as i64 * 40)];
        writer.commit(units).await.unwrap();
    }
}

/// A ledger in memory after some play, with the head anchored before the last units.
async fn played() -> (MemoryLedger, Vec<Anchor>) {
    let ledger = MemoryLedger::new(1);
    let mut writer = ledger.open_shard(0).await.unwrap();
    play(&mut writer).await;
    let ShardHead { shard, epoch, sequence, hash } = writer.head();
    let anchor = Anchor { shard, epoch, sequence, hash, at: Timestamp(1) };
    writer.commit(vec![deposit(900, player(9), 0, 5), spin(901, player(9), 1, 5, 0)]).await.unwrap();
    (ledger, vec![anchor])
}

#[track_caller]
fn finds(report: &VerifyReport, what: &str) {
    assert!(!report.ok() && report.violations_total >= report.violations.len() as u64);
    assert!(report.violations.iter().any(|violation| violation.contains(what)), "no {what:?} in {:#?}", report.violations);
}

#[tokio::test]
async fn an_untouched_ledger_verifies_in_both_back_ends() {
    let dir = TempDir::new().unwrap();
    let sqlite = SqliteLedger::open(dir.path(), Default::default()).await.unwrap();
    play(&mut sqlite.open_shard(0).await.unwrap()).await;
    let (memory, anchors) = played().await;
    for (ledger, anchors, units) in [(&sqlite as &dyn Ledger, &[][..], 40), (&memory, &anchors[..], 42)] {
        let report = verify_ledger(ledger, anchors).await.unwrap();
        assert!(report.ok(), "{:#?}", report.violations);
        assert_eq!(report.units, units);
        assert!(report.legs > units && report.events == units && report.records >= 4 && report.house_accounts == 2);
        assert_eq!(report.sums.into_values().collect::<Vec<_>>(), [0]);
    }
}

#[tokio::test]
async fn a_changed_unit_is_found_by_the_chain() {
    let (ledger, anchors) = played().await;
    ledger.tamper_unit(0, 7, |unit| unit.reply = b"{}".as_slice().into());
    let report = verify_ledger(&ledger, &anchors).await.unwrap();
    finds(&report, "the units end at 42, with another chain");
    finds(&report, "the chain at 40 is not the one anchored");
}

#[tokio::test]
async fn a_changed_leg_is_found_by_the_balances_and_the_events() {
    let (ledger, _) = played().await;
    ledger.tamper_unit(0, 1, |unit| unit.legs[0].amount = Amount(501));
    let report = verify_ledger(&ledger, &[]).await.unwrap();
    finds(&report, "its legs make");
    finds(&report, "its legs move 501 as funds, its events say 500");
}

#[tokio::test]
async fn a_cut_tail_is_found_by_its_anchor() {
    let (ledger, anchors) = played().await;
    // Cut so well that the head, the keys and the chain agree: only the anchor knows better.
    let mut hash = [0; 32];
    for (_, bytes) in ledger.units(0, 0, 38).await.unwrap() {
        hash = chain(&hash, &bytes);
    }
    ledger.tamper_head(ShardHead { shard: 0, epoch: 1, sequence: 38, hash });
    finds(&verify_ledger(&ledger, &anchors).await.unwrap(), "unit 40 was anchored at");
}

#[tokio::test]
async fn changed_rows_are_found() {
    let check = async |key: RecordKey, change: fn(&mut storage::ledger::apply::Row), what: &str| {
        let (ledger, anchors) = played().await;
        ledger.tamper_record(key, change);
        finds(&verify_ledger(&ledger, &anchors).await.unwrap(), what);
    };
    check(player(1), |row| row.version += 1, "the last unit wrote").await;
    check(player(1), |row| row.bytes = b"other".as_slice().into(), "other bytes").await;
    check(player(1), |row| row.holdings = Default::default(), "is not stored; its legs make").await;
    check(player(1), |row| row.holdings = Default::default(), "not to zero").await;
}

#[tokio::test]
async fn money_and_events_must_say_the_same() {
    let commit = async |unit: UnitOfWork| {
        let ledger = MemoryLedger::new(1);
        let mut writer = ledger.open_shard(0).await.unwrap();
        writer.commit(vec![deposit(1, player(1), 0, 1_000)]).await.unwrap();
        writer.commit(vec![unit]).await.unwrap();
        verify_ledger(&ledger, &[]).await.unwrap()
    };
    let silent = UnitOfWork { events: Default::default(), ..spin(2, player(1), 1, 100, 0) };
    finds(&commit(silent).await, "no event says so");
    let moneyless = UnitOfWork { legs: smallvec![], records: smallvec![], ..spin(2, player(1), 1, 100, 0) };
    finds(&commit(moneyless).await, "its legs move 0 as revenue, its events say 100");
    let mut dearer = spin(2, player(1), 1, 100, 0);
    dearer.legs[0].amount = Amount(101);
    finds(&commit(dearer).await, "its legs move 101 as revenue, its events say 100");
    let garbled = UnitOfWork { events: b"{".as_slice().into(), ..bare(2) };
    finds(&commit(garbled).await, "its events do not decode");
    let elsewhere = UnitOfWork {
        legs: smallvec![leg(cash(player(1)), revenue(), 100), leg(bank(), cash(player(1)), 7)],
        records: smallvec![write(player(1), 1)],
        ..spin(2, player(1), 1, 100, 0)
    };
    finds(&commit(elsewhere).await, "its legs move 7 as funds, its events say 0");
}

#[tokio::test]
async fn violations_are_counted_and_bounded() {
    let ledger = MemoryLedger::new(1);
    let mut writer = ledger.open_shard(0).await.unwrap();
    let garbled = |n| UnitOfWork { events: b"{".as_slice().into(), ..bare(n) };
    writer.commit((0..250).map(garbled).collect()).await.unwrap();
    let report = verify_ledger(&ledger, &[]).await.unwrap();
    assert_eq!((report.violations_total, report.violations.len()), (250, 100));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["violations_total"], 250);
}

#[test]
fn anchors_are_signed_appended_and_survive_a_torn_line() {
    let dir = TempDir::new().unwrap();
    let (anchors, keys) = (dir.path().join("anchors"), dir.path().join("keys"));
    let head = |sequence| ShardHead { shard: 0, epoch: 2, sequence, hash: [sequence as u8; 32] };
    let mut log = AnchorLog::open(&anchors, &keys).unwrap();
    log.append(&head(0), Timestamp(1)).unwrap();
    log.append(&head(5), Timestamp(2)).unwrap();
    drop(log);
    let path = anchors.join("anchors.jsonl");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{whole}{{\"shard\":0,\"epo")).unwrap();
    let mut log = AnchorLog::open(&anchors, &keys).unwrap();
    log.append(&head(9), Timestamp(3)).unwrap();
    let read = log.read_all().unwrap();
    assert_eq!(read.iter().map(|anchor| (anchor.sequence, anchor.at)).collect::<Vec<_>>(), [(5, Timestamp(2)), (9, Timestamp(3))]);
    let forged = std::fs::read_to_string(&path).unwrap().replace("\"sequence\":5", "\"sequence\":4");
    std::fs::write(&path, forged).unwrap();
    assert!(matches!(log.read_all(), Err(StorageError::Corrupt(reason)) if reason.contains("line 1")));
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(keys.join("anchor.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// A unit that decodes is what it was: the walk relies on it.
#[tokio::test]
async fn stored_units_decode_to_themselves() {
    let (ledger, _) = played().await;
    for (_, bytes) in ledger.units(0, 0, 100).await.unwrap() {
        assert_eq!(StoredUnit::decode(&bytes).unwrap().encode(), bytes);
    }
}
