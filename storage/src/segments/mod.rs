//! Event segments: the committed units of a shard once more, in append-only files that followers read instead of the ledger.
//!
//! | property | how |
//! |---|---|
//! | gapless, in order | [`SegmentLog::append`] takes only `last_sequence + 1`; what it has already is ignored |
//! | rebuildable | nothing is synced: a torn tail is cut on opening and the relay copies it again from the ledger |
//! | bounded | beyond `retention_bytes_max` the oldest segments go, needed or not; a follower that needed them gets a gap |
//! | never in a bet's way | readers and the writer share only a short list of files and a watched number |
//!
//! A file is `<first sequence>.seg`, twenty digits, so that names sort; the record's form is in [`record`].

mod reader;
pub mod record;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use protocol::Timestamp;
use tokio::sync::watch;

pub use reader::{ReadBlock, SegmentReader, SegmentUnit};

const EXTENSION: &str = "seg";

/// The bounds of a shard's segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// A segment that has reached this is sealed; one batch more may still be in it.
    pub segment_bytes_max: u64,
    /// All segments of the shard together. Segments nobody needs go at half of it, needed ones beyond it.
    pub retention_bytes_max: u64,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { segment_bytes_max: 64 << 20, retention_bytes_max: 4 << 30 }
    }
}

/// What is wrong with a segment or with what was appended.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("segment file: {0}")]
    Io(#[from] io::Error),
    /// The relay left units out; nothing of the batch was written.
    #[error("sequence {expected} was expected, {got} was given")]
    NotGapless { expected: u64, got: u64 },
    #[error("a unit of {0} bytes is too large for a segment")]
    TooLarge(usize),
    /// A record that was whole is damaged: the follower is rebuilt from the ledger after [`SegmentLog::reset`].
    #[error("segment {segment} is damaged at byte {offset}")]
    Damaged { segment: u64, offset: u64 },
}

/// What [`SegmentLog::enforce_retention`] dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    pub segments: usize,
    /// Segments somebody still needed: an alert, and followers to rebuild.
    pub needed: usize,
}

/// One file, as far as readers may go into it.
#[derive(Clone, Copy, Debug)]
struct Segment {
    first_sequence: u64,
    bytes: u64,
}

/// What the writer and its readers share.
struct Shared {
    dir: PathBuf,
    state: Mutex<State>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// Oldest first; the last is being written. Empty only before the first unit of a new log.
    segments: Vec<Segment>,
    last_sequence: u64,
    /// Grows with each reset, so that readers let go of files whose names come back.
    generation: u64,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is replaced field by field without anything that could panic in between.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, first_sequence: u64) -> PathBuf {
        self.dir.join(format!("{first_sequence:020}.{EXTENSION}"))
    }
}

/// The writing end of a shard's segments; exactly one exists.
pub struct SegmentLog {
    shared: Arc<Shared>,
    options: SegmentOptions,
    /// The last segment's file.
    file: Option<File>,
    scratch: Vec<u8>,
}

impl SegmentLog {
    /// Opens `dir/<shard>`, cutting a torn tail off the last file.
    pub fn open(dir: &Path, shard: u16, options: SegmentOptions) -> Result<Self, SegmentError> {
        let dir = dir.join(shard.to_string());
        fs::create_dir_all(&dir)?;
        let mut segments = list(&dir)?;
        let mut last_sequence = 0;
        let mut file = None;
        if let Some(last) = segments.last_mut() {
            let path = dir.join(format!("{:020}.{EXTENSION}", last.first_sequence));
            let opened = OpenOptions::new().read(true).write(true).open(path)?;
            let (whole, end) = record::scan(&opened, last.first_sequence)?;
            if whole < last.bytes {
                opened.set_len(whole)?;
                last.bytes = whole;
            }
            last_sequence = end;
            file = Some(opened);
        }
        let (newest, _) = watch::channel(last_sequence);
        let state = Mutex::new(State { segments, last_sequence, generation: 0 });
        Ok(Self { shared: Arc::new(Shared { dir, state, newest }), options, file, scratch: Vec::new() })
    }

    pub fn last_sequence(&self) -> u64 {
        self.shared.lock().last_sequence
    }

    /// The oldest sequence a reader can get, if any unit is kept.
    pub fn first_sequence(&self) -> Option<u64> {
        let state = self.shared.lock();
        state.segments.first().map(|segment| segment.first_sequence).filter(|first| *first <= state.last_sequence)
    }

    /// Bytes of all segments of the shard.
    pub fn bytes(&self) -> u64 {
        self.shared.lock().segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The newest sequence, for followers that sleep until there is more.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }

