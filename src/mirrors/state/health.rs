//! Derives health, in one place, from the log, the schedule and whether the local database answers.

use chrono::{DateTime, Duration, Utc};

use crate::clock;
use crate::config::Schedule;

use super::status::{Health, RunRecord};

/// What health is derived from.
#[derive(Clone, Debug)]
pub(in crate::mirrors) struct HealthInputs<'a> {
    /// Whether both URLs are set and the tenant is known. The tenant is not required while the local database is down.
    pub(in crate::mirrors) is_configured: bool,
    /// Whether the local database did not answer this request.
    pub(in crate::mirrors) is_local_down: bool,
    /// Whether a process died in a run that is newer than the last run that ended.
    pub(in crate::mirrors) is_interrupted: bool,
    /// The last run that ended, without dry runs.
    pub(in crate::mirrors) last_run: Option<&'a RunRecord>,
    pub(in crate::mirrors) last_success_at: Option<DateTime<Utc>>,
    /// `None` when the schedule is off.
    pub(in crate::mirrors) schedule: Option<&'a Schedule>,
    /// The longest random delay between a slot and its run, from the jitter setting.
    pub(in crate::mirrors) jitter: std::time::Duration,
}

/// How long a scheduled run may take before its slot counts as missed.
const GRACE_MINUTES: i64 = 10;

/// The number of slots without a success after which the meters are stale.
const STALE_SLOTS: usize = 3;

/// Returns the health at `now`.
pub(in crate::mirrors) fn derive(signs: &HealthInputs<'_>, now: DateTime<Utc>) -> Health {
    if !signs.is_configured {
        return Health::NotConfigured;
    }
    // Without the local database, or after a run whose process died, the outcome of the last run does not count.
    if signs.is_local_down || signs.is_interrupted {
        return Health::Failing;
    }
    let Some(last) = signs.last_run else {
        return Health::NeverRun;
    };
    if !last.outcome.is_some_and(crate::model::Outcome::is_success) {
        return Health::Failing;
    }
    let Some(schedule) = signs.schedule else {
        return Health::Paused;
    };
    let jitter = Duration::from_std(signs.jitter).unwrap_or_default();
    let due_by = now - Duration::minutes(GRACE_MINUTES) - jitter;
    let synced_at = signs.last_success_at.unwrap_or(last.started_at);
    // A success that is dated in the future does not tell how old the meters are.
    if clock::lies_ahead(synced_at, now) {
        return Health::Stale;
    }
    match missed(schedule, synced_at, due_by) {
        0 => Health::Ok,
        slots if slots < STALE_SLOTS => Health::Late,
        _ => Health::Stale,
    }
}

/// Counts the slots after `since` and up to `until`, at most [`STALE_SLOTS`].
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Counts, Outcome, RunId, Trigger};

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-23T{time}Z").parse().expect("a time")
    }

    fn run(outcome: Outcome, time: &str) -> RunRecord {
        RunRecord {
            run_id: RunId::at(at(time)),
            seq: None,
            trigger: Trigger::Schedule,
            actor: None,
            reason: None,
            dry_run: false,
            started_at: at(time),
            finished_at: Some(at(time)),
            outcome: Some(outcome),
            counts: Counts::default(),
            error: None,
            same_error_as: None,
            remote_bytes: 0,
            changes_truncated: false,
            warning: None,
        }
    }

    fn hourly() -> Schedule {
        Schedule::parse("0 * * * *", chrono_tz::UTC).expect("a schedule")
    }

    fn signs<'a>(
        last_run: Option<&'a RunRecord>,
        schedule: Option<&'a Schedule>,
    ) -> HealthInputs<'a> {
        let success = last_run.filter(|run| run.outcome.is_some_and(Outcome::is_success));
        HealthInputs {
            is_configured: true,
            is_local_down: false,
            is_interrupted: false,
            last_run,
            last_success_at: success.and_then(|run| run.finished_at),
            schedule,
            jitter: std::time::Duration::from_secs(30),
        }
    }

    #[test]
    fn a_site_that_never_synced_is_not_green() {
        let hourly = hourly();
        assert_eq!(
            derive(&signs(None, Some(&hourly)), at("10:00:00")),
            Health::NeverRun
        );
    }

    #[test]
    fn every_end_but_a_success_is_failing_however_fresh() {
        let hourly = hourly();
        for outcome in Outcome::ALL
            .iter()
            .copied()
            .filter(|outcome| !outcome.is_success())
        {
            let last = run(outcome, "10:00:00");
            let health = derive(&signs(Some(&last), Some(&hourly)), at("10:00:01"));
            assert_eq!(health, Health::Failing, "{outcome}");
        }
    }

    #[test]
    fn a_success_ages_from_ok_to_late_to_stale_slot_by_slot() {
        let (hourly, last) = (hourly(), run(Outcome::NoChange, "10:00:05"));
        let signs = signs(Some(&last), Some(&hourly));
        for (now, health) in [
            ("10:59:59", Health::Ok),
            ("11:10:00", Health::Ok), // the slot of 11:00 still has its grace
            ("11:11:00", Health::Late),
            ("12:11:00", Health::Late),
            ("13:11:00", Health::Stale),
            ("23:00:00", Health::Stale),
        ] {
            assert_eq!(derive(&signs, at(now)), health, "{now}");
        }
    }

    #[test]
    fn a_success_in_the_future_is_stale_unless_the_clock_was_just_set_back() {
        let (hourly, last) = (hourly(), run(Outcome::NoChange, "12:00:05"));
        let signs = signs(Some(&last), Some(&hourly));
        for (now, health) in [
            ("10:59:59", Health::Stale),
            ("11:00:05", Health::Ok),
            ("12:59:59", Health::Ok),
        ] {
            assert_eq!(derive(&signs, at(now)), health, "{now}");
        }
    }

    #[test]
    fn without_a_schedule_a_success_is_paused_and_a_failure_still_failing() {
        let (good, bad) = (
            run(Outcome::Succeeded, "10:00:00"),
            run(Outcome::Failed, "10:00:00"),
        );
        assert_eq!(
            derive(&signs(Some(&good), None), at("23:00:00")),
            Health::Paused
        );
        assert_eq!(
            derive(&signs(Some(&bad), None), at("23:00:00")),
            Health::Failing
        );
    }

    #[test]
    fn a_run_whose_process_died_is_failing_whatever_the_run_before_it_said() {
        let (hourly, last) = (hourly(), run(Outcome::Succeeded, "10:00:00"));
        for last_run in [Some(&last), None] {
            let died = HealthInputs {
                is_interrupted: true,
                ..signs(last_run, Some(&hourly))
            };
            assert_eq!(derive(&died, at("10:00:01")), Health::Failing);
        }
    }

    #[test]
    fn without_the_local_database_nothing_is_vouched_for() {
        let (hourly, last) = (hourly(), run(Outcome::Succeeded, "10:00:00"));
        let down = HealthInputs {
            is_local_down: true,
            ..signs(Some(&last), Some(&hourly))
        };
        assert_eq!(derive(&down, at("10:00:01")), Health::Failing);
        let bare = HealthInputs {
            is_configured: false,
            ..down
        };
        assert_eq!(derive(&bare, at("10:00:01")), Health::NotConfigured);
    }
}
