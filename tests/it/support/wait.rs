//! Waiting for a condition instead of sleeping long enough.

use std::time::{Duration, Instant};

/// Nothing a test waits for takes longer unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until the condition holds; fails with `what` when it does not come to.
pub(crate) async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    until_within(PATIENCE, what, condition).await;
}

/// The same with another limit, for what needs time limits to pass first.
pub(crate) async fn until_within(
    patience: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < patience, "waited in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// A slot of the schedule that is still to be taken.
pub(crate) fn recently() -> chrono::DateTime<chrono::Utc> {
    meter_sync::machine_clock::now() - chrono::Duration::minutes(1)
}
