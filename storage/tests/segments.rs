//! Event segments: in order, gapless, bounded, and readable while they are written.

use std::{fs, io::Write, path::PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use protocol::Timestamp;
use storage::segments::{Dropped, ReadBlock, SegmentError, SegmentLog, SegmentOptions, SegmentReader, SegmentUnit};

const AT: Timestamp = Timestamp(1_700_000_000_000);
const SMALL: SegmentOptions = SegmentOptions { segment_bytes_max: 200, retention_bytes_max: 1 << 20 };

fn unit(sequence: u64) -> (u64, Bytes) {
    (sequence, Bytes::from(format!("unit {sequence} {}", "x".repeat((sequence % 37) as usize))))
}

fn units(range: std::ops::RangeInclusive<u64>) -> Vec<(u64, Bytes)> {
    range.map(unit).collect()
}

fn drain(reader: &mut SegmentReader, max_units: usize) -> Vec<SegmentUnit> {
    let mut all = Vec::new();
    while let ReadBlock::Units(units) = reader.read(max_units, 1 << 20).unwrap() {
        assert!(!units.is_empty() && units.len() <= max_units);
        all.extend(units);
    }
    all
}

fn assert_range(read: &[SegmentUnit], range: std::ops::RangeInclusive<u64>) {
    let expected: Vec<_> =
        units(range).into_iter().map(|(sequence, bytes)| SegmentUnit { sequence, ingested_at: AT, bytes }).collect();
    assert_eq!(read, expected);
}

fn files(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir.join("0")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_is_appended_is_read_from_anywhere_over_many_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SegmentLog::open(dir.path(), 0, SMALL).unwrap();
    for start in (1..=100).step_by(5) {
        log.append(&units(start..=start + 4), AT).unwrap();
    }
    assert!(files(dir.path()).len() > 5);
    for after in [0, 1, 4, 5, 42, 99] {
        assert_range(&drain(&mut log.reader(after), 7), after + 1..=100);
    }
    assert_eq!(log.reader(100).read(10, 10).unwrap(), ReadBlock::CaughtUp);
    assert_eq!(log.reader(1_000).read(10, 10).unwrap(), ReadBlock::CaughtUp);
}

#[test]
fn repeats_are_ignored_and_gaps_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SegmentLog::open(dir.path(), 0, SMALL).unwrap();
    log.append(&units(1..=3), AT).unwrap();
    assert_eq!(log.append(&units(2..=5), AT).unwrap(), 5);
    assert_eq!(log.append(&units(1..=5), AT).unwrap(), 5);
    assert!(matches!(log.append(&units(7..=8), AT), Err(SegmentError::NotGapless { expected: 6, got: 7 })));
    assert_eq!(log.last_sequence(), 5);
    assert_range(&drain(&mut log.reader(0), 100), 1..=5);
}

#[test]
fn a_torn_tail_is_cut_wherever_it_tore() {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentOptions::default();
    SegmentLog::open(dir.path(), 0, options).unwrap().append(&units(1..=4), AT).unwrap();
    let path = files(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = units(1..=4)
        .iter()
        .scan(0, |end, (_, bytes)| {
            *end += 24 + bytes.len();
            Some(*end)
        })
        .collect();
    for cut in 0..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut log = SegmentLog::open(dir.path(), 0, options).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count() as u64;
        assert_eq!(log.last_sequence(), kept, "cut at {cut}");
        log.append(&units(kept + 1..=5), AT).unwrap();
        assert_range(&drain(&mut log.reader(0), 100), 1..=5);
    }
}

#[test]
fn a_damaged_record_ends_the_whole_part_on_opening_and_stops_a_reader() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SegmentLog::open(dir.path(), 0, SegmentOptions::default()).unwrap();
    log.append(&units(1..=4), AT).unwrap();
    let path = files(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let second = 24 + unit(1).1.len();
    bytes[second + 26] ^= 1;
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all(&bytes).unwrap();

    let mut reader = log.reader(0);
    assert!(matches!(reader.read(10, 1 << 20).unwrap(), ReadBlock::Units(units) if units.len() == 1));
    assert!(matches!(reader.read(10, 1 << 20), Err(SegmentError::Damaged { segment: 1, offset }) if offset == second as u64));
    drop(log);
    assert_eq!(SegmentLog::open(dir.path(), 0, SegmentOptions::default()).unwrap().last_sequence(), 1);
}

