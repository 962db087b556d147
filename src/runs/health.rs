//! Health, derived in one place from what the log and the schedule say.

use chrono::{DateTime, Duration, Utc};

use crate::config::Schedule;

use super::status::{Health, RunRecord};

/// What health is derived from.
#[derive(Clone, Debug)]
pub(super) struct Signs<'a> {
    /// Whether both URLs are set and the tenant is known.
    pub(super) is_configured: bool,
    /// Whether the local database did not answer just now.
    pub(super) is_local_down: bool,
    /// The last run that ended, dry runs aside.
    pub(super) last_run: Option<&'a RunRecord>,
    pub(super) last_success_at: Option<DateTime<Utc>>,
    /// `None` when the schedule is off.
    pub(super) schedule: Option<&'a Schedule>,
    /// How long after a slot a run may start, by the jitter setting.
    pub(super) jitter: std::time::Duration,
}

/// How long a scheduled run may take before its slot counts as missed.
const GRACE_MINUTES: i64 = 10;

/// So many slots without a success make a copy stale.
const STALE_SLOTS: usize = 3;

/// The health at `now`.
pub(super) fn derive(signs: &Signs<'_>, now: DateTime<Utc>) -> Health {
    if !signs.is_configured {
        return Health::NotConfigured;
    }
    // Without the local database nothing can be relied on, whatever the last run said.
    if signs.is_local_down {
        return Health::Failing;
    }
    let Some(last) = signs.last_run else {
        return Health::NeverRun;
    };
    if !last.outcome.is_some_and(crate::meter::Outcome::is_success) {
        return Health::Failing;
    }
    let Some(schedule) = signs.schedule else {
        return Health::Paused;
    };
    let jitter = Duration::from_std(signs.jitter).unwrap_or_default();
    let due_by = now - Duration::minutes(GRACE_MINUTES) - jitter;
    let synced_at = signs.last_success_at.unwrap_or(last.started_at);
    match missed(schedule, synced_at, due_by) {
        0 => Health::Ok,
        slots if slots < STALE_SLOTS => Health::Late,
        _ => Health::Stale,
    }
}

/// How many slots lie after `since` and not after `until`, counted up to [`STALE_SLOTS`].
fn missed(schedule: &Schedule, since: DateTime<Utc>, until: DateTime<Utc>) -> usize {
    let mut slot = since;
    (0..STALE_SLOTS)
        .take_while(|_| match schedule.next_after(slot) {
            Some(next) if next <= until => {
                slot = next;
                true
            }
            Some(_) | None => false,
        })
        .count()
}
