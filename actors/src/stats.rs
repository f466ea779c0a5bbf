//! What the tree measures: Prometheus handles made once, and the small live figures the ops console shows.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use protocol::ErrorCode;

/// Handles and counters of one core.
pub struct Stats {
    batch_units: Histogram,
    batch_seconds: Histogram,
    step_decide: Histogram,
    step_commit: Histogram,
    step_total: Histogram,
    units: Counter,
    failures: Counter,
    queue: Gauge,
    pub live: Live,
}

/// Figures read once a second by the console; never a source of truth.
#[derive(Default)]
pub struct Live {
    pub players: AtomicUsize,
    pub rounds: AtomicUsize,
    pub connections: AtomicUsize,
    pub restarts: AtomicU64,
    pub commands: AtomicU64,
    pub commit_failures: AtomicU64,
    pub batch_last: AtomicUsize,
    latency: Latencies,
    refusals: Mutex<BTreeMap<&'static str, u64>>,
}

/// A histogram of answers by power-of-two-and-a-quarter buckets of microseconds; lock-free.
struct Latencies {
    buckets: [AtomicU64; Latencies::BUCKETS],
}

impl Latencies {
    const BUCKETS: usize = 128;

    /// Four buckets per doubling, from 1 µs on: within 19 % of the true value.
    fn bucket(micros: u64) -> usize {
        let micros = micros.max(1);
        let power = micros.ilog2() as usize;
        let quarter = if power >= 2 { ((micros >> (power - 2)) & 3) as usize } else { 0 };
        (power * 4 + quarter).min(Self::BUCKETS - 1)
    }

    fn upper_micros(bucket: usize) -> u64 {
        let (power, quarter) = (bucket / 4, bucket % 4);
        if power < 2 { (2 << power) - 1 } else { (1 << power) + ((quarter as u64 + 1) << (power - 2)) }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

/// Percentiles of one interval, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    pub count: u64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

/// The latency buckets at one moment; two of them give an interval.
#[derive(Clone)]
pub struct LatencySnapshot(Vec<u64>);

impl Default for LatencySnapshot {
    fn default() -> Self {
        Self(vec![0; Latencies::BUCKETS])
    }
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            batch_units: histogram!("pitboss_batch_units"),
            batch_seconds: histogram!("pitboss_commit_seconds"),
            step_decide: histogram!("pitboss_step_seconds", "step" => "decide"),
            step_commit: histogram!("pitboss_step_seconds", "step" => "commit"),
            step_total: histogram!("pitboss_step_seconds", "step" => "total"),
            units: counter!("pitboss_units_total"),
            failures: counter!("pitboss_commit_failures_total"),
            queue: gauge!("pitboss_wallet_queue_units"),
            live: Live::default(),
        }
    }
}

impl Stats {
    pub fn committed(&self, units: usize, took: Duration) {
        self.batch_units.record(units as f64);
        self.batch_seconds.record(took.as_secs_f64());
        self.units.increment(units as u64);
        self.live.batch_last.store(units, Ordering::Relaxed);
    }

    pub fn commit_failed(&self) {
        self.failures.increment(1);
        self.live.commit_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub fn wallet_queue(&self, units: usize) {
        self.queue.set(units as f64);
    }

    pub fn step(&self, step: &'static str, took: Duration) {
        match step {
            "decide" => self.step_decide.record(took.as_secs_f64()),
            "commit" => self.step_commit.record(took.as_secs_f64()),
            _ => self.step_total.record(took.as_secs_f64()),
        }
    }

    /// A command was answered, `took` after it reached the edge.
    pub fn answered(&self, code: Option<ErrorCode>, took: Duration) {
        self.live.commands.fetch_add(1, Ordering::Relaxed);
        self.step("total", took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.live.latency.buckets[Latencies::bucket(micros)].fetch_add(1, Ordering::Relaxed);
        if let Some(code) = code {
            self.refused(code);
        }
    }

    pub fn refused(&self, code: ErrorCode) {
        counter!("pitboss_refusals_total", "code" => code.as_str()).increment(1);
        if let Ok(mut refusals) = self.live.refusals.lock() {
            *refusals.entry(code.as_str()).or_default() += 1;
        }
    }

    pub fn restarted(&self, what: &'static str) {
        counter!("pitboss_restarts_total", "actor" => what).increment(1);
        self.live.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

impl Live {
    /// Refusals since the start, by code.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        self.refusals.lock().map(|refusals| refusals.clone()).unwrap_or_default()
    }

    pub fn latency_snapshot(&self) -> LatencySnapshot {
        LatencySnapshot(self.latency.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect())
    }
}

impl LatencySnapshot {
    /// Percentiles of what came after `earlier`.
    pub fn since(&self, earlier: &Self) -> Percentiles {
        let counts: Vec<u64> = self.0.iter().zip(&earlier.0).map(|(now, then)| now.saturating_sub(*then)).collect();
        let count: u64 = counts.iter().sum();
        let at = |share: f64| {
            let wanted = (count as f64 * share).ceil().max(1.0) as u64;
            let mut seen = 0;
            let bucket = counts.iter().position(|in_bucket| {
                seen += in_bucket;
                seen >= wanted
            });
            bucket.map_or(0.0, |bucket| Latencies::upper_micros(bucket) as f64 / 1_000.0)
        };
        Percentiles { count, p50: at(0.50), p95: at(0.95), p99: at(0.99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_it_says() {
        for micros in [1, 2, 3, 4, 5, 7, 8, 100, 1_000, 12_345, 1_000_000] {
            let upper = Latencies::upper_micros(Latencies::bucket(micros));
            assert!(upper >= micros && upper <= micros * 5 / 4 + 1, "{micros} → {upper}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_interval() {
        let stats = Stats::default();
        stats.answered(None, Duration::from_secs(5));
        let before = stats.live.latency_snapshot();
        for millis in 1..=100 {
            stats.answered(None, Duration::from_millis(millis));
        }
        let percentiles = stats.live.latency_snapshot().since(&before);
        assert_eq!(percentiles.count, 100);
        assert!((50.0..=63.0).contains(&percentiles.p50) && (99.0..=124.0).contains(&percentiles.p99), "{percentiles:?}");
    }
}
