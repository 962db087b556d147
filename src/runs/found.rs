//! Caches the last status, keyed by a [`Moment`] of the local database.
//!
//! An answer is kept if the moment was the same before and after it was read. As long as the database reports that
//! moment, nothing has been committed since, so the answer is still true. A client that asks every second, or a thousand
//! clients at once, cost one short statement each.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::db::Moment;
use crate::meter::{Change, HeldBack, Outcome, Rejection};
use crate::sync::drift::{self, KnownColumn};

use super::here::Here;
use super::status::{MeterCounts, RunRecord, RunningStatus, StatusQuery, TenantStatus};
use super::{clocks, log, warnings};

/// Row security or a view may ask for the time, which passes without a commit.
const LASTS: Duration = Duration::from_secs(10);

/// What the local database says.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) tenant: Option<TenantStatus>,
    pub(super) last_run: Option<RunRecord>,
    /// The deactivations that it held back.
    pub(super) held_back: Option<HeldBack>,
    pub(super) last_success_at: Option<DateTime<Utc>>,
    pub(super) verified_at: Option<DateTime<Utc>>,
    /// How many runs have ended since then, dry runs aside.
    pub(super) failures: Option<i64>,
    pub(super) running: Option<RunRecord>,
    /// A run whose process went away, not marked yet.
    pub(super) interrupted: Option<RunRecord>,
    pub(super) meters: Option<MeterCounts>,
    /// Whether the meters are not known because they are still being counted.
    pub(super) is_being_counted: bool,
    pub(super) history: Vec<RunRecord>,
    pub(super) changes: Option<Vec<Change>>,
    pub(super) rejected: Option<Vec<Rejection>>,
    /// The columns whose drift is not settled; absent while that is not known.
    pub(super) drifted: Option<Vec<KnownColumn>>,
    pub(super) warnings: Vec<String>,
}

/// What is counted beside the status, where the local database tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    /// How many runs have ended since the last success.
    pub(super) failures: Option<i64>,
    /// How many columns have drifted.
    pub(super) drifted: Option<usize>,
}

impl Found {
    /// A run of this process that could not be logged is known here only, and must not hide.
    pub(super) fn with(mut self, here: &Here) -> Self {
        let ours = [here.running_record(), here.last.clone()];
        let is_ours = |run: &RunRecord| ours.iter().flatten().any(|our| our.run_id == run.run_id);
        self.interrupted = self.interrupted.filter(|run| !is_ours(run));
        if let Some(interrupted) = &self.interrupted {
            self.warnings.push(interruption(interrupted));
            let is_it = |run: &&mut RunRecord| run.run_id == interrupted.run_id;
            self.history
                .iter_mut()
                .filter(is_it)
                .for_each(log::interrupt);
        }
        let is_news = |run: &&RunRecord| match &self.last_run {
            Some(logged) => run.run_id != logged.run_id && run.is_after(logged),
            None => true,
        };
        if let Some(run) = here.last.as_ref().filter(is_news) {
            self.last_run = Some(run.clone());
            self.held_back = None;
        }
        self
    }
}

impl Found {
    /// The warning for columns that have drifted.
    pub(super) fn drift(&self) -> Option<String> {
        drift::warning(self.drifted.iter().flatten())
    }

    /// What the last run warned of, without its columns that have drifted: these are told apart, as long as they have.
    pub(super) fn own_warning(&self) -> Option<String> {
        let warning = self.last_run.as_ref()?.warning.as_deref()?;
        let drift = self.drift().unwrap_or_default();
        let own = warnings::without(warning, &drift, "");
        (!own.is_empty()).then_some(own)
    }

    /// The warning for a last run that succeeded at a time still to come.
    pub(super) fn dated_ahead(&self, now: DateTime<Utc>) -> Option<String> {
        let is_success = |run: &&RunRecord| run.outcome.is_some_and(Outcome::is_success);
        let run = self.last_run.as_ref().filter(is_success)?;
        clocks::dated_ahead(run.finished_at?, now)
    }

    /// What is counted beside the status.
    pub(super) fn tally(&self) -> Tally {
        Tally {
            failures: self.failures,
            drifted: self.drifted.as_ref().map(Vec::len),
        }
    }

    /// Whether it hangs on nothing but what is committed: whether a run that has not ended goes on is told by
    /// a lock, and a count of before is told no longer than it holds.
    pub(super) fn lasts(&self) -> bool {
        let counted_at = self.meters.and_then(|meters| meters.counted_at);
        let is_counted = counted_at.is_none() && !self.is_being_counted;
        self.running.is_none() && self.interrupted.is_none() && is_counted
    }

    /// The run in progress as it stands at `now`; of a run of another process only that it goes on.
    pub(super) fn running_at(&self, here: &Here, now: DateTime<Utc>) -> Option<RunningStatus> {
        let record = here.running_record().or_else(|| self.running.clone())?;
        let ours = here
            .running
            .as_ref()
            .map(|running| *running.progress.borrow());
        Some(RunningStatus {
            run_id: record.run_id,
            phase: ours.map(|progress| progress.phase),
            elapsed_ms: (now - record.started_at).num_milliseconds().max(0),
            rows: ours.map(|progress| progress.rows),
        })
    }

    /// Whether a run's process died after the last run that ended.
    pub(super) fn is_interrupted(&self) -> bool {
        let is_newer = |run: &RunRecord| {
            let last = self.last_run.as_ref();
            last.is_none_or(|last| run.is_after(last))
        };
        let run = self.interrupted.as_ref().filter(|run| !run.dry_run);
        run.is_some_and(is_newer)
    }
}

fn interruption(run: &RunRecord) -> String {
    format!(
        "Run {} was interrupted, and the next run will mark it: leave that to the schedule, or ask the user whether to sync now.",
        run.run_id
    )
}

/// The last answer of the local database.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<Option<Answer>>);

#[derive(Debug)]
struct Answer {
    moment: Moment,
    asked_at: Instant,
    history: u32,
    found: Found,
}

impl Remembered {
    /// What would be found at this moment, if that is known.
    pub(super) fn at(&self, moment: Option<&Moment>, history: u32) -> Option<Found> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answer.as_ref()?;
        let is_same = Some(&answer.moment) == moment
            && answer.history == history
            && answer.asked_at.elapsed() < LASTS;
        is_same.then(|| answer.found.clone())
    }

    /// Keeps what was found for the usual question, and lasts.
    pub(super) fn keep(&self, moment: Moment, history: u32, found: &Found) {
        let answer = Answer {
            moment,
            asked_at: Instant::now(),
            history,
            found: found.clone(),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
    }
}

/// Whether the question is the usual one, whose answer is remembered. Answers to others can be long, and are
/// seldom asked for twice.
pub(super) fn is_plain(query: &StatusQuery) -> bool {
    query.run_id.is_none() && !query.include_changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_before_is_not_kept() {
        let counted = |counted_at| Found {
            meters: Some(MeterCounts {
                active: 1_000_000,
                inactive: 0,
                counted_at,
            }),
            ..Found::default()
        };
        assert!(counted(None).lasts());
        assert!(!counted(Some(crate::clock::now())).lasts());
    }
}
