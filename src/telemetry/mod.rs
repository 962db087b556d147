//! Sets up logs and metrics. Logs always go to stderr, because standard output is for the messages of MCP over stdio or
//! for the report of a command.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, LogSettings};

pub use log_writer::LogGuard;
use log_writer::LogWriter;

mod log_writer;
pub(crate) mod run_metrics;

/// Starts logging, and returns the guard that writes the last lines when dropped. `default_filter` applies if the
/// settings have no filter. Call this once, before anything is logged.
pub fn start(settings: &LogSettings, default_filter: Targets) -> std::io::Result<LogGuard> {
    let filter = settings.filter.clone().unwrap_or(default_filter);
    let filtered = tracing_subscriber::registry().with(filter);
    // The log writes to a duplicate of the descriptor. `std::io::stderr` itself would stay locked during a write, which
    // may block for ever.
    let stderr = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let (lines, guard) = LogWriter::start(stderr)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(move || lines.clone());
    // A second call, from a test, keeps the first one's settings.
    drop(match settings.format {
        LogFormat::Text => filtered
            .with(layer.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
        LogFormat::Json => filtered.with(layer.json().flatten_event(true)).try_init(),
    });
    Ok(guard)
}

/// Returns the handle of the process's Prometheus metrics recorder. The first call installs the recorder; before it,
/// recording a metric does nothing.
pub fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let recorder = RECORDER.get_or_init(|| {
        let durations = Matcher::Full(run_metrics::DURATION.to_owned());
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(durations, &run_metrics::DURATION_BUCKETS)
            .unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("runs are not counted: this process has a recorder of another kind");
        }
        run_metrics::begin();
        handle
    });
    recorder.clone()
}

/// How long to wait between two clean-ups of the metrics recorder. Between them, it keeps each value that was recorded
/// for a histogram, unless the metrics are scraped.
const UPKEEP_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Cleans up the metrics recorder every 10 minutes until the process stops, so that its memory does not grow if nobody
/// scrapes the metrics.
pub async fn upkeep(recorder: PrometheusHandle, shutdown: CancellationToken) {
    let forever = async {
        loop {
            tokio::time::sleep(UPKEEP_PAUSE).await;
            recorder.run_upkeep();
        }
    };
    shutdown.run_until_cancelled(forever).await;
}
