//! The compliance journal: what a regulator asks for, as JSON lines that only ever grow, each chained to the one before.
//!
//! | property | how |
//! |---|---|
//! | tamper-evident | each line carries SHA-256(hash of the line before ‖ its own text); a file begins with its predecessor's hash |
//! | its own position | the last line of the last file says (shard, sequence) of what it was written for |
//! | at least once | envelopes at or below the position of their shard are passed over |
//! | a torn tail | is cut on opening; the lost lines are written again by the follower |
//!
//! A line is `{"hash":…,"positions":{…},"event":{…}}`; `positions` is the vector of all shards after this line, so the last
//! line alone tells where to go on. A unit's lines are written together, behind all of them the position is the unit's.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use protocol::event::Envelope;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::ledger::StorageError;

const FILE_BYTES_MAX: u64 = 64 << 20;
const PREFIX: &str = "compliance-";
const SUFFIX: &str = ".jsonl";

/// Whether an event belongs into the journal.
pub fn is_relevant(event_type: &str) -> bool {
    const EXACT: [&str; 5] =
        ["wallet.debit.refused", "wallet.receivable.raised", "jackpot.triggered", "bet.voided", "player.opened"];
    const FAMILIES: [&str; 3] = ["rg.", "bonus.", "session."];
    EXACT.contains(&event_type) || FAMILIES.iter().any(|family| event_type.starts_with(family))
}

/// The writing end; exactly one exists.
pub struct ComplianceJournal {
    dir: PathBuf,
    file: File,
    number: u64,
    bytes: u64,
    hash: [u8; 32],
    positions: BTreeMap<u16, u64>,
    file_bytes_max: u64,
}

#[derive(Serialize)]
struct Content<'a> {
    positions: &'a BTreeMap<u16, u64>,
    /// The event's place within its unit, so that half a unit is noticed.
    last_of_unit: bool,
    event: &'a RawValue,
}

#[derive(Deserialize)]
struct Line<'a> {
    hash: &'a str,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct ReadContent {
    positions: BTreeMap<u16, u64>,
    last_of_unit: bool,
}

/// What reading a file found.
struct Walked {
    hash: [u8; 32],
    positions: BTreeMap<u16, u64>,
    /// Bytes up to the end of the last whole unit.
    whole_bytes: u64,
    lines: u64,
    fault: Option<String>,
    /// The fault is a last line without its end.
    is_torn: bool,
}

impl ComplianceJournal {
    pub fn open(dir: &Path) -> Result<Self, StorageError> {
        Self::open_with(dir, FILE_BYTES_MAX)
    }

    /// As [`ComplianceJournal::open`], with files of another size.
    pub fn open_with(dir: &Path, file_bytes_max: u64) -> Result<Self, StorageError> {
        fs::create_dir_all(dir).map_err(fault)?;
        let numbers = files(dir)?;
        let number = numbers.last().copied().unwrap_or(1);
        let path = path_of(dir, number);
        let mut start = ([0; 32], BTreeMap::new());
        // A file that was begun and got no line yet says nothing; its predecessor does.
        for before in numbers.iter().rev().skip(1) {
            let walked = walk(&path_of(dir, *before), None)?;
            start = (walked.hash, walked.positions);
            if walked.lines > 0 {
                break;
            }
        }
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(fault)?;
        let walked = walk(&path, Some(start))?;
        // Only what an interrupted write leaves is cut; anything else is evidence.
        if let Some(why) = walked.fault.filter(|_| !walked.is_torn) {
            return Err(StorageError::Corrupt(format!("compliance journal, file {number}: {why}")));
        }
        file.set_len(walked.whole_bytes).map_err(fault)?;
        let Walked { hash, positions, whole_bytes, .. } = walked;
        Ok(Self { dir: dir.to_owned(), file, number, bytes: whole_bytes, hash, positions, file_bytes_max })
    }

    /// The sequence of the last unit of a shard that is in the journal; units without relevant events leave no trace.
    pub fn position(&self, shard: u16) -> u64 {
        self.positions.get(&shard).copied().unwrap_or(0)
    }

