//! What segments and projections cost per unit: `cargo bench -p pitboss-storage --bench projection [units]`.
//!
//! Prints wall and CPU microseconds; blocks of 1 000 units, most of them spins, over 200 and over 100 000 players.

#[path = "../tests/projection_world/mod.rs"]
mod world;

use std::time::{Duration, Instant};

use bytes::Bytes;
use storage::{
    projection::{ProjectionStore, SqliteProjection, sqlite::ProjectionOptions},
    segments::{ReadBlock, SegmentLog, SegmentOptions},
};
use world::{SHARD, World};

const BLOCK: usize = 1_000;

fn main() {
    let units = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for players in [200, 100_000] {
        println!("{players} players, {units} units");
        segments(players, units.min(200_000));
        runtime.block_on(projection(players, units));
    }
}

fn world(players: usize) -> World {
    let mut world = World::new(1, players);
    world.spins_percent = 95;
    world
}

fn segments(players: usize, count: usize) {
    let encoded: Vec<(u64, Bytes)> =
        world(players).units(count).iter().map(|unit| (unit.sequence, Bytes::from(unit.encode()))).collect();
    let bytes: usize = encoded.iter().map(|(_, bytes)| bytes.len()).sum();
    let dir = tempfile::tempdir().unwrap();
    let mut log = SegmentLog::open(dir.path(), SHARD, SegmentOptions::default()).unwrap();
    let meter = Meter::start();
    for batch in encoded.chunks(64) {
        log.append(batch, protocol::Timestamp(0)).unwrap();
    }
    meter.stop("segments append, batches of 64", count);
    let mut reader = log.reader(0);
    let (meter, mut read) = (Meter::start(), 0);
    while let ReadBlock::Units(units) = reader.read(BLOCK, 1 << 20).unwrap() {
        read += units.len();
    }
    assert_eq!(read, count);
    meter.stop("segments read, blocks of 1000", count);
    println!("  {} bytes a unit", bytes / count);
}

async fn projection(players: usize, count: usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("projections.sqlite");
    let mut store = SqliteProjection::open(&path, ProjectionOptions::default()).await.unwrap();
    let mut world = world(players);
    let (mut wall, mut cpu, mut applied) = (Duration::ZERO, Duration::ZERO, 0);
    let mut fold = Duration::ZERO;
    while applied < count {
        let block = world.units(BLOCK);
        let before = cpu_time();
        for unit in &block {
            std::hint::black_box(storage::projection::fold::fold(unit).unwrap());
        }
        fold += cpu_time() - before;
        let meter = Meter::start();
        store.apply(SHARD, &block).unwrap();
        wall += meter.wall.elapsed();
        cpu += cpu_time() - meter.cpu;
        applied += BLOCK;
    }
    report("projection apply, blocks of 1000", applied, wall, cpu);
    report("  of which reading the units", applied, fold, fold);
    println!("  {} bytes of file a unit", std::fs::metadata(&path).unwrap().len() / applied as u64);
    let reader = store.reader();
    let meter = Meter::start();
    for player in world.players.iter().take(200) {
        reader.rounds(player.id, None, 20).await.unwrap();
    }
    meter.stop("20 newest rounds of a player", 200);
    let meter = Meter::start();
    for player in world.players.iter().take(200) {
        reader.statement(player.id, None, 50).await.unwrap();
    }
    meter.stop("50 newest statement lines", 200);
    store.close().await;
}

struct Meter {
    wall: Instant,
    cpu: Duration,
}

impl Meter {
    fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_time() }
    }

    fn stop(self, what: &str, count: usize) {
        report(what, count, self.wall.elapsed(), cpu_time() - self.cpu);
    }
}

fn report(what: &str, count: usize, wall: Duration, cpu: Duration) {
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!("  {what:36} {:8.2} µs wall {:8.2} µs CPU", each(wall), each(cpu));
}

/// User and system time of the whole process.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which is all the call asks for.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
