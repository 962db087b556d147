//! Reads the time from this machine's clock. All other modules get it from here or take it as an argument.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// How many digits of a second Postgres stores. A time is the same before and after it was stored.
const FRACTION_DIGITS: u16 = 6;

/// How many hours a clock may have been set back. A stored time that lies further ahead of the clock comes from a wrong
/// clock.
macro_rules! set_back_hours {
    () => {
        1
    };
}

/// The same as an SQL interval.
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