    /// Writes the relevant envelopes, in order, and returns how many were new. On an error nothing of the call counts as
    /// written: open the journal again.
    pub fn append(&mut self, envelopes: &[Envelope]) -> Result<usize, StorageError> {
        let mut out = Vec::new();
        let (mut hash, mut positions, mut count) = (self.hash, self.positions.clone(), 0);
        for unit in envelopes.chunk_by(|a, b| (a.shard, a.sequence) == (b.shard, b.sequence)) {
            let Some(first) = unit.first() else { continue };
            if first.sequence <= positions.get(&first.shard).copied().unwrap_or(0) {
                continue;
            }
            let relevant: Vec<&Envelope> = unit.iter().filter(|envelope| is_relevant(&envelope.event_type)).collect();
            for (index, envelope) in relevant.iter().enumerate() {
                positions.insert(envelope.shard, envelope.sequence);
                let event = serde_json::value::to_raw_value(envelope).map_err(unreadable)?;
                let last_of_unit = index + 1 == relevant.len();
                let content = Content { positions: &positions, last_of_unit, event: &event };
                let content = serde_json::to_string(&content).map_err(unreadable)?;
                hash = next_hash(&hash, &content);
                out.extend_from_slice(format!("{{\"hash\":\"{}\",\"content\":{content}}}\n", hex::encode(hash)).as_bytes());
                count += 1;
            }
        }
        if out.is_empty() {
            return Ok(0);
        }
        if self.bytes >= self.file_bytes_max {
            self.rotate()?;
        }
        self.file.write_all(&out).and_then(|()| self.file.sync_data()).map_err(fault)?;
        self.bytes += out.len() as u64;
        (self.hash, self.positions) = (hash, positions);
        Ok(count)
    }

    fn rotate(&mut self) -> Result<(), StorageError> {
        self.number += 1;
        let path = path_of(&self.dir, self.number);
        self.file = OpenOptions::new().read(true).append(true).create_new(true).open(path).map_err(fault)?;
        self.bytes = 0;
        Ok(())
    }

    /// Walks every file of a journal and names what is wrong with it; empty when it is whole.
    pub fn verify(dir: &Path) -> Result<Vec<String>, StorageError> {
        let mut violations = Vec::new();
        let mut state = ([0; 32], BTreeMap::new());
        let numbers = files(dir)?;
        for (expected, number) in (1..).zip(&numbers) {
            if expected != *number {
                violations.push(format!("file {expected} is missing"));
                break;
            }
            let path = path_of(dir, *number);
            let walked = walk(&path, Some(state))?;
            if let Some(fault) = walked.fault {
                violations.push(format!("file {number}: {fault}"));
                break;
            }
            state = (walked.hash, walked.positions);
        }
        Ok(violations)
    }
}

/// Reads a file's lines until the first that is not whole. Without a start the first line's hash is taken on trust.
fn walk(path: &Path, start: Option<([u8; 32], BTreeMap<u16, u64>)>) -> Result<Walked, StorageError> {
    let mut is_trusted = start.is_none();
    let (mut hash, positions) = start.unwrap_or_default();
    let mut walked = Walked { hash, positions, whole_bytes: 0, lines: 0, fault: None, is_torn: false };
    let mut reader = BufReader::new(File::open(path).map_err(fault)?);
    let (mut text, mut bytes) = (Vec::new(), 0);
    loop {
        text.clear();
        let count = reader.read_until(b'\n', &mut text).map_err(fault)?;
        if count == 0 {
            return Ok(walked);
        }
        bytes += count as u64;
        match read_line(&text, &hash, is_trusted) {
            Ok((next, content)) => {
                hash = next;
                is_trusted = false;
                walked.lines += 1;
                if content.last_of_unit {
                    (walked.hash, walked.positions, walked.whole_bytes) = (hash, content.positions, bytes);
                }
            }
            Err(why) => {
                walked.is_torn = text.last() != Some(&b'\n');
                walked.fault = Some(format!("line {}: {why}", walked.lines + 1));
                return Ok(walked);
            }
        }
    }
}

fn read_line(text: &[u8], before: &[u8; 32], is_trusted: bool) -> Result<([u8; 32], ReadContent), String> {
    if text.last() != Some(&b'\n') {
        return Err("torn off".to_owned());
    }
    let line: Line<'_> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let content = line.content.get();
    let mut hash = [0; 32];
    hex::decode_to_slice(line.hash, &mut hash).map_err(|error| error.to_string())?;
    if !is_trusted && hash != next_hash(before, content) {
        return Err("the chain is broken".to_owned());
    }
    Ok((hash, serde_json::from_str(content).map_err(|error| error.to_string())?))
}

fn next_hash(before: &[u8; 32], content: &str) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(content.as_bytes()).finalize().into()
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:08}{SUFFIX}"))
}

/// The numbers of the files there are, in order.
fn files(dir: &Path) -> Result<Vec<u64>, StorageError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        let number: Option<u64> = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok());
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn fault(error: io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::StorageFull => StorageError::Full,
        _ => StorageError::Unavailable(format!("compliance journal: {error}")),
    }
}

fn unreadable(error: serde_json::Error) -> StorageError {
    StorageError::Corrupt(format!("compliance journal: {error}"))
}
