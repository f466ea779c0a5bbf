//! Counters and latencies of a run, shared by all senders; cheap enough for the hot path.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use protocol::ErrorCode;
use tokio::time::Instant;

/// Histograms, so that threads seldom meet at one.
const LANES: usize = 4;
/// Latencies above are recorded as this one.
const LATENCY_MAX_US: u64 = 600_000_000;
/// Latencies are kept to three significant digits.
const SIGNIFICANT_DIGITS: u8 = 3;

pub struct Stats {
    origin: Instant,
    /// The measured window in nanoseconds since `origin`.
    begin_ns: AtomicU64,
    end_ns: AtomicU64,
    lanes: [Mutex<Histogram<u32>>; LANES],
    pub sent: AtomicU64,
    /// Accepted operations, whole run and inside the window.
    pub accepted: AtomicU64,
    pub accepted_in_window: AtomicU64,
    pub refused: AtomicU64,
    pub replayed: AtomicU64,
    /// Retryable answers, connections lost without a kill, frames that make no sense.
    pub errors: AtomicU64,
    pub rounds: AtomicU64,
    pub connected: AtomicU64,
    pub in_flight: AtomicU64,
    /// Operations sent before the kill whose answer never came out of the killed server.
    lost_in_flight: AtomicU64,
    killed_at: Mutex<Option<Instant>>,
    codes: Mutex<BTreeMap<&'static str, u64>>,
    notes: Mutex<Vec<String>>,
}

/// Notes kept of what went wrong; the counters go on.
const NOTES_MAX: usize = 20;

/// A counter held in one of our own maps cannot be left half-changed, so a poisoned lock is taken all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn histogram() -> Histogram<u32> {
    Histogram::new_with_max(LATENCY_MAX_US, SIGNIFICANT_DIGITS)
        .unwrap_or_else(|_| unreachable!("the bounds are constants that fit"))
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            begin_ns: AtomicU64::new(u64::MAX),
            end_ns: AtomicU64::new(u64::MAX),
            lanes: std::array::from_fn(|_| Mutex::new(histogram())),
            sent: AtomicU64::default(),
            accepted: AtomicU64::default(),
            accepted_in_window: AtomicU64::default(),
            refused: AtomicU64::default(),
            replayed: AtomicU64::default(),
            errors: AtomicU64::default(),
            rounds: AtomicU64::default(),
            connected: AtomicU64::default(),
            in_flight: AtomicU64::default(),
            lost_in_flight: AtomicU64::default(),
            killed_at: Mutex::default(),
            codes: Mutex::default(),
            notes: Mutex::default(),
        }
    }
}

impl Stats {
    fn ns(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.origin).as_nanos() as u64
    }

    pub fn open_window(&self, at: Instant) {
        self.begin_ns.store(self.ns(at), Relaxed);
    }

    pub fn close_window(&self, at: Instant) {
        self.end_ns.store(self.ns(at), Relaxed);
    }

    fn in_window(&self, at: Instant) -> bool {
        let at = self.ns(at);
        at >= self.begin_ns.load(Relaxed) && at < self.end_ns.load(Relaxed)
    }

    /// Counts one final answer. Latency belongs to the window its operation was meant to leave in, however late the answer,
    /// so the slowest are not cut off; the rate counts the answers that came inside the window.
    pub fn answered(&self, lane: u32, intended: Instant, now: Instant, accepted: bool) {
        if self.in_window(intended) {
            let us = now.saturating_duration_since(intended).as_micros() as u64;
            lock(&self.lanes[lane as usize % LANES]).saturating_record(us.clamp(1, LATENCY_MAX_US));
        }
        self.in_flight.fetch_sub(1, Relaxed);
        if !accepted {
            self.refused.fetch_add(1, Relaxed);
            return;
        }
        self.accepted.fetch_add(1, Relaxed);
        if self.in_window(now) {
            self.accepted_in_window.fetch_add(1, Relaxed);
        }
    }

    pub fn latencies(&self) -> Histogram<u32> {
        let mut all = histogram();
        for lane in &self.lanes {
            // All histograms have the same bounds, so adding one cannot fail.
            all.add(&*lock(lane)).unwrap_or_else(|_| unreachable!("equal bounds"));
        }
        all
    }

    pub fn code(&self, code: ErrorCode) {
        *lock(&self.codes).entry(code.as_str()).or_default() += 1;
    }

    pub fn codes(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.codes).clone()
    }

    /// Counts an error and keeps what it was.
    pub fn error(&self, note: impl FnOnce() -> String) {
        self.errors.fetch_add(1, Relaxed);
        let mut notes = lock(&self.notes);
        if notes.len() < NOTES_MAX {
            notes.push(note());
        }
    }

    pub fn notes(&self) -> Vec<String> {
        lock(&self.notes).clone()
    }

    /// From now on a lost connection is the kill's doing.
    pub fn begin_kill(&self) {
        self.lost_in_flight.store(0, Relaxed);
        *lock(&self.killed_at) = Some(Instant::now());
    }

    /// Ends the time in which a lost connection is expected; says how many operations the kill caught in flight.
    pub fn end_kill(&self) -> u64 {
        *lock(&self.killed_at) = None;
        self.lost_in_flight.load(Relaxed)
    }

    /// A connection broke with these operations unanswered, by their send times.
    pub fn connection_lost(&self, sent_at: impl Iterator<Item = Instant>, why: &dyn std::fmt::Display) {
        match *lock(&self.killed_at) {
            Some(killed_at) => {
                let caught = sent_at.filter(|sent| *sent <= killed_at).count() as u64;
                self.lost_in_flight.fetch_add(caught, Relaxed);
            }
            None => self.error(|| format!("a connection was lost: {why}")),
        }
    }
}

/// Microseconds of a quantile as milliseconds.
pub fn quantile_ms(latencies: &Histogram<u32>, quantile: f64) -> f64 {
    Duration::from_micros(latencies.value_at_quantile(quantile)).as_secs_f64() * 1_000.0
}
