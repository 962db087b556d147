//! Formats times, durations, numbers and column values for people.

use chrono::{DateTime, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};
use serde_json::Value;

use crate::machine_clock;
use crate::make_printable;

/// The longest value shown, in characters. Longer values are cut; the JSON of the REST API has them in full.
const LONGEST: usize = 300;
/// The longest name shown within a text, in characters. Longer names are cut.
const LONGEST_NAME: usize = 80;
/// The format in which this program's messages have dates and times.
const MOMENT: &str = "%Y-%m-%d %H:%M:%S UTC";
const MOMENT_LENGTH: usize = "2026-11-26 18:00:00 UTC".len();
const DAY_AND_MINUTE: &str = "%Y-%m-%d %H:%M UTC";
const DAY_AND_MINUTE_LENGTH: usize = "2026-11-26 18:00 UTC".len();
const MINUTE: &str = "%H:%M UTC";
const MINUTE_LENGTH: usize = "18:00 UTC".len();

/// Renders a date and time in UTC. The script of the page converts it to the reader's time zone.
pub(super) fn time(at: DateTime<Utc>) -> Markup {
    let utc = at.format(MOMENT).to_string();
    html! { time datetime=(stamp(at)) title=(utc) { (utc) } }
}

/// Renders a date and time that is known only to the minute. Its attribute `datetime` has no seconds, so the script
/// shows none.
fn minute(at: DateTime<Utc>) -> Markup {
    let utc = at.format(DAY_AND_MINUTE).to_string();
    html! { time datetime=(at.format("%Y-%m-%dT%H:%MZ")) title=(utc) { (utc) } }
}

/// Renders a time and how long ago it was. The script keeps the age up to date.
pub(super) fn time_ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    if machine_clock::lies_ahead(at, now) {
        return html! { (time(at)) " " span.soft.whole { "(in the future)" } };
    }
    html! { (time(at)) " " span.soft.whole { "(" span data-since=(stamp(at)) { (span(now - at)) " ago" } ")" } }
}

/// Renders a future time and how long it is until then. The script keeps that duration up to date.
pub(super) fn time_until(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { (time(at)) " " span.soft.whole { "(" span data-until=(stamp(at)) { "in " (span(at - now)) } ")" } }
}

/// Renders a text of this program's messages. Parts in backticks become `code` elements; dates and times become `time`
/// elements, which the script converts to the reader's time zone.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (with_moments(part)) }
        }
    }
}

fn with_moments(text: &str) -> Markup {
    let mut rest = text;
    let mut parts = Vec::new();
    while let Some((before, at, after)) = first_moment(rest) {
        parts.push((before, at));
        rest = after;
    }
    html! { @for (before, at) in parts { (before) (at) } (rest) }
}

/// Finds the first timestamp in a text: a date and time, or a time of day. Returns the text before it, its markup, and
/// the text after it; `None` if there is none.
fn first_moment(text: &str) -> Option<(&str, Markup, &str)> {
    let mut ends = text
        .match_indices(" UTC")
        .map(|(at, found)| at + found.len());
    ends.find_map(|end| {
        let (start, at) = moment_before(text, end)?;
        Some((text.get(..start)?, at, text.get(end..)?))
    })
}

/// Parses the timestamp that ends at the byte index `end` of a text, in one of the formats of messages: to the second,
/// to the minute, or only hour and minute (of today). Returns the index at which it starts, and its markup. `None` if
/// no timestamp ends there.
fn moment_before(text: &str, end: usize) -> Option<(usize, Markup)> {
    let written = |length: usize| {
        let start = end.checked_sub(length)?;
        Some((start, text.get(start..end)?))
    };
    let with_its_day = |length, format| {
        let (start, text) = written(length)?;
        let at = NaiveDateTime::parse_from_str(text, format).ok()?;
        Some((start, at.and_utc()))
    };
    let to_the_minute = |(start, at)| (start, minute(at));
    let of_today = || {
        let (start, text) = written(MINUTE_LENGTH)?;
        let at = NaiveTime::parse_from_str(text, MINUTE).ok()?;
        Some((
            start,
            machine_clock::now().date_naive().and_time(at).and_utc(),
        ))
    };
    let to_the_second = with_its_day(MOMENT_LENGTH, MOMENT).map(|(start, at)| (start, time(at)));
    to_the_second.or_else(|| {
        with_its_day(DAY_AND_MINUTE_LENGTH, DAY_AND_MINUTE)
            .or_else(of_today)
            .map(to_the_minute)
    })
}

