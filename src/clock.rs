//! The one place that asks the machine for the time. Everything below takes it as a value.

use chrono::{DateTime, Utc};

/// The time now.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that the others are sent to"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now()
}
