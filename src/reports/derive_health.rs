//! Derives the health of a mirror (whether its local meters can be relied on) from the run log, the schedule, and
//! whether the local database answers. This is the only module that does so.

use chrono::{DateTime, Duration, Utc};

use crate::config::Schedule;
use crate::machine_clock;

use crate::model::{Health, RunOutcome};
use crate::store::read_mirror_states::MirrorState;

/// The facts from which the health of a mirror is derived.
#[derive(Clone, Debug)]
pub(crate) struct HealthInputs<'a> {
    /// Whether both database URLs are set and the tenant is known. While the local database is down, the tenant may be
    /// unknown.
    pub(crate) is_configured: bool,
    /// Whether the local database did not answer this request.
    pub(crate) is_local_down: bool,
    /// Whether a person has paused the mirror.
    pub(crate) is_paused: bool,
    /// Whether the process of a run has died before the run ended, and no later run has ended since.
    pub(crate) is_interrupted: bool,
    /// How the last run ended, dry runs excluded; `None` before the first.
    pub(crate) last_outcome: Option<RunOutcome>,
    /// When both sides were last known to be equal: after a run, or when a sweep (a check of all mirrors) found the
    /// mirror unchanged. If no such time is known, the start of the last run; `None` before the first run.
    pub(crate) synced_at: Option<DateTime<Utc>>,
    /// The latest slots (scheduled times) whose runs should have ended by now.
    pub(crate) slots: &'a RecentSlots,
}

/// The latest slots (scheduled times) whose runs should have ended by now, newest first, at most three. All mirrors of
/// a process have the same slots.
#[derive(Clone, Debug)]
pub(crate) struct RecentSlots {
    now: DateTime<Utc>,
    /// The slots; `None` if the schedule is off.
    slots: Option<Vec<DateTime<Utc>>>,
}

impl RecentSlots {
    /// Returns the latest slots (scheduled times) whose runs should have ended by `now`. `jitter` is the longest random
    /// delay between a slot and its run.
    pub(crate) fn at(
        now: DateTime<Utc>,
        schedule: Option<&Schedule>,
        jitter: std::time::Duration,
    ) -> Self {
        let jitter = Duration::from_std(jitter).unwrap_or_default();
        let due_by = now - Duration::minutes(GRACE_MINUTES) - jitter;
        let slots = schedule.map(|schedule| {
            let before = |slot: &DateTime<Utc>| {
                schedule.latest_at_or_before(*slot - Duration::microseconds(1))
            };
            std::iter::successors(schedule.latest_at_or_before(due_by), before)
                .take(STALE_SLOTS)
                .collect()
        });
        Self { now, slots }
    }
}

/// How many minutes a scheduled run may take before its slot (scheduled time) counts as missed.
const GRACE_MINUTES: i64 = 10;

/// The number of slots (scheduled times) in a row without a success after which the health is `Stale`.
const STALE_SLOTS: usize = 3;

/// Returns the health of one of many mirrors, at the time for which `slots` was computed.
pub(crate) fn of_mirror(state: &MirrorState, slots: &RecentSlots, is_local_down: bool) -> Health {
    let is_interrupted = state
        .open_run
        .is_some_and(|run| !run.is_in_progress && !run.is_dry_run);
    let last = state.last_run.as_ref();
    derive(&HealthInputs {
        is_configured: true,
        is_local_down,
        is_paused: state.pause_at(slots.now).is_some(),
        is_interrupted,
        last_outcome: last.and_then(|run| run.outcome),
        synced_at: state.equal_at().or(last.map(|run| run.started_at)),
        slots,
    })
}

