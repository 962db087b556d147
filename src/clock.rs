//! Reads the date and time from this machine's clock. All other modules call this one or take the time as an argument.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// How many decimal places of a second Postgres stores. Times are cut to this precision, so that storing a time does
/// not change it.
const FRACTION_DIGITS: u16 = 6;

/// How many hours a stored time may lie ahead of the clock, because the clock may have been set back after the time was
/// stored. A time that lies further ahead was written by a wrong clock.
macro_rules! set_back_hours {
    () => {
        1
    };
}

/// The SQL expression for an interval of `set_back_hours` hours.
macro_rules! set_back {
    () => {
        concat!("interval '", $crate::clock::set_back_hours!(), " hours'")
    };
}

pub(crate) use {set_back, set_back_hours};

const SET_BACK: TimeDelta = TimeDelta::hours(set_back_hours!());

/// Whether a time that should be in the past is so far ahead of `now` that its age is unknown.
pub fn lies_ahead(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at - now > SET_BACK
}

/// Returns the current time, in whole microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that the others are sent to"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(FRACTION_DIGITS)
}
