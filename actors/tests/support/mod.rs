//! A small casino around the real tree: one brand, one hosted and one provider game, a jackpot on demand, a clock that only
//! moves when told. Every house ends in [`House::end`], which proves that what is stored is what happened.

#![expect(dead_code, reason = "each test file uses its part of the house")]

pub mod catalogue;
pub mod env;
pub mod play;

use std::{
    collections::HashMap,
    future::Future,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use actors::{
    Core, Settings,
    game::{OutcomeSource, Seeds},
    root::CoreParts,
    sealing::Sealer,
    stats::Stats,
};
use protocol::{EventPack, GameId};
use storage::{
    Ledger, StorageError, StoredUnit,
    anchor::AnchorLog,
    ledger::faults::{Fault, FaultPlan},
    memory::MemoryLedger,
    projection::{
        MemoryProjection, ProjectionReader, ProjectionStore,
        journal::{ComplianceJournal, is_relevant},
        sqlite::{ProjectionOptions, SqliteProjection},
        verify_projections,
    },
    segments::{SegmentLog, SegmentOptions},
    sqlite::{SqliteLedger, SqliteOptions},
    verify::verify_ledger,
};
use tempfile::TempDir;

pub use catalogue::World;
pub use env::TestEnv;

/// Longest wait for anything that must come; reaching it fails the test.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
pub const SECRET: [u8; 32] = [5; 32];

type OpenProjections = Arc<dyn Fn() -> Result<Box<dyn ProjectionStore>, StorageError> + Send + Sync>;

/// Where the ledger and the projections lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Sqlite,
}

/// What survives a restart of the core.
pub struct Place {
    pub kind: Kind,
    pub dir: TempDir,
    pub memory: MemoryLedger,
    pub projection: MemoryProjection,
    pub faults: FaultPlan,
    pub env: Arc<TestEnv>,
    pub world: World,
    pub settings: Settings,
    /// While set, the journal cannot be opened.
    pub journal_is_away: Arc<AtomicBool>,
}

/// A running core with its place.
pub struct House {
    pub core: Core,
    pub place: Place,
    pub ledger: Arc<dyn Ledger>,
    pub stats: Arc<Stats>,
}

impl Place {
    pub fn new(kind: Kind, world: World) -> Self {
        let memory = MemoryLedger::new(1);
        let faults = if kind == Kind::Memory { memory.faults().clone() } else { FaultPlan::default() };
        Self {
            kind,
            dir: tempfile::tempdir().unwrap(),
            memory,
            projection: MemoryProjection::new(),
            faults,
            env: TestEnv::new(1),
            world,
            settings: Settings::default(),
            journal_is_away: Arc::default(),
        }
    }

    /// Plans a fault for the commit after the next `passes` ones.
    pub fn inject(&self, passes: u64, fault: Fault) {
        self.faults.inject(passes, fault);
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    async fn ledger(&self) -> Arc<dyn Ledger> {
        match self.kind {
            Kind::Memory => Arc::new(self.memory.clone()),
            Kind::Sqlite => {
                let options = SqliteOptions { faults: self.faults.clone(), ..SqliteOptions::default() };
                Arc::new(SqliteLedger::open(self.dir.path(), options).await.unwrap())
            }
        }
    }

    async fn projections(&self) -> (Arc<dyn ProjectionReader>, OpenProjections) {
        if self.kind == Kind::Memory {
            let store = self.projection.clone();
            return (store.reader(), Arc::new(move || Ok(Box::new(store.clone()))));
        }
        let path = self.path("projections.sqlite");
        let first = open_projections(&path).await.unwrap();
        let reader = first.reader();
        let first = Mutex::new(Some(first));
        let open = move || -> Result<Box<dyn ProjectionStore>, StorageError> {
            if let Some(first) = first.lock().unwrap().take() {
                return Ok(Box::new(first));
            }
            let store = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(open_projections(&path)))?;
            Ok(Box::new(store))
        };
        (reader, Arc::new(open))
    }

    fn journal(&self) -> Arc<dyn Fn() -> Result<ComplianceJournal, StorageError> + Send + Sync> {
        let (path, is_away) = (self.compliance(), Arc::clone(&self.journal_is_away));
        Arc::new(move || {
            if is_away.load(Ordering::SeqCst) {
                return Err(StorageError::Unavailable("the journal's disk is away".to_owned()));
            }
            ComplianceJournal::open(&path)
        })
    }

    pub fn compliance(&self) -> std::path::PathBuf {
        self.path("compliance")
    }

    pub fn checkpoint(&self) -> std::path::PathBuf {
        self.path("showman.json")
    }

    pub fn segments(&self) -> std::path::PathBuf {
        self.path("segments")
    }

    pub async fn open(self) -> House {
        let ledger = self.ledger().await;
        self.open_on(ledger).await
    }

