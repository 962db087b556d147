//! Parses an argument that is a time in the future, in the spellings that [`past_time`](super::past_time) takes for the
//! past.

use chrono::{DateTime, Utc};

use super::arguments_by_name::{Arguments, BadArgument};
use super::past_time::{LENGTH, TIME_CHARS, no_time, not_in, time};

/// A pattern of lengths of time that [`parse`] takes. It takes other spellings and dates, too, but no pattern tells which
/// dates lie in the future.
pub(crate) const FUTURE_TIME: &str = LENGTH;

/// Reads the argument `name`, which must be a time in the future (see [`parse`]). Returns `None` if it is absent. A blank
/// text is an error: taken for an absent one, it would make what was to end last for ever.
pub(crate) fn read(
    given: &mut Arguments,
    name: &'static str,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, BadArgument> {
    let text = given.text_or_blank(name, TIME_CHARS)?;
    text.map(|text| parse(&format!("`{name}`"), &text, now))
        .transpose()
}

/// Parses a time in the future, which an error calls `name`: a length of time from `now` on (`90m`, `4h`, `7d`), or a date
/// with or without a time. Without a time zone, it is in UTC. A time that is not in the future is an error.
pub(crate) fn parse(
    name: &str,
    text: &str,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, BadArgument> {
    let from_now = |length| now.checked_add_signed(length);
    let at = time(text, from_now)
        .ok_or_else(|| no_time(name, text, "4h, 7d, 2036-01-31 or 2036-01-31T08:00:00Z"))?;
    match at > now {
        true => Ok(at),
        false => Err(not_in(name, text, "future", now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_in_the_future_is_taken() {
        let at = |text: &str| -> DateTime<Utc> { text.parse().expect("a time") };
        let now = at("2026-11-28T12:00:00Z");
        for (text, expected) in [
            ("4h", "2026-11-28T16:00:00Z"),
            ("90 min", "2026-11-28T13:30:00Z"),
            ("2026-12-01", "2026-12-01T00:00:00Z"),
            ("2026-11-28 12:00:01", "2026-11-28T12:00:01Z"),
        ] {
            assert_eq!(parse("until", text, now), Ok(at(expected)), "{text}");
        }
        for text in ["", "tomorrow", "2026-11-28T12:00:00Z", "2020-01-01", "0s"] {
            let refused = parse("until", text, now).expect_err(text);
            assert!(
                refused.0.starts_with("until must be a time"),
                "{}",
                refused.0
            );
        }
    }
}
