//! Parses an argument that is a time in the past, as people and language models write it.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};

use super::arguments_by_name::{Arguments, BadArgument};
use super::clean_caller_text::shorten;

/// The longest length of time before now that is used. A longer one is shortened to this; no log is older.
const LONGEST: TimeDelta = TimeDelta::days(100 * 366);

/// The longest text of a time, in characters.
pub(crate) const TIME_CHARS: usize = 40;

/// A pattern of lengths of time that [`parse`] takes. It takes other spellings and dates, too, but no pattern tells which
/// dates are past.
pub(crate) const PAST_TIME: &str = LENGTH;

/// A pattern of lengths of time.
pub(super) const LENGTH: &str = "^[1-9][0-9]{0,3}[smhdw]$";

/// Reads the argument `name`, which must be a time in the past (see [`parse`]). Returns `None` if it is absent.
pub(crate) fn read(
    given: &mut Arguments,
    name: &'static str,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, BadArgument> {
    let text = given.text(name, TIME_CHARS)?;
    text.map(|text| parse(&format!("`{name}`"), &text, now))
        .transpose()
}

/// Parses a time in the past, which an error calls `name`: a length of time before `now` (`90m`, `24h`, `7d`, `2w`), or a date
/// with or without a time. Without a time zone, it is in UTC. A time in the future is an error.
pub(crate) fn parse(
    name: &str,
    text: &str,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, BadArgument> {
    let before_now = |length| now.checked_sub_signed(length);
    let at = time(text, before_now)
        .ok_or_else(|| no_time(name, text, "24h, 7d, 2026-01-31 or 2026-01-31T08:00:00Z"))?;
    match at > now {
        true => Err(not_in(name, text, "past", now)),
        false => Ok(at),
    }
}

/// Parses a length of time, from which `at` makes a time, or a date.
pub(super) fn time(
    text: &str,
    at: impl Fn(TimeDelta) -> Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    length(text).and_then(at).or_else(|| moment(text))
}

/// Returns the error for a text that is no time.
pub(super) fn no_time(name: &str, text: &str, examples: &str) -> BadArgument {
    let text = shorten(text);
    BadArgument(format!(
        "{name} must be a time such as {examples}, not {text}."
    ))
}

/// Returns the error for a time that is not in the `past` or in the `future`.
pub(super) fn not_in(name: &str, text: &str, side: &str, now: DateTime<Utc>) -> BadArgument {
    BadArgument(format!(
        "{name} must be a time in the {side}, not {}; now is {}.",
        shorten(text),
        now.format("%Y-%m-%dT%H:%M:%SZ")
    ))
}

fn length(text: &str) -> Option<TimeDelta> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    let number: i64 = number.parse().ok()?;
    let length = match unit.trim() {
        "s" | "sec" | "second" | "seconds" => TimeDelta::try_seconds(number),
        "m" | "min" | "minute" | "minutes" => TimeDelta::try_minutes(number),
        "h" | "hour" | "hours" => TimeDelta::try_hours(number),
        "d" | "day" | "days" => TimeDelta::try_days(number),
        "w" | "week" | "weeks" => TimeDelta::try_weeks(number),
        _ => None,
    };
    length.map(|length| length.min(LONGEST))
}

fn moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim().replacen(' ', "T", 1);
    let with_zone = ["%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"];
    let mut zoned = with_zone.iter();
    let zoned = zoned.find_map(|format| DateTime::parse_from_str(&text, format).ok());
    let bare = text.trim_end_matches("TUTC").trim_end_matches(" UTC");
    let mut local = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"].iter();
    let local = || local.find_map(|format| NaiveDateTime::parse_from_str(bare, format).ok());
    let day = || {
        NaiveDate::parse_from_str(bare, "%Y-%m-%d")
            .ok()?
            .and_hms_opt(0, 0, 0)
    };
    let zoned = zoned.map(|at| at.with_timezone(&Utc));
    zoned.or_else({
        let mut local = local;
        move || local().or_else(day).map(|at| at.and_utc())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_time_is_read_however_it_is_written() {
        let now = at("2026-11-28T12:00:00Z");
        for (text, expected) in [
            ("24h", "2026-11-27T12:00:00Z"),
            ("7d", "2026-11-21T12:00:00Z"),
            ("90 min", "2026-11-28T10:30:00Z"),
            ("2w", "2026-11-14T12:00:00Z"),
            ("1 day", "2026-11-27T12:00:00Z"),
            ("2026-11-27", "2026-11-27T00:00:00Z"),
            ("2026-11-27T08:30:00Z", "2026-11-27T08:30:00Z"),
            ("2026-11-27T08:30Z", "2026-11-27T08:30:00Z"),
            ("2026-11-27T08:30:00.5+02:00", "2026-11-27T06:30:00.5Z"),
            ("2026-11-27 08:30", "2026-11-27T08:30:00Z"),
            ("2026-11-27 08:30:15 UTC", "2026-11-27T08:30:15Z"),
            ("0001-01-01", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(parse("since", text, now), Ok(at(expected)), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "24",
            "h",
            "5y",
            "-1d",
            "2026-13-01",
            "99999999999999999999d",
            "12:00",
        ] {
            let refused = parse("since", text, now).expect_err(text);
            assert!(refused.0.contains("such as 24h"), "{}", refused.0);
        }
        let ahead = parse("since", "2026-12-01", now).expect_err("ahead");
        assert!(ahead.0.contains("in the past"), "{}", ahead.0);
    }
}