    /// Opens the doors on a ledger that stands for this place's own.
    pub async fn open_on(self, ledger: Arc<dyn Ledger>) -> House {
        let (projection_reader, projections) = self.projections().await;
        let mut sources: HashMap<GameId, Arc<dyn OutcomeSource>> = HashMap::new();
        sources.insert(catalogue::hosted_game(), Arc::new(catalogue::Thirds));
        let stats = Arc::new(Stats::default());
        let core = Core::start(CoreParts {
            ledger: Arc::clone(&ledger),
            catalogue: self.world.catalogue(),
            env: Arc::clone(&self.env) as Arc<dyn actors::Env>,
            sealer: Sealer::new(&SECRET),
            seeds: Seeds::new(SECRET),
            sources,
            settings: self.settings.clone(),
            log: SegmentLog::open(&self.segments(), 0, SegmentOptions::default()).unwrap(),
            projections,
            projection_reader,
            journal: self.journal(),
            checkpoint: self.checkpoint(),
            anchors: AnchorLog::open(&self.path("anchors"), &self.path("keys")).unwrap(),
            stats: Arc::clone(&stats),
        })
        .await
        .unwrap();
        House { core, place: self, ledger, stats }
    }
}

async fn open_projections(path: &Path) -> Result<SqliteProjection, StorageError> {
    SqliteProjection::open(path, ProjectionOptions::default()).await
}

impl House {
    pub async fn memory(world: World) -> Self {
        Place::new(Kind::Memory, world).open().await
    }

    pub async fn sqlite(world: World) -> Self {
        Place::new(Kind::Sqlite, world).open().await
    }

    /// Stops the core and proves the books; the place can be opened again.
    pub async fn close(self) -> Place {
        let Self { core, place, ledger, .. } = self;
        let positions = Arc::clone(&core.positions);
        core.stop().await;
        drop(ledger);
        let ledger = place.ledger().await;
        let head = ledger.head(0).await.unwrap().sequence;
        let anchors = AnchorLog::open(&place.path("anchors"), &place.path("keys")).unwrap().read_all().unwrap();
        assert!(head == 0 || anchors.last().is_some_and(|anchor| anchor.sequence == head), "the last head is anchored");
        let report = verify_ledger(ledger.as_ref(), &anchors).await.unwrap();
        assert!(report.ok(), "{:#?}", report.violations);
        assert_eq!(positions.newest(), head, "the segments end at the head");
        let followers = positions.followers();
        assert!(followers.len() == 3 && followers.values().all(|at| *at == head), "{followers:?}, the head is {head}");
        let (reader, _) = place.projections().await;
        assert_eq!(verify_projections(ledger.as_ref(), reader.as_ref()).await.unwrap(), Vec::<String>::new());
        assert_eq!(ComplianceJournal::verify(&place.compliance()).unwrap(), Vec::<String>::new());
        let units = units_of(ledger.as_ref()).await;
        assert_eq!(journalled(&place.compliance()), relevant(&units), "each relevant event stands in the journal once, in order");
        ledger.close().await;
        place
    }

    pub async fn end(self) {
        drop(self.close().await);
    }

    pub async fn restart(self) -> Self {
        self.close().await.open().await
    }

    pub async fn head(&self) -> u64 {
        self.ledger.head(0).await.unwrap().sequence
    }

    /// Every unit, in order.
    pub async fn units(&self) -> Vec<StoredUnit> {
        units_of(self.ledger.as_ref()).await
    }

    /// Waits until every follower stands at the head.
    pub async fn caught_up(&self) {
        let head = self.head().await;
        let positions = &self.core.positions;
        until("the followers are at the head", || positions.newest() >= head && positions.least() >= head).await;
    }
}

async fn units_of(ledger: &dyn Ledger) -> Vec<StoredUnit> {
    let mut units: Vec<StoredUnit> = Vec::new();
    loop {
        let page = ledger.units(0, units.len() as u64, 1_000).await.unwrap();
        if page.is_empty() {
            return units;
        }
        units.extend(page.iter().map(|(_, bytes)| StoredUnit::decode(bytes).unwrap()));
    }
}

/// The ids of all events that belong into the journal, as the units have them.
fn relevant(units: &[StoredUnit]) -> Vec<String> {
    let mut ids = Vec::new();
    for unit in units.iter().filter(|unit| !unit.events.is_empty()) {
        let pack = EventPack::parse(&unit.events).unwrap();
        let envelopes = pack.envelopes(0, unit.sequence, unit.at).filter(|envelope| is_relevant(&envelope.event_type));
        ids.extend(envelopes.map(|envelope| envelope.event_id.to_string()));
    }
    ids
}

/// The ids of the events in the journal, in the order of its lines.
pub fn journalled(dir: &Path) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let id = |line: &str| -> String {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["content"]["event"]["event_id"].as_str().unwrap().to_owned()
    };
    text.lines().map(id).collect()
}

/// Waits for a condition; one that never comes fails the test by name.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    until_async(what, || std::future::ready(is_so())).await;
}

pub async fn until_async<F: Future<Output = bool>>(what: &str, is_so: impl Fn() -> F) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < WAIT_MAX, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
