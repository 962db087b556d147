//! The one place that asks the machine for the time. Everything below takes it as a value.

use chrono::{DateTime, SubsecRound, Utc};

/// What Postgres keeps of a second, so that a time reads the same before and after it was stored.
const FRACTION_DIGITS: u16 = 6;

/// The time now, in whole microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that the others are sent to"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(FRACTION_DIGITS)
}
