//! The layouts compared, and the workload they get: complete units of a plausible size.

mod multi_row;
mod unpacked;

use std::path::Path;

use bytes::Bytes;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use smallvec::smallvec;
use storage::{Ledger, RecordWrite, ShardWriter, UnitKey, UnitOfWork, sqlite::SqliteLedger, testing};
use uuid::Uuid;

#[derive(Clone, Copy)]
pub enum Layout {
    Chosen,
    Unpacked,
    Sqlx,
}

/// One layout, open.
pub enum Store {
    Chosen { _ledger: SqliteLedger, writer: Box<dyn ShardWriter> },
    Unpacked(unpacked::Unpacked),
    Sqlx(multi_row::MultiRow),
}

pub async fn open(layout: Layout, dir: &Path) -> Store {
    match layout {
        Layout::Chosen => {
            let ledger = SqliteLedger::open(dir, Default::default()).await.unwrap();
            let writer = ledger.open_shard(0).await.unwrap();
            Store::Chosen { _ledger: ledger, writer }
        }
        Layout::Unpacked => Store::Unpacked(unpacked::Unpacked::open(dir).await),
        Layout::Sqlx => Store::Sqlx(multi_row::MultiRow::open(dir).await),
    }
}

impl Store {
    pub async fn commit(&mut self, units: Vec<UnitOfWork>) {
        match self {
            Self::Chosen { writer, .. } => drop(writer.commit(units).await.unwrap()),
            Self::Unpacked(store) => store.commit(units).await,
            Self::Sqlx(store) => store.commit(units).await,
        }
    }
}

/// The options all layouts share.
pub fn connect_options(dir: &Path) -> sqlx::sqlite::SqliteConnectOptions {
    storage::sqlite::SqliteOptions::default().write_options(&dir.join("bench.sqlite"))
}

/// Players, their versions, and the units to come.
pub struct Workload {
    rng: StdRng,
    random_keys: bool,
    versions: Vec<u64>,
    opened: u64,
    made: u64,
}

impl Workload {
    pub fn new(players: u64, random_keys: bool) -> Self {
        Self { rng: StdRng::seed_from_u64(7), random_keys, versions: vec![0; players as usize], opened: 0, made: 0 }
    }

    /// Deposits for players without one, at most `max`; `None` when all have one.
    pub fn opening(&mut self, max: u64) -> Option<Vec<UnitOfWork>> {
        let last = (self.opened + max).min(self.versions.len() as u64);
        let players = self.opened..last;
        self.opened = last;
        let units: Vec<_> = players.map(|player| self.unit(player, true)).collect();
        (!units.is_empty()).then_some(units)
    }

    pub fn spins(&mut self, count: usize) -> Vec<UnitOfWork> {
        let players = self.versions.len() as u64;
        (0..count)
            .map(|_| {
                let player = self.rng.random_range(0..players);
                self.unit(player, false)
            })
            .collect()
    }

    /// Three legs, 450 bytes of events, 400 of reply, 250 of the player's state.
    fn unit(&mut self, player: u64, deposit: bool) -> UnitOfWork {
        self.made += 1;
        let owner = testing::player(player);
        let version = self.versions[player as usize];
        let cash = testing::cash(owner);
        let legs = if deposit {
            smallvec![testing::leg(testing::bank(), cash, 1_000_000_000)]
        } else {
            let (bank, revenue) = (testing::bank(), testing::revenue());
            smallvec![testing::leg(cash, revenue, 100), testing::leg(revenue, cash, 60), testing::leg(bank, revenue, 1)]
        };
        let unit = UnitOfWork {
            key: UnitKey::new(testing::key(0).source, self.id().as_bytes()),
            legs,
            records: smallvec![RecordWrite { key: owner, expected: version, bytes: Some(self.filler(250)) }],
            events: self.filler(450),
            reply: self.filler(400),
            ..testing::bare(self.made)
        };
        self.versions[player as usize] += 1;
        unit
    }

    /// A UUIDv7 of a clock that ticks a millisecond every 32 units, or a random id.
    fn id(&mut self) -> Uuid {
        let random = self.rng.random::<u128>();
        if self.random_keys {
            return Uuid::from_u128(random);
        }
        let millisecond = u128::from(1_800_000_000_000 + self.made / 32);
        Uuid::from_u128(millisecond << 80 | 7 << 76 | random & ((1 << 76) - 1))
    }

    fn filler(&mut self, size: usize) -> Bytes {
        let mut bytes = vec![0; size];
        self.rng.fill_bytes(&mut bytes);
        bytes.into()
    }
}
