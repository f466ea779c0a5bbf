//! The journalist: follows the segments into the compliance journal (write once, hash-chained, by position).

use protocol::{Envelope, EventPack};
use ractor::ActorProcessingErr;
use storage::{
    StoredUnit,
    projection::journal::{ComplianceJournal, is_relevant},
    segments::SegmentUnit,
};

use super::follower::Consumer;

pub struct Journalist {
    journal: ComplianceJournal,
    shard: u16,
    /// The journal's own position stands at its last line; units without relevant events move this one only.
    position: u64,
}

impl Journalist {
    pub fn new(journal: ComplianceJournal, shard: u16) -> Self {
        let position = journal.position(shard);
        Self { journal, shard, position }
    }
}

impl Consumer for Journalist {
    const NAME: &'static str = "compliance";

    fn position(&self) -> u64 {
        self.position
    }

    fn consume(&mut self, units: &[SegmentUnit]) -> Result<(), ActorProcessingErr> {
        let mut envelopes: Vec<Envelope> = Vec::new();
        for unit in units {
            if !mentions_relevant(&unit.bytes) {
                continue;
            }
            let stored = StoredUnit::decode(&unit.bytes)?;
            if !stored.events.is_empty() {
                envelopes.extend(EventPack::parse(&stored.events)?.envelopes(self.shard, stored.sequence, unit.ingested_at));
            }
        }
        self.journal.append(&envelopes)?;
        self.position = units.last().map_or(self.position, |unit| unit.sequence);
        Ok(())
    }
}

/// Whether any event type named in the unit's bytes belongs in the journal; most units name only a settled round, and reading
/// them whole would cost more than all of the journal.
fn mentions_relevant(unit: &[u8]) -> bool {
    const MARK: &[u8] = b"\"type\":\"";
    memchr::memmem::find_iter(unit, MARK).any(|at| {
        let rest = &unit[at + MARK.len()..];
        let end = memchr::memchr(b'"', rest).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..end]).is_ok_and(is_relevant)
    })
}
