//! Warns about wrong clocks. The local database's clock dates runs and slots. One warning is for a machine
//! whose clock differs from it, the other for a sync that this clock dated in the future while it was wrong.

use chrono::{DateTime, TimeDelta, Utc};

use super::warnings;
use crate::clock;

/// The largest difference without a warning. Network delay does not explain a larger one.
const TOLERATED: TimeDelta = TimeDelta::seconds(60);

/// The warning for a database clock that is `ahead` of this machine's, or behind if negative; `None` if the
/// difference is at most `TOLERATED`.
pub(in crate::mirrors) fn warning(ahead: TimeDelta) -> Option<String> {
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

/// Adds the clock warning to `known`, if there is one. It replaces the clock warning of an earlier run, which
/// names another difference.
pub(in crate::mirrors) fn warn(known: &mut Vec<String>, ahead: TimeDelta) {
    let Some(warning) = warning(ahead) else {
        return;
    };
    let others = known
        .iter()
        .map(|text| warnings::without(text, BEGINS, ENDS));
    *known = others
        .filter(|text| !text.is_empty())
        .chain([warning])
        .collect();
}

/// The warning for a last sync that is dated in the future, so that the age of the meters is not known; `None`
/// for any other date.
pub(in crate::mirrors) fn dated_ahead(
    synced_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<String> {
    clock::lies_ahead(synced_at, now).then(|| {
        format!(
            "The last sync is dated {}, ahead of the local database's clock, so nothing tells how old the meters are. \
             Check that clock, then ask the user whether to sync.",
            synced_at.format("%Y-%m-%d %H:%M:%S UTC")
        )
    })
}

/// The difference in the largest unit of which it holds at least two, such as `60 minutes`.
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
