//! What is said of a machine's clock that differs from the local database's, by which runs and slots are told, and of a run
//! that this clock dated while it was wrong.

use chrono::{DateTime, TimeDelta, Utc};

use crate::clock;
use crate::error::Failure;

use super::Runs;

use super::warnings;

/// A difference that no network explains.
const TOLERATED: TimeDelta = TimeDelta::seconds(60);

impl Runs {
    /// Looks at the local database's clock, so that [`Self::now`] tells its time even if the clock of this machine was set
    /// since the last transaction.
    pub async fn look_at_the_clock(&self) -> Result<(), Failure> {
        let mut connection = self.local()?.connect().await.map_err(|e| e.failure())?;
        let tx = connection.begin("look at the clock").await;
        tx.map(drop).map_err(|e| e.failure())
    }
}

/// The warning, if the database's clock is so far ahead of ours, or behind, that times on this machine mislead.
pub(super) fn warning(ahead: TimeDelta) -> Option<String> {
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

/// Adds the warning, if there is one. A run that was under such a clock, too, told another difference, which is left out.
pub(super) fn warn(known: &mut Vec<String>, ahead: TimeDelta) {
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

/// The warning of a last sync that is dated in the future, so that its age is not known.
pub(super) fn dated_ahead(synced_at: DateTime<Utc>, now: DateTime<Utc>) -> Option<String> {
    clock::lies_ahead(synced_at, now).then(|| {
        format!(
            "The last sync is dated {}, ahead of the local database's clock, so nothing tells how old the meters are. \
             Check that clock, then ask the user whether to sync.",
            synced_at.format("%Y-%m-%d %H:%M:%S UTC")
        )
    })
}

/// The largest unit that is full at least twice.
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
