//! The state of one mirror as read from the local database, and what follows from it, such as warnings.

use chrono::{DateTime, Utc};

use super::status::{MeterCounts, TenantStatus};
use super::{clock_warnings, join_warnings};
use crate::error::Failure;
use crate::model::{Change, HeldDeactivations, Outcome, Rejection, RunRecord};

/// The state of the mirror as read from the local database.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredState {
    pub(crate) tenant: Option<TenantStatus>,
    pub(crate) last_run: Option<RunRecord>,
    /// The deactivations that the last run held back, because they were too many; `None` if that run was not refused
    /// for that.
    pub(crate) held_back: Option<HeldDeactivations>,
    pub(crate) last_success_at: Option<DateTime<Utc>>,
    /// When a sweep (a check of all mirrors) last found the mirror unchanged; `None` if none has.
    pub(crate) checked_at: Option<DateTime<Utc>>,
    pub(crate) verified_at: Option<DateTime<Utc>>,
    /// How many runs have ended since the last success, dry runs excluded; `None` if the local database was not read.
    pub(crate) failures: Option<i64>,
    pub(crate) running: Option<RunRecord>,
    /// The newest run without an end in the log, if its process has died; `None` otherwise.
    pub(crate) interrupted: Option<RunRecord>,
    /// The number of meters; `None` if they were not counted.
    pub(crate) meters: Option<MeterCounts>,
    /// Whether `meters` is `None` because the meters are still being counted.
    pub(crate) is_being_counted: bool,
    /// Why the meters could not be counted; `None` if they could.
    pub(crate) count_failure: Option<Failure>,
    pub(crate) history: Vec<RunRecord>,
    pub(crate) changes: Option<Vec<Change>>,
    pub(crate) rejected: Option<Vec<Rejection>>,
    /// How many synced columns have changed on the remote (drifted) and are not settled; `None` if not known.
    pub(crate) drifted_columns: Option<usize>,
    /// The warning about these columns; `None` if there are none.
    pub(crate) drift_warning: Option<String>,
    pub(crate) warnings: Vec<String>,
}

impl StoredState {
    /// Leaves out the run in progress, and the interrupted run, if the history, which was read later, has its end.
    pub(crate) fn leave_out_ended(&mut self) {
        let Self {
            running,
            interrupted,
            history,
            ..
        } = self;
        let has_ended = |run: &mut RunRecord| {
            let mut same = history.iter().filter(|logged| logged.run_id == run.run_id);
            same.any(|logged| logged.outcome.is_some())
        };
        running.take_if(has_ended);
        interrupted.take_if(has_ended);
    }

    /// Adds what only this process knows of its own runs: `running`, the one in progress, and `last`, the last that ended.
    ///
    /// - The last run of this process becomes the last run if it is newer than the last run in the log, and its end
    ///   could not be logged. A run that made both sides equal was logged with its changes. If the log lacks it, a
    ///   failover has lost both.
    /// - A run of another process whose process has died is marked as interrupted in the history, with a warning.
    pub(crate) fn with_own_runs(
        mut self,
        running: Option<&RunRecord>,
        last: Option<&RunRecord>,
    ) -> Self {
        let is_ours = |run: &RunRecord| {
            let mut ours = running.into_iter().chain(last);
            ours.any(|our| our.run_id == run.run_id)
        };
        self.interrupted = self.interrupted.filter(|run| !is_ours(run));
        if let Some(interrupted) = &self.interrupted {
            self.warnings.push(interruption(interrupted));
            let is_it = |run: &&mut RunRecord| run.run_id == interrupted.run_id;
            self.history
                .iter_mut()
                .filter(is_it)
                .for_each(RunRecord::interrupt);
        }
        let is_new = |run: &&RunRecord| match &self.last_run {
            Some(logged) => run.run_id != logged.run_id && run.is_after(logged),
            None => true,
        };
        let may_be_unlogged = |run: &&RunRecord| !run.outcome.is_some_and(Outcome::is_success);
        if let Some(run) = last.filter(may_be_unlogged).filter(is_new) {
            self.last_run = Some(run.clone());
            self.held_back = None;
        }
        self
    }

    /// Returns the warning of the last run, without its part about columns that have changed on the remote, which
    /// `drift_warning` has as long as it applies. Returns `None` if nothing is left.
    pub(crate) fn own_warning(&self) -> Option<String> {
        let warning = self.last_run.as_ref()?.warning.as_deref()?;
        let drift = self.drift_warning.as_deref().unwrap_or_default();
        let own = join_warnings::without(warning, drift, "");
        (!own.is_empty()).then_some(own)
    }

    /// Returns a warning if the last run succeeded and its end is dated more than an hour in the future; `None`
    /// otherwise.
    pub(crate) fn dated_ahead(&self, now: DateTime<Utc>) -> Option<String> {
        let is_success = |run: &&RunRecord| run.outcome.is_some_and(Outcome::is_success);
        let run = self.last_run.as_ref().filter(is_success)?;
        clock_warnings::dated_ahead(run.finished_at?, now)
    }

    /// Whether the state can change only by a commit, so that it can be used again while nothing is committed. Returns
    /// `false` in two cases:
    ///
    /// - A run has no end in the log. Only its lock shows whether it is still in progress.
    /// - The meters were counted by an earlier read, are being counted, or could not be counted. The next count may
    ///   differ.
    pub(crate) fn lasts(&self) -> bool {
        let is_open = self.running.is_some() || self.interrupted.is_some();
        let is_old = self
            .meters
            .is_some_and(|meters| meters.counted_at.is_some());
        !(is_open || is_old || self.is_being_counted || self.count_failure.is_some())
    }

    /// Whether the process of a run has died before the run ended, and no later run has ended since. Dry runs do not
    /// count.
    pub(crate) fn is_interrupted(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_before_is_not_kept() {
        let counted = |counted_at| StoredState {
            meters: Some(MeterCounts {
                active: 1_000_000,
                inactive: 0,
                counted_at,
            }),
            ..StoredState::default()
        };
        assert!(counted(None).lasts());
        assert!(!counted(Some(crate::clock::now())).lasts());
    }
}
