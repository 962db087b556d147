//! The one place that reads the wall clock; everything else takes the time as a value.

use chrono::{DateTime, Utc};

/// The time now.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the Clock that all others take the time from"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
