//! Units per second of the ledger's layouts: what settled the one in `migrations/ledger` (docs/performance-ledger.md).
//!
//! A plain program that prints a Markdown table. `cargo bench -p pitboss-storage --bench ledger [-- SECONDS_PER_CELL]`

#[path = "ledger_layouts/mod.rs"]
mod layouts;

use std::time::{Duration, Instant};

use layouts::{Layout, Workload};
use tempfile::TempDir;

const BATCHES: [usize; 4] = [1, 16, 64, 256];
const PLAYERS: [u64; 2] = [200, 100_000];
const LAYOUTS: [(&str, Layout, bool); 4] = [
    ("packed, raw handle (chosen), time-ordered keys", Layout::Chosen, false),
    ("packed, raw handle (chosen), random keys", Layout::Chosen, true),
    ("unpacked: postings and events as rows, raw handle", Layout::Unpacked, false),
    ("packed, sqlx multi-row statements", Layout::Sqlx, false),
];

struct Cell {
    units_per_second: f64,
    p50: Duration,
    p99: Duration,
    bytes_per_unit: u64,
}

fn main() {
    let seconds = std::env::args().filter_map(|arg| arg.parse().ok()).next_back().unwrap_or(3_u64);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("| layout | players | batch | units/s | commit p50 | commit p99 | bytes written a unit |");
    println!("|---|---|---|---|---|---|---|");
    for (name, layout, random_keys) in LAYOUTS {
        for players in PLAYERS {
            for batch in BATCHES {
                let workload = Workload::new(players, random_keys);
                let cell = runtime.block_on(measure(layout, workload, batch, Duration::from_secs(seconds)));
                let Cell { units_per_second, p50, p99, bytes_per_unit } = cell;
                println!("| {name} | {players} | {batch} | {units_per_second:.0} | {p50:.2?} | {p99:.2?} | {bytes_per_unit} |");
            }
        }
    }
}

async fn measure(layout: Layout, mut workload: Workload, batch: usize, duration: Duration) -> Cell {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut store = layouts::open(layout, dir.path()).await;
    while let Some(units) = workload.opening(1_000) {
        store.commit(units).await;
    }
    let (mut units, mut times, mut spent) = (0_usize, Vec::new(), Duration::ZERO);
    let written = bytes_written();
    // Making the units is the wallet's callers' work: it is left out of the clock.
    while spent < duration {
        let next = workload.spins(batch);
        let started = Instant::now();
        store.commit(next).await;
        let took = started.elapsed();
        (units, spent) = (units + batch, spent + took);
        times.push(took);
    }
    let bytes_per_unit = (bytes_written() - written) / units as u64;
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    Cell { units_per_second: units as f64 / spent.as_secs_f64(), p50: at(50), p99: at(99), bytes_per_unit }
}

/// What this process has handed to the disk so far.
fn bytes_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or_default()
}
