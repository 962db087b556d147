//! The one place that asks the machine for the time. Everything below takes it as a value.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// What Postgres keeps of a second, so that a time reads the same before and after it was stored.
const FRACTION_DIGITS: u16 = 6;

/// A clock that is set back may leave times so many hours ahead of it. A time further ahead was told by a clock that was wrong.
macro_rules! set_back_hours {
    () => {
        1
    };
}

/// The same as SQL writes it.
macro_rules! set_back {
    () => {
        concat!("interval '", $crate::clock::set_back_hours!(), " hours'")
    };
}

pub(crate) use {set_back, set_back_hours};

const SET_BACK: TimeDelta = TimeDelta::hours(set_back_hours!());

/// Whether a time that should be past lies so far ahead of `now` that nothing is known of its age.
pub fn lies_ahead(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at - now > SET_BACK
}

/// The time now, in whole microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the clock that the others are sent to"
)]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(FRACTION_DIGITS)
}
