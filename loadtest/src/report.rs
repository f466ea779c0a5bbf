//! The results of a run: one JSON object with stable keys, and the same for people.

use std::path::Path;

use serde::Serialize;

use crate::{export::Verified, reconcile::Findings};

/// The last line of `--json`. Keys are read by other tools: they are added to, never renamed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    pub players: u32,
    pub seconds: u64,
    pub mode: &'static str,
    pub scenario: &'static str,
    /// Operations a second asked for; `null` is the closed loop.
    pub rate: Option<f64>,
    /// Accepted operations inside the measured window (in provider mode each callback is one).
    pub spins: u64,
    pub spins_per_s: f64,
    pub rounds: u64,
    pub warm_up_s: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
    pub refused: u64,
    pub errors: u64,
    /// Accepted over the whole run, warm-up and drain included; all of them are reconciled.
    pub accepted: u64,
    pub replayed: u64,
    pub server_cpu_us_per_spin: f64,
    pub client_cpu_us_per_spin: f64,
    pub bytes_written_per_spin: f64,
    pub server_rss_mib: f64,
    /// Kills that caught operations in flight.
    pub restarts: u32,
    pub in_flight_at_kill: u64,
    pub kills_with_nothing_in_flight: u32,
    /// From the kill to the line of readiness, the longest.
    pub restart_max_ms: f64,
    pub acked_lost: u64,
    pub duplicated: u64,
    pub mismatched_balances: u64,
    pub unanswered: u64,
    pub out_of_order: u64,
    pub ledger_units: u64,
    pub replies_same_bytes: u64,
    pub ledger_sum_zero: bool,
    pub verified: bool,
    pub reconciled: bool,
    pub machine: String,
}

impl Results {
    pub fn set_findings(&mut self, findings: &Findings) {
        self.acked_lost = findings.acked_lost;
        self.duplicated = findings.duplicated;
        self.mismatched_balances = findings.mismatched_balances;
        self.unanswered = findings.unanswered;
        self.out_of_order = findings.out_of_order;
        self.ledger_units = findings.units;
        self.replies_same_bytes = findings.same_bytes;
    }

    /// Reconciled needs everything: clean findings of our own, a clean verification by the server's tool, all kills that
    /// were asked for, and something to reconcile at all.
    pub fn judge(&mut self, findings: &Findings, verified: &Verified, kills_asked: u32, idle: bool) {
        self.set_findings(findings);
        self.verified = verified.passed;
        self.ledger_sum_zero = verified.ledger_sum_zero;
        let something = idle || findings.accepted > 0;
        self.reconciled =
            findings.are_clean() && verified.passed && verified.ledger_sum_zero && self.restarts >= kills_asked && something;
    }

