//! Logs, always on stderr, as standard output belongs to the protocol or to the one report; and the
//! recorder of what is counted.

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
use crate::runs::measures;

use lines::Lines;
pub use lines::Logging;

mod lines;

/// Starts logging, with a filter for where the settings give none. Called once, before anything else.
pub fn start(settings: &LogSettings, default_filter: Targets) -> std::io::Result<Logging> {
    let filter = settings.filter.clone().unwrap_or(default_filter);
    let filtered = tracing_subscriber::registry().with(filter);
    // Not by way of the library's own, which whoever writes to it locks: this one may be held up for ever.
    let stderr = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let (lines, logging) = Lines::to(stderr)?;
    let layer = tracing_subscriber::fmt::layer().with_writer(move || lines.clone());
    // A second call, from a test, keeps the first one's settings.
    drop(match settings.format {
        LogFormat::Text => filtered
            .with(layer.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
        LogFormat::Json => filtered.with(layer.json().flatten_event(true)).try_init(),
    });
    Ok(logging)
}

/// The process's recorder. It is installed by the first call; until then, counting costs nothing.
pub fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let recorder = RECORDER.get_or_init(|| {
        let durations = Matcher::Full(measures::DURATION.to_owned());
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(durations, &measures::DURATION_BUCKETS)
            .unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("runs are not counted: this process has a recorder of another kind");
        }
        measures::begin();
        handle
    });
    recorder.clone()
}

/// What the histogram was told since the last scrape waits in memory.
const UPKEEP_PAUSE: Duration = Duration::from_secs(10 * 60);

/// Keeps the recorder's memory flat where nobody scrapes, until the process stops.
pub async fn upkeep(recorder: PrometheusHandle, shutdown: CancellationToken) {
    let forever = async {
        loop {
            tokio::time::sleep(UPKEEP_PAUSE).await;
            recorder.run_upkeep();
        }
    };
    shutdown.run_until_cancelled(forever).await;
}