    /// Appends units in one write and shows them to readers. Units at or below `last_sequence` are ignored.
    pub fn append(&mut self, units: &[(u64, Bytes)], ingested_at: Timestamp) -> Result<u64, SegmentError> {
        let known = self.last_sequence();
        let (mut last, mut first_new) = (known, None);
        self.scratch.clear();
        for (sequence, bytes) in units.iter().filter(|(sequence, _)| *sequence > known) {
            if *sequence != last + 1 {
                return Err(SegmentError::NotGapless { expected: last + 1, got: *sequence });
            }
            record::write(&mut self.scratch, *sequence, ingested_at, bytes)?;
            first_new.get_or_insert(*sequence);
            last = *sequence;
        }
        let Some(first_new) = first_new else { return Ok(last) };
        let offset = self.room_for(first_new)?;
        let Some(file) = &self.file else { return Err(io::Error::other("no segment is open").into()) };
        // A write that fails half-way leaves bytes behind the known end; the next one starts at the same offset.
        file.write_all_at(&self.scratch, offset)?;
        let mut state = self.shared.lock();
        if let Some(segment) = state.segments.last_mut() {
            segment.bytes = offset + self.scratch.len() as u64;
        }
        state.last_sequence = last;
        drop(state);
        self.shared.newest.send_replace(last);
        Ok(last)
    }

    /// A reader of everything after a sequence; it may live in any thread.
    pub fn reader(&self, after: u64) -> SegmentReader {
        SegmentReader::new(Arc::clone(&self.shared), after)
    }

    /// Something that makes readers, for those who start followers later than the relay.
    pub fn readers(&self) -> SegmentReaders {
        SegmentReaders { shared: Arc::clone(&self.shared) }
    }

    /// Drops old segments: those wholly at or below `min_position_needed` once half of the bound is used, and beyond the bound
    /// the oldest whoever needs them, for a stalled follower never slows a bet. The segment being written stays.
    pub fn enforce_retention(&mut self, min_position_needed: u64) -> Result<Dropped, SegmentError> {
        let mut dropped = Dropped::default();
        loop {
            let mut state = self.shared.lock();
            let total: u64 = state.segments.iter().map(|segment| segment.bytes).sum();
            let [oldest, next, ..] = state.segments.as_slice() else { return Ok(dropped) };
            let is_needed = next.first_sequence > min_position_needed + 1;
            let bound = if is_needed { self.options.retention_bytes_max } else { self.options.retention_bytes_max / 2 };
            if total <= bound {
                return Ok(dropped);
            }
            let path = self.shared.path(oldest.first_sequence);
            state.segments.remove(0);
            drop(state);
            fs::remove_file(path)?;
            dropped.segments += 1;
            dropped.needed += usize::from(is_needed);
        }
    }

    /// Drops everything and continues after a sequence: the relay copies an older range again for a follower being rebuilt.
    pub fn reset(&mut self, after: u64) -> Result<(), SegmentError> {
        let mut state = self.shared.lock();
        let old = std::mem::take(&mut state.segments);
        state.last_sequence = after;
        state.generation += 1;
        drop(state);
        self.file = None;
        for segment in old {
            fs::remove_file(self.shared.path(segment.first_sequence))?;
        }
        // The empty file keeps the position over a restart.
        self.start_segment(after + 1)?;
        self.shared.newest.send_replace(after);
        Ok(())
    }

    /// The offset at which the next batch goes, in a new segment when the last is full.
    fn room_for(&mut self, sequence: u64) -> Result<u64, SegmentError> {
        let used = self.shared.lock().segments.last().map(|segment| segment.bytes);
        match used {
            Some(used) if used == 0 || used < self.options.segment_bytes_max => Ok(used),
            _ => self.start_segment(sequence).map(|()| 0),
        }
    }

    fn start_segment(&mut self, first_sequence: u64) -> Result<(), SegmentError> {
        let path = self.shared.path(first_sequence);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        self.file = Some(file);
        self.shared.lock().segments.push(Segment { first_sequence, bytes: 0 });
        Ok(())
    }
}

/// Makes readers of a shard's segments.
#[derive(Clone)]
pub struct SegmentReaders {
    shared: Arc<Shared>,
}

impl SegmentReaders {
    pub fn reader(&self, after: u64) -> SegmentReader {
        SegmentReader::new(Arc::clone(&self.shared), after)
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }
}

/// The segments of a folder, oldest first.
fn list(dir: &Path) -> Result<Vec<Segment>, SegmentError> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(first_sequence), true) = (stem, path.extension().is_some_and(|extension| extension == EXTENSION)) {
            segments.push(Segment { first_sequence, bytes: entry.metadata()?.len() });
        }
    }
    segments.sort_unstable_by_key(|segment| segment.first_sequence);
    Ok(segments)
}
