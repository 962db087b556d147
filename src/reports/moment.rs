//! Formats times for the sentences of reports.

use chrono::{DateTime, TimeDelta, Utc};

use crate::machine_clock;

/// Formats a time in UTC with how long ago it was, as in `03:38 UTC (9 min ago)`. Adds the date if it is not today's.
pub(crate) fn moment(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let time = match at.date_naive() == now.date_naive() {
        true => at.format("%H:%M UTC"),
        false => at.format("%Y-%m-%d %H:%M UTC"),
    };
    match machine_clock::lies_ahead(at, now) {
        true => format!("{time}, in the future"),
        false => format!("{time} ({} ago)", span(now - at)),
    }
}

/// Formats a duration in days and hours, in hours and minutes, in minutes, or in seconds, as its length allows.
fn span(length: TimeDelta) -> String {
    let minutes = length.num_minutes();
    match minutes {
        ..1 => format!("{} s", length.num_seconds().max(0)),
        1..60 => format!("{minutes} min"),
        60..1440 => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes / 60 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_tells_its_age_and_its_day_where_that_is_another() {
        let at = |text: &str| -> DateTime<Utc> { text.parse().expect("a time") };
        let now = at("2026-11-28T03:47:30Z");
        for (time, said) in [
            ("2026-11-28T03:47:20Z", "03:47 UTC (10 s ago)"),
            ("2026-11-28T03:38:07Z", "03:38 UTC (9 min ago)"),
            ("2026-11-28T01:03:07Z", "01:03 UTC (2 h 44 min ago)"),
            (
                "2026-11-27T23:59:00Z",
                "2026-11-27 23:59 UTC (3 h 48 min ago)",
            ),
            ("2026-11-25T01:47:00Z", "2026-11-25 01:47 UTC (3 d 2 h ago)"),
            ("2026-11-28T03:47:31Z", "03:47 UTC (0 s ago)"),
            ("2026-11-28T05:47:31Z", "05:47 UTC, in the future"),
        ] {
            assert_eq!(moment(at(time), now), said);
        }
    }
}
