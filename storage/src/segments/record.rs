//! One record of a segment: `length u32 · crc32 u32 · sequence u64 · ingested_at i64 · unit`, little-endian; the checksum covers
//! everything behind itself.

use std::{fs::File, os::unix::fs::FileExt};

use protocol::Timestamp;

use super::SegmentError;

pub const HEADER_BYTES: usize = 24;
/// A unit is some kilobytes; anything above this is damage.
pub const UNIT_BYTES_MAX: usize = 16 << 20;
const SCAN_BYTES: usize = 1 << 20;

/// The header of a record, read but not checked against its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub len: usize,
    crc: u32,
    pub sequence: u64,
    pub ingested_at: Timestamp,
}

impl Header {
    /// `None` when there are too few bytes or the length is impossible.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let (at, _) = rest.split_first_chunk::<8>()?;
        let len = u32::from_le_bytes(*len) as usize;
        (len <= UNIT_BYTES_MAX).then_some(Self {
            len,
            crc: u32::from_le_bytes(*crc),
            sequence: u64::from_le_bytes(*sequence),
            ingested_at: Timestamp(i64::from_le_bytes(*at)),
        })
    }

    pub const fn record_bytes(&self) -> usize {
        HEADER_BYTES + self.len
    }

    /// Whether a whole record (header included) is what was written.
    pub fn is_whole(&self, record: &[u8]) -> bool {
        record.len() == self.record_bytes() && crc32fast::hash(&record[8..]) == self.crc
    }
}

pub fn write(out: &mut Vec<u8>, sequence: u64, ingested_at: Timestamp, unit: &[u8]) -> Result<(), SegmentError> {
    if unit.len() > UNIT_BYTES_MAX {
        return Err(SegmentError::TooLarge(unit.len()));
    }
    let start = out.len();
    out.extend_from_slice(&(unit.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&ingested_at.0.to_le_bytes());
    out.extend_from_slice(unit);
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// How far a file is whole, and the sequence of the last whole record (`first_sequence − 1` when there is none).
pub fn scan(file: &File, first_sequence: u64) -> Result<(u64, u64), SegmentError> {
    let mut buffer = Vec::new();
    let (mut whole, mut last) = (0_u64, first_sequence - 1);
    loop {
        let filled = fill(file, &mut buffer, whole, SCAN_BYTES)?;
        let before = whole;
        let mut at = 0;
        while let Some(header) = Header::parse(&buffer[at..filled]) {
            let end = at + header.record_bytes();
            if header.sequence != last + 1 || (end <= filled && !header.is_whole(&buffer[at..end])) {
                return Ok((whole, last));
            }
            if end > filled {
                // The buffer ends inside the record; make it large enough for the next turn.
                break;
            }
            (at, whole, last) = (end, whole + header.record_bytes() as u64, header.sequence);
        }
        if whole == before {
            let needed = Header::parse(&buffer[..filled]).map_or(0, |header| header.record_bytes());
            if needed <= filled || fill(file, &mut buffer, whole, needed)? < needed {
                return Ok((whole, last));
            }
            let header = Header::parse(&buffer);
            if !header.is_some_and(|header| header.is_whole(&buffer[..needed])) {
                return Ok((whole, last));
            }
            (whole, last) = (whole + needed as u64, last + 1);
        }
    }
}

/// Reads up to `bytes` at an offset; fewer only at the end of the file.
pub fn fill(file: &File, buffer: &mut Vec<u8>, offset: u64, bytes: usize) -> Result<usize, SegmentError> {
    buffer.resize(bytes, 0);
    let mut filled = 0;
    while filled < bytes {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(filled)
}
