//! What a person sees while a run goes on; nothing is drawn where standard error is no terminal.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::stats::{Stats, quantile_ms};

pub struct Progress {
    bar: ProgressBar,
    accepted_before: u64,
}

impl Progress {
    pub fn new(length: Duration) -> Self {
        let bar = ProgressBar::new(length.as_millis() as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style);
        }
        Self { bar, accepted_before: 0 }
    }

    pub fn say(&self, text: &str) {
        if self.bar.is_hidden() { eprintln!("{text}") } else { self.bar.println(text) }
    }

    /// Shows the last interval's rate; `elapsed` moves the bar.
    pub fn update(&mut self, elapsed: Duration, interval: Duration, stats: &Stats) {
        let accepted = stats.accepted.load(Relaxed);
        let rate = (accepted - self.accepted_before) as f64 / interval.as_secs_f64().max(1e-9);
        self.accepted_before = accepted;
        if self.bar.is_hidden() {
            return;
        }
        let p99 = quantile_ms(&stats.latencies(), 0.99);
        let (refused, errors) = (stats.refused.load(Relaxed), stats.errors.load(Relaxed));
        let connected = stats.connected.load(Relaxed);
        self.bar.set_position(elapsed.as_millis() as u64);
        self.bar.set_message(format!("{rate:>7.0} /s  p99 {p99:.2} ms  refused {refused}  errors {errors}  connected {connected}"));
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