#[test]
fn retention_drops_what_nobody_needs_first_and_what_is_needed_at_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let options = SegmentOptions { segment_bytes_max: 200, retention_bytes_max: 4_000 };
    let mut log = SegmentLog::open(dir.path(), 0, options).unwrap();
    let mut stalled = log.reader(0);
    for sequence in 1..=60 {
        log.append(&[unit(sequence)], AT).unwrap();
    }
    assert!((2_000..4_000).contains(&log.bytes()), "{}", log.bytes());
    assert_eq!(log.enforce_retention(0).unwrap(), Dropped::default());
    let Dropped { segments, needed } = log.enforce_retention(60).unwrap();
    assert!(segments > 0 && needed == 0 && log.bytes() <= 2_000);

    for sequence in 61..=400 {
        log.append(&[unit(sequence)], AT).unwrap();
    }
    let Dropped { segments, needed } = log.enforce_retention(10).unwrap();
    assert!(segments > 0 && needed > 0 && log.bytes() <= 4_000);
    let first_available = log.first_sequence().unwrap();
    assert_eq!(stalled.read(10, 1 << 20).unwrap(), ReadBlock::Gap { first_available });
    assert_range(&drain(&mut log.reader(first_available - 1), 100), first_available..=400);
}

#[test]
fn a_reset_copies_an_older_range_again_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SegmentLog::open(dir.path(), 0, SMALL).unwrap();
    log.append(&units(1..=50), AT).unwrap();
    let mut ahead = log.reader(0);
    assert_eq!(drain(&mut ahead, 100).len(), 50);
    log.reset(20).unwrap();
    drop(log);
    let mut log = SegmentLog::open(dir.path(), 0, SMALL).unwrap();
    assert_eq!((log.last_sequence(), log.first_sequence()), (20, None));
    assert_eq!(log.reader(20).read(10, 10).unwrap(), ReadBlock::CaughtUp);
    log.append(&units(21..=60), AT).unwrap();
    assert_eq!(log.reader(3).read(10, 10).unwrap(), ReadBlock::Gap { first_available: 21 });
    assert_range(&drain(&mut log.reader(20), 7), 21..=60);
}

#[test]
fn a_reader_ahead_of_a_reset_waits_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SegmentLog::open(dir.path(), 0, SMALL).unwrap();
    log.append(&units(1..=50), AT).unwrap();
    let mut ahead = log.reader(40);
    assert_eq!(drain(&mut ahead, 100).len(), 10);
    log.reset(20).unwrap();
    assert_eq!(ahead.read(10, 10).unwrap(), ReadBlock::CaughtUp);
    for sequence in 21..=70 {
        log.append(&[unit(sequence)], AT).unwrap();
    }
    assert_range(&drain(&mut ahead, 7), 51..=70);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sleeps_on_the_watch_and_sees_everything_written_meanwhile() {
    const LAST: u64 = 5_000;
    let dir = tempfile::tempdir().unwrap();
    let mut log =
        SegmentLog::open(dir.path(), 0, SegmentOptions { segment_bytes_max: 4_096, retention_bytes_max: 1 << 30 }).unwrap();
    let (mut reader, mut newest) = (log.reader(0), log.watch());
    let follower = tokio::spawn(async move {
        let mut all = Vec::new();
        while all.len() < LAST as usize {
            match reader.read(64, 8_192).unwrap() {
                ReadBlock::Units(units) => all.extend(units),
                ReadBlock::CaughtUp => {
                    newest.wait_for(|newest| *newest > reader.position()).await.unwrap();
                }
                ReadBlock::Gap { .. } => panic!("nothing was dropped"),
            }
        }
        all
    });
    let writer = tokio::task::spawn_blocking(move || {
        let mut next = 1;
        while next <= LAST {
            let end = (next + next % 13).min(LAST);
            log.append(&units(next..=end), AT).unwrap();
            next = end + 1;
        }
        log
    });
    assert_range(&follower.await.unwrap(), 1..=LAST);
    drop(writer.await.unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_batches_and_restarts_give_the_same_stream(
        batches in prop::collection::vec((1..20_u64, any::<bool>()), 1..30),
        segment_bytes_max in 100..2_000_u64,
        max_units in 1..50_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let options = SegmentOptions { segment_bytes_max, retention_bytes_max: 1 << 30 };
        let mut log = SegmentLog::open(dir.path(), 3, options).unwrap();
        let mut last = 0;
        for (count, is_restarted) in batches {
            log.append(&units(last + 1..=last + count), AT).unwrap();
            last += count;
            if is_restarted {
                drop(log);
                log = SegmentLog::open(dir.path(), 3, options).unwrap();
            }
        }
        assert_range(&drain(&mut log.reader(last / 2), max_units), last / 2 + 1..=last);
    }
}
