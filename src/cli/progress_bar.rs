//! The progress bar of a sync on a terminal. This module also has the error for a sync that a signal stops, and how
//! long such a sync may take to end.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::{ErrorCode, Failure};

/// How long to wait for a cancelled run to end. A run that is already committing continues to its end; any other run is
/// rolled back at once.
pub(super) const STOP: Duration = Duration::from_secs(2);

pub(super) fn stopped_by_signal() -> Failure {
    Failure::new(
        ErrorCode::Interrupted,
        "The sync was stopped before it was known how its run ended.",
    )
    .with_remedy("Ask `meter-sync status` how it ended; a run that did not commit is rolled back.")
}

/// How often the displayed progress is updated.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Returns a progress bar on standard error; a hidden one if standard error is not a terminal.
pub(super) fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
