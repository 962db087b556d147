//! Builds two warnings about wrong clocks. The local database's clock gives the times of runs and of slots (scheduled
//! times). The first warning says that this machine's clock differs from the database's. The second says that the last
//! sync is dated in the future, because the database's clock was wrong then or is wrong now.

use chrono::{DateTime, TimeDelta, Utc};

use super::join_warnings;
use crate::machine_clock;

/// The largest difference between this machine's clock and the local database's that causes no warning. Network delay
/// cannot explain a larger one.
const TOLERATED: TimeDelta = TimeDelta::seconds(60);

/// Returns a warning if this machine's clock and the local database's differ by more than `TOLERATED`; `None`
/// otherwise. `ahead` is how far the database's clock is ahead, and negative if it is behind.
pub(crate) fn warning(ahead: TimeDelta) -> Option<String> {
    if ahead.abs() <= TOLERATED {
        return None;
    }
    let (difference, direction) = match ahead > TimeDelta::zero() {
        true => (ahead, "behind"),
        false => (-ahead, "ahead of"),
    };
    Some(format!("{BEGINS}{} {direction}{ENDS}", roughly(difference)))
}

const BEGINS: &str = "The clock of this machine is ";
const ENDS: &str =
    " the local database's, which tells the time of runs and slots. Set both by NTP.";

/// Adds a warning to `known` if the two clocks differ by more than `TOLERATED`. It then replaces the clock warning of
/// an earlier run, which may name another difference.
pub(crate) fn warn(known: &mut Vec<String>, ahead: TimeDelta) {
    let Some(warning) = warning(ahead) else {
        return;
    };
    let others = known
        .iter()
        .map(|text| join_warnings::without(text, BEGINS, ENDS));
    *known = others
        .filter(|text| !text.is_empty())
        .chain([warning])
        .collect();
}

/// Returns a warning if the last sync, at `synced_at`, is dated more than an hour after `now`. Its date then does not
/// show how old the meters are. Returns `None` otherwise.
pub(crate) fn dated_ahead(synced_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    machine_clock::lies_ahead(synced_at, now).then(|| {
        format!(
            "The last sync is dated {}, ahead of the local database's clock, so nothing tells how old the meters are. \
             Check that clock, then ask the user whether to sync.",
            synced_at.format("%Y-%m-%d %H:%M:%S UTC")
        )
    })
}

/// Formats a difference as a whole number of days, hours, minutes or seconds, such as `60 minutes`. Takes the largest
/// unit for which the number is at least 2.
fn roughly(difference: TimeDelta) -> String {
    let units = [
        (difference.num_days(), "days"),
        (difference.num_hours(), "hours"),
        (difference.num_minutes(), "minutes"),
    ];
    let unit = units.into_iter().find(|(count, _)| *count >= 2);
    let (count, name) = unit.unwrap_or((difference.num_seconds(), "seconds"));
    format!("{count} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_misleads_is_warned_of() {
        let said = |seconds| warning(TimeDelta::seconds(seconds));
        for seconds in [0, 60, -60] {
            assert_eq!(said(seconds), None, "{seconds}");
        }
        for (seconds, expected) in [
            (61, "61 seconds behind"),
            (-3600, "60 minutes ahead of"),
            (-86_400, "24 hours ahead of"),
            (5 * 365 * 86_400, "1825 days behind"),
        ] {
            let text = said(seconds).unwrap_or_default();
            assert!(text.contains(expected), "{seconds}: {text}");
        }
    }
}
