//! Logs and metrics: how they look, decided once for every binary.
//!
//! Logs carry ids, codes and numbers, never personal data: JSON lines hold the event's fields and those of its spans.
//! Histograms are Prometheus buckets, chosen by the end of the metric's name.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, filter::ParseError, fmt};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line, for collectors.
    Json,
    /// For a person at a terminal.
    Text,
}

/// Why telemetry could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("log filter: {0}")]
    Filter(#[from] ParseError),
    #[error("logging was started before")]
    Started,
    #[error("metrics: {0}")]
    Metrics(#[from] BuildError),
}

/// Whether a log filter such as `info,pitboss=debug` can be read.
pub fn check_filter(filter: &str) -> Result<(), TelemetryError> {
    EnvFilter::try_new(filter).map(drop).map_err(TelemetryError::Filter)
}

/// Starts logging to standard error, for the whole process.
pub fn init_tracing(format: LogFormat, filter: &str) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
        LogFormat::Text => builder.with_target(false).try_init(),
    }
    .map_err(|_| TelemetryError::Started)
}

/// Upper bounds of latency buckets, seconds: 50 µs to 10 s. Metrics named `…_seconds` use them.
pub const LATENCY_BUCKETS: [f64; 19] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_35, 0.000_5, 0.000_75, 0.001, 0.002, 0.003_5, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 10.0,
];

/// Upper bounds of batch size buckets. Metrics named `…_units` use them.
pub const BATCH_BUCKETS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Upper bounds of size buckets. Metrics named `…_bytes` use them.
pub const SIZE_BUCKETS: [f64; 9] = [256.0, 1024.0, 4096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// How often a histogram's samples are folded into its buckets; without it they would pile up between two scrapes.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_units".to_owned()), &BATCH_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".to_owned()), &SIZE_BUCKETS)
}

/// Installs the process's metrics recorder. The caller renders the handle at `/metrics` and runs [`upkeep`].
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    Ok(builder()?.install_recorder()?)
}

/// Folds samples for as long as it is polled; `tick` waits one [`UPKEEP_INTERVAL`] on the caller's runtime.
pub async fn upkeep<F: Future<Output = ()>>(handle: PrometheusHandle, mut tick: impl FnMut() -> F) {
    loop {
        tick().await;
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use metrics::{Key, Label, Level, Metadata, Recorder};

    use super::*;

    #[test]
    fn histograms_get_the_buckets_of_their_unit() {
        let recorder = builder().unwrap().build_recorder();
        let metadata = Metadata::new("test", Level::INFO, None);
        let observe = |name: &'static str, value: f64| {
            let key = Key::from_parts(name, vec![Label::new("step", "commit")]);
            recorder.register_histogram(&key, &metadata).record(value);
        };
        observe("spin_seconds", 0.000_06);
        observe("wallet_batch_units", 3.0);
        let text = recorder.handle().render();
        assert!(text.contains(r#"spin_seconds_bucket{step="commit",le="0.00005"} 0"#), "{text}");
        assert!(text.contains(r#"spin_seconds_bucket{step="commit",le="0.0001"} 1"#), "{text}");
        assert!(text.contains(r#"wallet_batch_units_bucket{step="commit",le="4"} 1"#), "{text}");
    }

    #[test]
    fn buckets_grow_and_span_what_is_promised() {
        assert!(LATENCY_BUCKETS.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((LATENCY_BUCKETS[0], LATENCY_BUCKETS[18]), (0.000_05, 10.0));
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        assert!(check_filter("info,pitboss=debug").is_ok());
        assert!(check_filter("info,=,=").is_err());
    }
}
