//! Logs: always on stderr, as standard output belongs to the protocol or to the one report.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, LogSettings};

/// Starts logging, with a filter for where the settings give none. Called once, before anything else.
pub fn start(settings: &LogSettings, default_filter: &str) {
    let filter = EnvFilter::new(settings.filter.as_deref().unwrap_or(default_filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second call, from a test, keeps the first one's settings.
    drop(match settings.format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    });
}
