//! Units per second of the ledger's layouts: what settled the one in `migrations/ledger` (docs/performance-ledger.md).
//!
//! A plain program that prints a Markdown table. `cargo bench -p pitboss-storage --bench ledger [-- MILLISECONDS_PER_CELL]`
//!
//! The layouts take turns within each round and the median round counts, so that a noise on the machine meets all of them.
//! CPU time and bytes written a unit depend less on the load than the rate does: read them first when the rates look odd.

#[path = "ledger_layouts/mod.rs"]
mod layouts;

use std::time::{Duration, Instant};

use layouts::{Layout, Store, Workload};
use tempfile::TempDir;

const ROUNDS: usize = 5;
const BATCHES: [usize; 4] = [1, 16, 64, 256];
const PLAYERS: [u64; 2] = [200, 100_000];
const LAYOUTS: [(&str, Layout, bool); 4] = [
    ("packed, raw handle (chosen)", Layout::Chosen, false),
    ("the same, random keys", Layout::Chosen, true),
    ("unpacked: postings and events as rows", Layout::Unpacked, false),
    ("packed, sqlx multi-row statements", Layout::Sqlx, false),
];

struct Contender {
    name: &'static str,
    store: Store,
    workload: Workload,
    _dir: TempDir,
}

#[derive(Clone, Copy)]
struct Cell {
    units_per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu_us_per_unit: f64,
    bytes_per_unit: u64,
}

fn main() {
    let milliseconds = std::env::args().filter_map(|arg| arg.parse().ok()).next_back().unwrap_or(1_000_u64);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("| players | batch | layout | units/s (min–max) | commit p50 | commit p99 | CPU µs a unit | bytes written a unit |");
    println!("|---|---|---|---|---|---|---|---|");
    for players in PLAYERS {
        runtime.block_on(compare(players, Duration::from_millis(milliseconds)));
    }
}

async fn compare(players: u64, duration: Duration) {
    let mut contenders = Vec::new();
    for (name, layout, random_keys) in LAYOUTS {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut workload = Workload::new(players, random_keys);
        let mut store = layouts::open(layout, dir.path()).await;
        while let Some(units) = workload.opening(1_000) {
            store.commit(units).await;
        }
        contenders.push(Contender { name, store, workload, _dir: dir });
    }
    for batch in BATCHES {
        let mut cells = vec![Vec::new(); contenders.len()];
        for _ in 0..ROUNDS {
            for (contender, cells) in contenders.iter_mut().zip(&mut cells) {
                cells.push(measure(contender, batch, duration).await);
            }
        }
        for (contender, mut cells) in contenders.iter().zip(cells) {
            cells.sort_by(|a, b| a.units_per_second.total_cmp(&b.units_per_second));
            let (min, max) = (cells[0].units_per_second, cells[ROUNDS - 1].units_per_second);
            let Cell { units_per_second, p50, p99, cpu_us_per_unit, bytes_per_unit } = cells[ROUNDS / 2];
            println!(
                "| {players} | {batch} | {} | {units_per_second:.0} ({min:.0}–{max:.0}) | {p50:.2?} | {p99:.2?} | {cpu_us_per_unit:.0} | {bytes_per_unit} |",
                contender.name
            );
        }
    }
}

async fn measure(contender: &mut Contender, batch: usize, duration: Duration) -> Cell {
    let (mut units, mut times, mut spent) = (0_usize, Vec::new(), Duration::ZERO);
    let (written, cpu) = (bytes_written(), cpu_us());
    // Making the units is their callers' work: it is left out of the clock, though not out of the CPU time.
    while spent < duration {
        let next = contender.workload.spins(batch);
        let started = Instant::now();
        contender.store.commit(next).await;
        let took = started.elapsed();
        (units, spent) = (units + batch, spent + took);
        times.push(took);
    }
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    Cell {
        units_per_second: units as f64 / spent.as_secs_f64(),
        p50: at(50),
        p99: at(99),
        cpu_us_per_unit: (cpu_us() - cpu) as f64 / units as f64,
        bytes_per_unit: (bytes_written() - written) / units as u64,
    }
}

/// What this process has handed to the disk so far.
fn bytes_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or_default()
}

/// User and system time of this process so far; Linux counts it in hundredths of a second.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |field: usize| fields.get(field).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) * 10_000
}
