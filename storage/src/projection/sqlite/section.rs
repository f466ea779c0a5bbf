//! A section: the lines one block brought for one owner, with what a query or a filing needs to know without unpacking them.
//!
//! Form: `owner (17 bytes) · length u32 · postcard(Head) · packed lines`; sections stand one behind the other.

use protocol::{Holdings, RecordKey};
use serde::{Deserialize, Serialize};

use crate::{
    ledger::StorageError,
    projection::{
        fold::{self, Line},
        pack::{self, Net, corrupt},
        pages::PAGE_LINES_MAX,
    },
};

#[derive(Serialize, Deserialize)]
struct Head {
    first_sequence: u64,
    last_sequence: u64,
    /// The highest version among the lines.
    version: u64,
    count: u32,
    net: Net,
}

/// A section read, its lines still packed.
pub struct Section<'a> {
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub version: u64,
    pub count: u32,
    net: Net,
    pub lines: &'a [u8],
}

/// A section not yet read.
pub struct Raw<'a>(&'a [u8]);

impl<'a> Raw<'a> {
    pub fn read(&self) -> Result<Section<'a>, StorageError> {
        let (head, lines) = postcard::take_from_bytes::<Head>(self.0).map_err(corrupt)?;
        let Head { first_sequence, last_sequence, version, count, net } = head;
        Ok(Section { first_sequence, last_sequence, version, count, net, lines })
    }
}

impl Section<'_> {
    /// Moves an owner's balances over the whole section.
    pub fn move_holdings(&self, owner: RecordKey, holdings: &mut Holdings) -> Result<(), StorageError> {
        for change in &self.net {
            holdings
                .change(owner, change.book, change.code, change.sub, change.amount)
                .map_err(|error| fold::damaged(self.last_sequence, error))?;
        }
        Ok(())
    }
}

/// Writes lines of one owner behind what is in `out`.
pub fn write(out: &mut Vec<u8>, owner: RecordKey, lines: &[Line]) -> Result<(), StorageError> {
    let mut head = Head {
        first_sequence: lines.first().map_or(0, |line| line.sequence),
        last_sequence: lines.last().map_or(0, |line| line.sequence),
        version: 0,
        count: lines.len() as u32,
        net: Net::new(),
    };
    for line in lines {
        head.version = head.version.max(line.version);
        pack::add_net(&mut head.net, owner, line)?;
    }
    head.net.retain(|change| !change.amount.is_zero());
    let mut bytes = std::mem::take(out);
    bytes.extend_from_slice(&pack::owner_bytes(owner));
    let length_at = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    let bytes = postcard::to_extend(&head, bytes).map_err(corrupt)?;
    *out = pack::pack(bytes, owner, lines)?;
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Visits the sections of a blob without reading them.
pub fn each<'a>(
    mut blob: &'a [u8],
    mut visit: impl FnMut(RecordKey, Raw<'a>) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let cut = || corrupt("a section is cut off");
    while !blob.is_empty() {
        let (owner, rest) = blob.split_first_chunk::<17>().ok_or_else(cut)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (section, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut)?;
        visit(pack::owner_of(owner)?, Raw(section))?;
        blob = rest;
    }
    Ok(())
}

/// Groups sections into pages of at most [`PAGE_LINES_MAX`] lines; no section is larger than that.
pub fn pages<'s, 'a>(sections: &'s [Section<'a>]) -> impl Iterator<Item = &'s [Section<'a>]> {
    let mut rest = sections;
    std::iter::from_fn(move || {
        let mut lines = 0;
        let fits = |section: &&Section<'_>| {
            lines += section.count as usize;
            lines <= PAGE_LINES_MAX
        };
        let count = rest.iter().take_while(fits).count();
        if rest.is_empty() {
            return None;
        }
        let (page, left) = rest.split_at(count.max(1));
        rest = left;
        Some(page)
    })
}