    pub fn to_json(&self) -> String {
        // Plain numbers and strings: writing them to memory cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The table for people.
    pub fn table(&self) -> String {
        let mut rows: Vec<(&str, String)> = vec![
            ("players", self.players.to_string()),
            (
                "mode",
                format!("{}, {}", self.mode, self.rate.map_or("closed loop".to_owned(), |rate| format!("open loop at {rate}/s"))),
            ),
            ("measured", format!("{} s after {} s of warm-up, which is left out", self.seconds, self.warm_up_s)),
            ("accepted", format!("{} in the window, {:.0}/s ({} in the whole run)", self.spins, self.spins_per_s, self.accepted)),
        ];
        if self.rounds > 0 {
            rows.push(("rounds", self.rounds.to_string()));
        }
        let Self { p50_ms, p95_ms, p99_ms, p999_ms, max_ms, .. } = self;
        rows.push((
            "latency ms",
            format!("p50 {p50_ms:.2}  p95 {p95_ms:.2}  p99 {p99_ms:.2}  p99.9 {p999_ms:.2}  max {max_ms:.2}"),
        ));
        rows.push(("refused, errors", format!("{}, {}", self.refused, self.errors)));
        rows.push((
            "server per spin",
            format!("{:.1} µs CPU, {:.0} bytes written", self.server_cpu_us_per_spin, self.bytes_written_per_spin),
        ));
        rows.push(("client per spin", format!("{:.1} µs CPU", self.client_cpu_us_per_spin)));
        rows.push(("server memory", format!("{:.0} MiB resident", self.server_rss_mib)));
        if self.restarts > 0 || self.kills_with_nothing_in_flight > 0 {
            let Self { restarts, in_flight_at_kill, restart_max_ms, replayed, .. } = self;
            let text = format!(
                "{restarts} with {in_flight_at_kill} operations in flight, back in {restart_max_ms:.0} ms, {replayed} replays"
            );
            rows.push(("killed", text));
        }
        rows.push((
            "ledger",
            format!("{} units, sum zero: {}, verify: {}", self.ledger_units, yes(self.ledger_sum_zero), passed(self.verified)),
        ));
        let Self { acked_lost, duplicated, mismatched_balances, unanswered, out_of_order, .. } = self;
        let found = format!(
            "{acked_lost} lost, {duplicated} duplicated, {mismatched_balances} mismatched, {unanswered} unanswered, {out_of_order} out of order"
        );
        rows.push(("found", found));
        rows.push(("reconciled", yes(self.reconciled).to_uppercase()));
        rows.push(("machine", self.machine.clone()));
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        rows.iter().fold(String::new(), |mut table, (name, value)| {
            table.push_str(&format!("  {name:<width$}  {value}\n"));
            table
        })
    }
}

const fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

const fn passed(is: bool) -> &'static str {
    if is { "passed" } else { "FAILED" }
}

/// Processor, cores, memory, kernel, and the file system the ledger lay on: what a figure means nothing without.
pub fn machine(folder: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
    };
    let processor = value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory =
        value(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    let system = file_system(&read("/proc/mounts"), folder);
    format!("{processor}, {cores} cores, {:.1} GiB, Linux {}, {system}", memory as f64 / 1_048_576.0, kernel.trim())
}

/// The type of the file system with the longest mount point above the folder.
fn file_system(mounts: &str, folder: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = mounts.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map_or("unknown", |(_, kind)| kind).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: impl FnOnce(&mut Results, &mut Findings, &mut Verified)) -> bool {
        let mut results = Results { restarts: 2, ..Results::default() };
        let mut findings = Findings { accepted: 1, ..Findings::default() };
        let mut verified = Verified { passed: true, ledger_sum_zero: true, output: String::new() };
        change(&mut results, &mut findings, &mut verified);
        results.judge(&findings, &verified, 2, false);
        results.reconciled
    }

    #[test]
    fn every_condition_of_reconciled_counts() {
        assert!(judged(|_, _, _| {}));
        assert!(!judged(|results, _, _| results.restarts = 1));
        assert!(!judged(|_, findings, _| findings.accepted = 0));
        assert!(!judged(|_, findings, _| findings.acked_lost = 1));
        assert!(!judged(|_, findings, _| findings.duplicated = 1));
        assert!(!judged(|_, findings, _| findings.mismatched_balances = 1));
        assert!(!judged(|_, findings, _| findings.unanswered = 1));
        assert!(!judged(|_, findings, _| findings.out_of_order = 1));
        assert!(!judged(|_, _, verified| verified.passed = false));
        assert!(!judged(|_, _, verified| verified.ledger_sum_zero = false));
    }

    #[test]
    fn the_promised_keys_are_there() {
        let object: serde_json::Value = serde_json::from_str(&Results::default().to_json()).unwrap();
        let keys = "players seconds mode spins spins_per_s p50_ms p95_ms p99_ms p999_ms refused errors server_cpu_us_per_spin \
                    bytes_written_per_spin restarts in_flight_at_kill acked_lost duplicated mismatched_balances ledger_sum_zero \
                    reconciled server_rss_mib machine";
        for key in keys.split_ascii_whitespace() {
            assert!(object.get(key).is_some(), "{key}");
        }
    }

    #[test]
    fn the_nearest_mount_names_the_file_system() {
        let mounts = "dev / ext4 rw 0 0\ntmp /tmp tmpfs rw 0 0\nx /tmpfoo xfs rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/a")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/home/a")), "ext4");
    }
}