/// Returns the health of a mirror, at the time for which `signs.slots` was computed.
pub(crate) fn derive(signs: &HealthInputs<'_>) -> Health {
    let RecentSlots { now, slots } = signs.slots;
    if !signs.is_configured {
        return Health::NotConfigured;
    }
    // If the local database is down, or the process of the newest run has died, the outcome of the last run does not
    // matter.
    if signs.is_local_down {
        return Health::Failing;
    }
    if signs.is_paused {
        return Health::Paused;
    }
    if signs.is_interrupted {
        return Health::Failing;
    }
    let Some(outcome) = signs.last_outcome else {
        return Health::NeverRun;
    };
    if !outcome.is_success() {
        return Health::Failing;
    }
    let Some(slots) = slots else {
        return Health::Paused;
    };
    // The date of a success that lies in the future does not show how old the meters are.
    let synced_at = signs
        .synced_at
        .filter(|at| !machine_clock::lies_ahead(*at, *now));
    let Some(synced_at) = synced_at else {
        return Health::Stale;
    };
    match slots.iter().filter(|slot| **slot > synced_at).count() {
        0 => Health::Ok,
        missed if missed < STALE_SLOTS => Health::Late,
        _ => Health::Stale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> DateTime<Utc> {
        format!("2026-11-23T{time}Z").parse().expect("a time")
    }

    fn hourly() -> Schedule {
        Schedule::parse("0 * * * *", chrono_tz::UTC).expect("a schedule")
    }

    /// Returns the health at `now`. `last_run` is the outcome and the time of the last run; `set` changes the other
    /// inputs.
    fn health_at(
        now: &str,
        last_run: Option<(RunOutcome, &str)>,
        schedule: Option<&Schedule>,
        set: impl FnOnce(&mut HealthInputs<'_>),
    ) -> Health {
        let slots = RecentSlots::at(at(now), schedule, std::time::Duration::from_secs(30));
        let mut signs = HealthInputs {
            is_configured: true,
            is_local_down: false,
            is_paused: false,
            is_interrupted: false,
            last_outcome: last_run.map(|(outcome, _)| outcome),
            synced_at: last_run.map(|(_, time)| at(time)),
            slots: &slots,
        };
        set(&mut signs);
        derive(&signs)
    }

    #[test]
    fn a_site_that_never_synced_is_not_green() {
        let health = health_at("10:00:00", None, Some(&hourly()), |_| {});
        assert_eq!(health, Health::NeverRun);
    }

    #[test]
    fn every_end_but_a_success_is_failing_however_fresh() {
        let outcomes = RunOutcome::ALL.iter().copied();
        for outcome in outcomes.filter(|outcome| !outcome.is_success()) {
            let last = Some((outcome, "10:00:00"));
            let health = health_at("10:00:01", last, Some(&hourly()), |_| {});
            assert_eq!(health, Health::Failing, "{outcome}");
        }
    }

    #[test]
    fn a_success_ages_from_ok_to_late_to_stale_slot_by_slot() {
        let last = Some((RunOutcome::NoChange, "10:00:05"));
        for (now, health) in [
            ("10:59:59", Health::Ok),
            ("11:10:00", Health::Ok), // the slot of 11:00 still has its grace
            ("11:11:00", Health::Late),
            ("12:11:00", Health::Late),
            ("13:11:00", Health::Stale),
            ("23:00:00", Health::Stale),
        ] {
            let told = health_at(now, last, Some(&hourly()), |_| {});
            assert_eq!(told, health, "{now}");
        }
    }

    #[test]
    fn a_mirror_that_a_sweep_found_equal_later_is_as_fresh_as_that() {
        let last = Some((RunOutcome::Succeeded, "10:00:05"));
        let health = health_at("23:05:00", last, Some(&hourly()), |signs| {
            signs.synced_at = Some(at("23:00:01"));
        });
        assert_eq!(health, Health::Ok);
    }

    #[test]
    fn a_success_in_the_future_is_stale_unless_the_clock_was_just_set_back() {
        let last = Some((RunOutcome::NoChange, "12:00:05"));
        for (now, health) in [
            ("10:59:59", Health::Stale),
            ("11:00:05", Health::Ok),
            ("12:59:59", Health::Ok),
        ] {
            let told = health_at(now, last, Some(&hourly()), |_| {});
            assert_eq!(told, health, "{now}");
        }
    }

    #[test]
    fn without_a_schedule_a_success_is_paused_and_a_failure_still_failing() {
        for (outcome, health) in [
            (RunOutcome::Succeeded, Health::Paused),
            (RunOutcome::Failed, Health::Failing),
        ] {
            let last = Some((outcome, "10:00:00"));
            assert_eq!(health_at("23:00:00", last, None, |_| {}), health);
        }
    }

    #[test]
    fn a_run_whose_process_died_is_failing_whatever_the_run_before_it_said() {
        let last = Some((RunOutcome::Succeeded, "10:00:00"));
        for last_run in [last, None] {
            let health = health_at("10:00:01", last_run, Some(&hourly()), |signs| {
                signs.is_interrupted = true;
            });
            assert_eq!(health, Health::Failing);
        }
    }

    #[test]
    fn a_pause_hides_a_failure_but_not_a_database_that_is_down() {
        let last = Some((RunOutcome::Failed, "10:00:00"));
        for (is_local_down, health) in [(false, Health::Paused), (true, Health::Failing)] {
            let told = health_at("10:00:01", last, Some(&hourly()), |signs| {
                signs.is_paused = true;
                signs.is_local_down = is_local_down;
            });
            assert_eq!(told, health);
        }
    }

    #[test]
    fn without_the_local_database_nothing_is_vouched_for() {
        let last = Some((RunOutcome::Succeeded, "10:00:00"));
        for (is_configured, health) in [(true, Health::Failing), (false, Health::NotConfigured)] {
            let told = health_at("10:00:01", last, Some(&hourly()), |signs| {
                signs.is_local_down = true;
                signs.is_configured = is_configured;
            });
            assert_eq!(told, health);
        }
    }
}
