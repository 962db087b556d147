//! Times, durations, numbers and values as a person reads them.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use maud::{Markup, html};
use serde_json::Value;

/// A value longer than this is cut; the JSON has all of it.
const LONGEST: usize = 300;

/// A moment: UTC, which the script turns into the reader's own time.
pub(super) fn time(at: DateTime<Utc>) -> Markup {
    let utc = at.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! { time datetime=(stamp(at)) title=(utc) { (utc) } }
}

/// A moment and how long ago it was, which the script keeps counting.
pub(super) fn time_ago(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { (time(at)) " " span.soft data-since=(stamp(at)) { (span(now - at)) " ago" } }
}

/// A moment to come and how long it takes till then.
pub(super) fn time_until(at: DateTime<Utc>, now: DateTime<Utc>) -> Markup {
    html! { (time(at)) " " span.soft data-until=(stamp(at)) { "in " (span(at - now)) } }
}

/// A moment for programs.
pub(super) fn stamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A length of time in its two largest units.
pub(super) fn span(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A duration in milliseconds.
pub(super) fn duration(milliseconds: i64) -> String {
    match milliseconds {
        ..1000 => format!("{milliseconds} ms"),
        1000..60_000 => format!("{}.{} s", milliseconds / 1000, milliseconds / 100 % 10),
        _ => span(TimeDelta::milliseconds(milliseconds)),
    }
}

/// A number with its thousands apart.
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

/// A number of things.
pub(super) fn counted(count: i64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// Bytes in thousands.
pub(super) fn bytes(bytes: i64) -> String {
    match bytes {
        ..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// A value of a column.
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

/// A text that a database holds, on one line and not longer than anybody reads.
pub(super) fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars
        .by_ref()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
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
