//! The compliance journal: chained, idempotent, and honest about damage.

use std::{
    fs,
    path::{Path, PathBuf},
};

use protocol::{
    Amount, Currency, EventHeader, EventId, EventPack, Fact, PlayerId, Timestamp, TraceId,
    event::{Envelope, RealityCheck, ReceivableRaised, RoundClosed},
};
use storage::{StorageError, projection::journal::ComplianceJournal};
use uuid::Uuid;

/// A unit of two relevant events and one that is not.
fn unit(sequence: u64) -> Vec<Envelope> {
    let id = Uuid::from_u128(u128::from(sequence) << 64);
    let header = EventHeader {
        id: EventId(id),
        at: Timestamp(1_700_000_000_000),
        tenant: "demo".parse().unwrap(),
        region: "eu".parse().unwrap(),
        player: Some(PlayerId(id)),
        session: None,
        trace: TraceId(id),
    };
    let check = RealityCheck { session: protocol::SessionId(id), seconds: 3_600, wagered: Amount(7), returned: Amount(5) };
    let closed = RoundClosed { round: "r".to_owned(), game: "sevens".parse().unwrap(), provider: "house".parse().unwrap() };
    let raised = ReceivableRaised { amount: Amount(sequence as i64), currency: Currency::EUR, reference: id };
    let facts = [Fact::RealityCheckShown(check), Fact::RoundClosed(closed), Fact::ReceivableRaised(raised)];
    EventPack::new(header, facts).envelopes(0, sequence, header.at).collect()
}

fn append(journal: &mut ComplianceJournal, sequences: impl IntoIterator<Item = u64>) -> usize {
    journal.append(&sequences.into_iter().flat_map(unit).collect::<Vec<_>>()).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn lines(dir: &Path) -> usize {
    files(dir).iter().map(|path| fs::read_to_string(path).unwrap().lines().count()).sum()
}

#[test]
fn only_what_is_relevant_is_written_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = ComplianceJournal::open(dir.path()).unwrap();
    assert_eq!(append(&mut journal, 1..=5), 10);
    assert_eq!(append(&mut journal, 3..=6), 2);
    assert_eq!((journal.position(0), journal.position(1), lines(dir.path())), (6, 0, 12));
    let text = fs::read_to_string(&files(dir.path())[0]).unwrap();
    assert!(text.contains("rg.reality_check.shown") && text.contains("wallet.receivable.raised") && !text.contains("round.closed"));
    assert_eq!(ComplianceJournal::verify(dir.path()).unwrap(), Vec::<String>::new());
}

#[test]
fn a_torn_tail_is_cut_to_whole_units_wherever_it_tore() {
    let dir = tempfile::tempdir().unwrap();
    append(&mut ComplianceJournal::open(dir.path()).unwrap(), 1..=3);
    let path = files(dir.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
    for cut in (0..=whole.len()).step_by(7).chain(ends.clone()) {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut journal = ComplianceJournal::open(dir.path()).unwrap();
        let kept = ends.iter().filter(|end| **end <= cut).count() as u64 / 2;
        assert_eq!(journal.position(0), kept, "cut at {cut}");
        append(&mut journal, 1..=3);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn it_rotates_and_goes_on_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    for sequence in 1..=20 {
        let mut journal = ComplianceJournal::open_with(dir.path(), 1_000).unwrap();
        assert_eq!(journal.position(0), sequence - 1);
        append(&mut journal, [sequence]);
    }
    assert!(files(dir.path()).len() > 3);
    // A file that was begun and got no line says nothing, and nothing is forgotten for it.
    let next = dir.path().join(format!("compliance-{:08}.jsonl", files(dir.path()).len() + 1));
    fs::write(next, "").unwrap();
    let mut journal = ComplianceJournal::open_with(dir.path(), 1_000).unwrap();
    assert_eq!(journal.position(0), 20);
    append(&mut journal, 19..=22);
    assert_eq!((lines(dir.path()), ComplianceJournal::verify(dir.path()).unwrap()), (44, Vec::new()));
}

#[test]
fn a_changed_removed_or_missing_line_breaks_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = ComplianceJournal::open_with(dir.path(), 1_000).unwrap();
    for sequence in 1..=12 {
        append(&mut journal, [sequence]);
    }
    drop(journal);
    let (first, last) = (files(dir.path()).remove(0), files(dir.path()).pop().unwrap());
    for (path, tampered) in [
        (&first, fs::read_to_string(&first).unwrap().replacen("\"amount\":1,", "\"amount\":2,", 1)),
        (&first, fs::read_to_string(&first).unwrap().lines().skip(1).map(|line| format!("{line}\n")).collect()),
        (&last, fs::read_to_string(&last).unwrap().replacen("\"seconds\":3600", "\"seconds\":3599", 1)),
    ] {
        let whole = fs::read_to_string(path).unwrap();
        assert_ne!(whole, tampered);
        fs::write(path, tampered).unwrap();
        assert_eq!(ComplianceJournal::verify(dir.path()).unwrap().len(), 1);
        // What is not a torn tail is evidence: it is neither cut nor written on.
        let is_last = path == &last;
        let opened = ComplianceJournal::open_with(dir.path(), 1_000);
        assert_eq!(matches!(opened, Err(StorageError::Corrupt(_))), is_last);
        fs::write(path, whole).unwrap();
    }
    assert_eq!(ComplianceJournal::verify(dir.path()).unwrap(), Vec::<String>::new());
    fs::remove_file(first).unwrap();
    assert_eq!(ComplianceJournal::verify(dir.path()).unwrap().len(), 1);
}
