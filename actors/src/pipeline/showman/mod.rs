//! The showman: leaderboards, jackpots and floor figures, folded from the committed events and nothing else.
//!
//! Its state is a fold: from the same events it is the same, whether followed live, resumed from a checkpoint or rebuilt. A
//! checkpoint holds state and position together; without one the fold starts at the first event the segments still hold.

mod board;
mod fold;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use protocol::{
    JackpotId, TenantId,
    frame::{JackpotView, LeaderboardDelta, LeaderboardView},
};
use ractor::ActorProcessingErr;
use storage::{StoredUnit, segments::SegmentUnit};
use tokio::sync::broadcast;

pub use board::{Board, alias, delta};
pub use fold::{Fold, Money};

use super::follower::Consumer;
use crate::catalogue::Catalogue;

/// What the edge shows; written by the showman, read by everybody.
pub struct Show {
    view: RwLock<View>,
    /// Deltas of every tenant's board, and jackpot ticks, for whoever subscribed. A lagging subscriber sees a gap in the
    /// sequence and asks for the snapshot.
    ticks: broadcast::Sender<Tick>,
}

/// One publication.
#[derive(Clone, Debug)]
pub struct Tick {
    pub tenant: TenantId,
    /// JSON of the tenant's jackpots, when one moved.
    pub jackpots: Option<Arc<str>>,
    pub board: Option<Arc<LeaderboardDelta>>,
}

/// The latest publication in full.
#[derive(Clone, Default)]
pub struct View {
    pub boards: BTreeMap<TenantId, LeaderboardView>,
    pub jackpots: BTreeMap<JackpotId, JackpotView>,
    pub money: Vec<Money>,
    pub bets_last_minute: u64,
    pub bets_last_second: u64,
    pub open_bets: i64,
    pub position: u64,
}

impl Default for Show {
    fn default() -> Self {
        Self { view: RwLock::default(), ticks: broadcast::channel(Self::TICKS_WAITING_MAX).0 }
    }
}

impl Show {
    const TICKS_WAITING_MAX: usize = 64;

    pub fn view(&self) -> View {
        self.view.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub fn jackpots_of(&self, catalogue: &Catalogue, tenant: TenantId) -> Vec<JackpotView> {
        let view = self.view();
        let of_tenant = |id: &JackpotId| catalogue.jackpot(*id).is_some_and(|spec| spec.tenant == tenant);
        view.jackpots.into_iter().filter(|(id, _)| of_tenant(id)).map(|(_, jackpot)| jackpot).collect()
    }

    pub fn board(&self, tenant: TenantId) -> LeaderboardView {
        self.view
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .boards
            .get(&tenant)
            .cloned()
            .unwrap_or_else(|| LeaderboardView { board: Board::NAME.to_owned(), sequence: 0, rows: Vec::new() })
    }

    pub fn subscribe(&self) -> broadcast::Receiver<Tick> {
        self.ticks.subscribe()
    }
}

/// The consumer behind [`Show`].
pub struct Showman {
    fold: Fold,
    show: Arc<Show>,
    catalogue: Arc<Catalogue>,
    env: Arc<dyn crate::env::Env>,
    rows_max: usize,
    checkpoint: PathBuf,
    checkpointed: Instant,
    published: Option<Instant>,
}

const PUBLISH_EVERY: Duration = Duration::from_millis(500);
const CHECKPOINT_EVERY: Duration = Duration::from_secs(15);

impl Showman {
    /// Resumes from the checkpoint, or begins at the start.
    pub fn open(
        checkpoint: PathBuf,
        show: Arc<Show>,
        catalogue: Arc<Catalogue>,
        env: Arc<dyn crate::env::Env>,
        rows_max: usize,
    ) -> Result<Self, ActorProcessingErr> {
        let mut fold: Fold = match std::fs::read(&checkpoint) {
            // A checkpoint of another shape is no loss: the fold is made again from the events.
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Fold::default(),
        };
        fold.index();
        Ok(Self { fold, show, catalogue, env, rows_max, checkpoint, checkpointed: Instant::now(), published: None })
    }

    fn save(&mut self) -> Result<(), ActorProcessingErr> {
        let fresh = self.checkpoint.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec(&self.fold)?)?;
        std::fs::rename(&fresh, &self.checkpoint)?;
        self.checkpointed = Instant::now();
        Ok(())
    }

    /// Makes the fold visible, and tells what changed.
    fn publish(&mut self) {
        let now = self.env.now();
        let before = self.show.view();
        let mut view = View {
            boards: BTreeMap::new(),
            jackpots: BTreeMap::new(),
            money: self.fold.money_rows(),
            bets_last_minute: self.fold.bets_since(now, 60),
            bets_last_second: self.fold.bets_since(now, 2) / 2,
            open_bets: self.fold.open_bets(),
            position: self.fold.position,
        };
        let mut ticks = Vec::new();
        for tenant in self.catalogue.brands.keys() {
            let old = before.boards.get(tenant);
            let rows = self.fold.top(*tenant, now, self.rows_max);
            let delta = board::delta(old, &rows);
            let sequence = old.map_or(0, |old| old.sequence) + u64::from(delta.is_some());
            view.boards.insert(*tenant, LeaderboardView { board: Board::NAME.to_owned(), sequence, rows });
            let board =
                delta.map(|(rows, gone)| Arc::new(LeaderboardDelta { board: Board::NAME.to_owned(), sequence, rows, gone }));
            ticks.push(Tick { tenant: *tenant, jackpots: None, board });
        }
        for spec in &self.catalogue.jackpots {
            if let Some(meter) = self.fold.jackpot(spec.id) {
                view.jackpots.insert(spec.id, meter.view(spec));
            }
        }
        for tick in &mut ticks {
            let of_tenant =
                |jackpot: &&JackpotView| self.catalogue.jackpot(jackpot.jackpot).is_some_and(|s| s.tenant == tick.tenant);
            let jackpots: Vec<_> = view.jackpots.values().filter(of_tenant).collect();
            if jackpots.iter().any(|jackpot| before.jackpots.get(&jackpot.jackpot) != Some(*jackpot)) {
                tick.jackpots = serde_json::to_string(&jackpots).ok().map(Into::into);
            }
        }
        *self.show.view.write().unwrap_or_else(std::sync::PoisonError::into_inner) = view;
        ticks.into_iter().filter(|tick| tick.jackpots.is_some() || tick.board.is_some()).for_each(|tick| {
            // Nobody listening is no fault.
            drop(self.show.ticks.send(tick));
        });
        self.published = Some(Instant::now());
    }
}

impl Consumer for Showman {
    const NAME: &'static str = "showman";

    fn position(&self) -> u64 {
        self.fold.position
    }

    fn consume(&mut self, units: &[SegmentUnit]) -> Result<(), ActorProcessingErr> {
        for unit in units {
            self.fold.apply(&StoredUnit::decode(&unit.bytes)?)?;
        }
        Ok(())
    }

    fn caught_up(&mut self) -> Result<(), ActorProcessingErr> {
        if self.published.is_none_or(|at| at.elapsed() >= PUBLISH_EVERY) {
            self.publish();
        }
        if self.checkpointed.elapsed() >= CHECKPOINT_EVERY {
            self.save()?;
        }
        Ok(())
    }
}

impl Drop for Showman {
    /// A clean stop keeps what was folded; losing it costs only time.
    fn drop(&mut self) {
        drop(self.save());
    }
}
