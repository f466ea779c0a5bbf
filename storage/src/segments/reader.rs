//! The reading end: big chunks of one file, then the next, up to what the writer has shown.

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use protocol::Timestamp;

use super::{
    SegmentError, Shared,
    record::{self, Header},
};

/// One read of a file; units share its memory.
const CHUNK_BYTES_MAX: usize = 512 << 10;

/// One committed unit as the relay took it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentUnit {
    pub sequence: u64,
    pub ingested_at: Timestamp,
    /// An encoded [`crate::StoredUnit`].
    pub bytes: Bytes,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadBlock {
    /// At least one unit, in order, gapless after the last one read.
    Units(Vec<SegmentUnit>),
    CaughtUp,
    /// Retention has dropped what comes next; the follower is rebuilt from the ledger.
    Gap {
        first_available: u64,
    },
}

/// Reads a shard's units in order, while its writer appends.
pub struct SegmentReader {
    shared: Arc<Shared>,
    position: u64,
    generation: u64,
    open: Option<Open>,
}

/// A file being read.
struct Open {
    file: File,
    first_sequence: u64,
    offset: u64,
    /// Read and not yet handed out.
    chunk: Bytes,
}

impl SegmentReader {
    pub(super) fn new(shared: Arc<Shared>, after: u64) -> Self {
        Self { shared, position: after, generation: 0, open: None }
    }

    /// The sequence of the last unit read.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Continues after another sequence.
    pub fn seek(&mut self, after: u64) {
        self.position = after;
        self.open = None;
    }

    /// The next units, at most `max_units`, and no more after `max_bytes` are reached.
    pub fn read(&mut self, max_units: usize, max_bytes: usize) -> Result<ReadBlock, SegmentError> {
        let mut units = Vec::new();
        let mut bytes = 0;
        while units.len() < max_units && bytes < max_bytes {
            if self.open.as_ref().is_none_or(|open| open.chunk.is_empty()) {
                match self.advance() {
                    Ok(None) => {}
                    // What was read so far goes out first; the next call finds the same again.
                    Ok(Some(_)) | Err(_) if !units.is_empty() => break,
                    Ok(Some(stop)) => return Ok(stop),
                    Err(error) => return Err(error),
                }
            }
            let unit = match self.next_in_chunk() {
                Ok(Some(unit)) => unit,
                Ok(None) => continue,
                Err(_) if !units.is_empty() => break,
                Err(error) => return Err(error),
            };
            bytes += unit.bytes.len();
            units.push(unit);
        }
        Ok(if units.is_empty() { ReadBlock::CaughtUp } else { ReadBlock::Units(units) })
    }

    /// Fetches a chunk that starts at a record; `Some` when there is none to fetch.
    fn advance(&mut self) -> Result<Option<ReadBlock>, SegmentError> {
        let (bytes, is_sealed) = loop {
            let wanted = match self.locate() {
                Ok(found) => break found,
                Err(Locate::Stop(block)) => return Ok(Some(block)),
                Err(Locate::Open(wanted)) => wanted,
            };
            match File::open(self.shared.path(wanted)) {
                Ok(file) => self.open = Some(Open { file, first_sequence: wanted, offset: 0, chunk: Bytes::new() }),
                // Retention was quicker; the list no longer names the file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.open = None,
                Err(error) => return Err(error.into()),
            }
        };
        let Some(open) = &mut self.open else { return Ok(None) };
        let left = usize::try_from(bytes.saturating_sub(open.offset)).unwrap_or(usize::MAX);
        if left == 0 {
            if !is_sealed {
                return Ok(Some(ReadBlock::CaughtUp));
            }
            // The list says that the next unit is in this file, and the file ends before it.
            return Err(SegmentError::Damaged { segment: open.first_sequence, offset: open.offset });
        }
        open.fetch(left.min(CHUNK_BYTES_MAX), left)?;
        Ok(None)
    }

    /// How many bytes of the open file may be read, if it is the one with the next unit.
    fn locate(&mut self) -> Result<(u64, bool), Locate> {
        let state = self.shared.lock();
        if self.generation != state.generation {
            self.generation = state.generation;
            self.open = None;
        }
        let next = self.position + 1;
        if next > state.last_sequence {
            return Err(Locate::Stop(ReadBlock::CaughtUp));
        }
        let index = state.segments.partition_point(|segment| segment.first_sequence <= next);
        let Some(segment) = index.checked_sub(1).and_then(|index| state.segments.get(index)) else {
            let first_available = state.segments.first().map_or(state.last_sequence + 1, |segment| segment.first_sequence);
            self.open = None;
            return Err(Locate::Stop(ReadBlock::Gap { first_available }));
        };
        match &self.open {
            Some(open) if open.first_sequence == segment.first_sequence => Ok((segment.bytes, index < state.segments.len())),
            _ => Err(Locate::Open(segment.first_sequence)),
        }
    }

    /// Takes one record off the chunk; `None` when it was before the position or ends beyond the chunk.
    fn next_in_chunk(&mut self) -> Result<Option<SegmentUnit>, SegmentError> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let damaged = SegmentError::Damaged { segment: open.first_sequence, offset: open.offset };
        if open.chunk.len() < record::HEADER_BYTES {
            open.chunk = Bytes::new();
            return Ok(None);
        }
        let Some(header) = Header::parse(&open.chunk) else { return Err(damaged) };
        let end = header.record_bytes();
        if end > open.chunk.len() {
            open.chunk = Bytes::new();
            return Ok(None);
        }
        if !header.is_whole(&open.chunk[..end]) {
            return Err(damaged);
        }
        let record = open.chunk.split_to(end);
        open.offset += end as u64;
        if header.sequence <= self.position {
            return Ok(None);
        }
        if header.sequence != self.position + 1 {
            return Err(damaged);
        }
        self.position = header.sequence;
        let bytes = record.slice(record::HEADER_BYTES..);
        Ok(Some(SegmentUnit { sequence: header.sequence, ingested_at: header.ingested_at, bytes }))
    }
}

/// Why [`SegmentReader::locate`] has no bytes yet.
enum Locate {
    Stop(ReadBlock),
    Open(u64),
}

impl Open {
    /// Reads the chunk at the offset, larger when its first record is.
    fn fetch(&mut self, bytes: usize, left: usize) -> Result<(), SegmentError> {
        let mut buffer = Vec::new();
        let mut filled = record::fill(&self.file, &mut buffer, self.offset, bytes)?;
        let needed = Header::parse(&buffer[..filled]).map(|header| header.record_bytes());
        if let Some(needed) = needed.filter(|needed| *needed > filled && *needed <= left) {
            filled = record::fill(&self.file, &mut buffer, self.offset, needed)?;
        }
        let is_first_whole = Header::parse(&buffer[..filled]).is_some_and(|header| header.record_bytes() <= filled);
        if !is_first_whole {
            return Err(SegmentError::Damaged { segment: self.first_sequence, offset: self.offset });
        }
        buffer.truncate(filled);
        self.chunk = Bytes::from(buffer);
        Ok(())
    }
}