/// Formats a date and time as RFC 3339 with milliseconds, for attributes that the script reads.
pub(super) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Formats a duration in its two largest units, such as `2 h 5 min`, or in seconds if it is under a minute. A negative
/// duration counts as zero.
pub(super) fn span(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Formats a duration given in milliseconds, such as `1.5 s`.
pub(super) fn duration(milliseconds: i64) -> String {
    match milliseconds {
        ..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds / 100 % 10),
        _ => span(TimeDelta::milliseconds(milliseconds)),
    }
}

/// Formats a number with a narrow space between groups of three digits.
pub(super) fn number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{grouped}")
}

/// Formats a number with its noun: `one` if the number is 1, else `many`.
pub(super) fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// Formats a number of bytes in B, kB or MB. The units are decimal: 1 kB is 1000 B.
pub(super) fn bytes(bytes: i64) -> String {
    match bytes {
        ..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// Renders the value of a column: the word `none` for null, the word `empty` for an empty text.
pub(super) fn value(value: &Value) -> Markup {
    let text = match value {
        Value::Null => return html! { span.soft { "none" } },
        Value::String(text) if text.is_empty() => return html! { span.soft { "empty" } },
        Value::String(text) => shortened(text),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            shortened(&value.to_string())
        }
    };
    html! { bdi { (text) } }
}

/// Puts text from a database on one line, and cuts it after 300 characters.
pub(super) fn shortened(text: &str) -> String {
    make_printable::line(text, LONGEST)
}

/// Puts a name from a database on one line, and cuts it after 80 characters.
pub(super) fn name(text: &str) -> String {
    make_printable::line(text, LONGEST_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_two_units() {
        for (seconds, text) in [
            (-1, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (3600, "1 h 0 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(TimeDelta::seconds(seconds)), text);
        }
    }

    #[test]
    fn a_moment_that_lies_far_ahead_is_not_said_to_be_past() {
        let now = "2026-11-26T18:00:00Z".parse().expect("a time");
        for (minutes, said) in [
            (-1, "1 min 0 s ago"),
            (59, "0 s ago"),
            (61, "in the future"),
        ] {
            let shown = time_ago(now + TimeDelta::minutes(minutes), now).into_string();
            assert!(shown.contains(said), "{shown}");
            assert_eq!(
                shown.contains("data-since"),
                said.ends_with("ago"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_sentence_has_its_code_and_its_moments_marked() {
        let at = "2026-11-26 18:00:05 UTC";
        let shown = prose(&format!("Ended {at} é UTC; run `a <b`.")).into_string();
        let time =
            format!("<time datetime=\"2026-11-26T18:00:05.000Z\" title=\"{at}\">{at}</time>");
        assert_eq!(
            shown,
            format!("Ended {time} é UTC; run <code>a &lt;b</code>.")
        );
    }

    #[test]
    fn a_moment_to_the_minute_is_one_too() {
        let today = machine_clock::now().date_naive();
        for (said, stamp) in [
            ("2026-11-25 01:47 UTC", "2026-11-25T01:47Z".to_owned()),
            ("03:38 UTC", format!("{today}T03:38Z")),
        ] {
            let shown = prose(&format!("In sync as of {said} (9 min ago).")).into_string();
            let expected = format!("In sync as of <time datetime=\"{stamp}\"");
            assert!(shown.starts_with(&expected), "{shown}");
            assert!(shown.ends_with("</time> (9 min ago)."), "{shown}");
        }
    }

    #[test]
    fn thousands_stand_apart() {
        for (n, text) in [
            (7, "7"),
            (-1234, "-1\u{202f}234"),
            (1_000_000, "1\u{202f}000\u{202f}000"),
        ] {
            assert_eq!(number(n), text);
        }
    }

    #[test]
    fn what_a_database_holds_is_text_and_no_markup() {
        let shown = value(&Value::from("<script>alert(1)</script>\n\u{202e}")).into_string();
        assert!(shown.contains("&lt;script&gt;"), "{shown}");
        assert!(!shown.contains("<script"), "{shown}");
        assert!(
            shown.starts_with("<bdi>"),
            "its direction stays its own: {shown}"
        );
    }
}
