//! Reads the date and time from the clock of this machine. All other modules call this one or take the time as an
//! argument.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// The number of decimal places of a second that Postgres stores. The current time is cut to this precision, so that
/// storing it does not change it.
const FRACTION_DIGITS: u16 = 6;

/// How many hours a stored time may lie in the future without being taken for wrong: the clock may have been set back
/// after the time was stored.
macro_rules! clock_tolerance_hours {
    () => {
        1
    };
}

/// Expands to the SQL expression for an interval of as many hours as `clock_tolerance_hours!` gives.
macro_rules! clock_tolerance {
    () => {
        concat!(
            "interval '",
            $crate::machine_clock::clock_tolerance_hours!(),
            " hours'"
        )
    };
}

pub(crate) use {clock_tolerance, clock_tolerance_hours};

const CLOCK_TOLERANCE: TimeDelta = TimeDelta::hours(clock_tolerance_hours!());

/// Whether `at`, the time of a past event, is more than one hour later than `now`. Then a wrong clock wrote it, and its
/// age is unknown.
pub fn lies_ahead(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at - now > CLOCK_TOLERANCE
}

/// Returns the current time, cut to whole microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that the others are sent to"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(FRACTION_DIGITS)
}
