//! The projector: follows the segments into the projection store (rounds, statements, postings).

use ractor::ActorProcessingErr;
use storage::{StoredUnit, projection::ProjectionStore, segments::SegmentUnit};

use super::follower::Consumer;

pub struct Projector {
    store: Box<dyn ProjectionStore>,
    shard: u16,
    position: u64,
}

impl Projector {
    pub fn open(mut store: Box<dyn ProjectionStore>, shard: u16) -> Result<Self, ActorProcessingErr> {
        let position = store.position(shard)?;
        Ok(Self { store, shard, position })
    }
}

impl Consumer for Projector {
    const NAME: &'static str = "projections";

    fn position(&self) -> u64 {
        self.position
    }

    fn consume(&mut self, units: &[SegmentUnit]) -> Result<(), ActorProcessingErr> {
        let units = units.iter().map(|unit| StoredUnit::decode(&unit.bytes)).collect::<Result<Vec<_>, _>>()?;
        self.position = self.store.apply(self.shard, &units)?;
        Ok(())
    }
}
