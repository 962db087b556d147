//! The state of one mirror as read from the local database, and what follows from it, such as warnings.

use chrono::{DateTime, Utc};

use super::status::Status;
use super::verified_status::VerifiedStatus;
use super::verify_report::UNEXPLAINED;
use super::{clock_warnings, join_warnings};
use crate::error::Failure;
use crate::model::{RunOutcome, RunRecord};
use crate::store::proofs::{LatestProofs, StoredComparison};

/// The state of the mirror as read from the local database, or what this process knows of it if that is down.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredState {
    /// The status as far as the local database tells it. Its words, its health and what only this process knows are
    /// added later.
    pub(crate) status: Status,
    /// The newest run without an end in the log, if it is in progress; `None` otherwise.
    pub(crate) running: Option<RunRecord>,
    /// The newest run without an end in the log, if its process has died; `None` otherwise.
    pub(crate) interrupted: Option<RunRecord>,
    /// The last dry run that has ended since the pause began, however it ended, unless it was interrupted; `None` if there is
    /// none, or if the mirror is not paused.
    pub(crate) last_check: Option<RunRecord>,
    /// Whether the number of meters is not known because they are still being counted.
    pub(crate) is_being_counted: bool,
    /// Why the meters could not be counted; `None` if they could.
    pub(crate) count_failure: Option<Failure>,
    /// The warning about columns that have changed on the remote (drifted); `None` if there are none.
    pub(crate) drift_warning: Option<String>,
}

impl StoredState {
    /// Leaves out the run in progress, and the interrupted run, if the history, which was read later, has its end.
    pub(crate) fn leave_out_ended(&mut self) {
        let history = &self.status.history;
        let has_ended = |run: &mut RunRecord| {
            let mut same = history.iter().filter(|logged| logged.run_id == run.run_id);
            same.any(|logged| logged.outcome.is_some())
        };
        self.running.take_if(has_ended);
        self.interrupted.take_if(has_ended);
    }

    /// Sets the last check from the history.
    pub(crate) fn note_last_check(&mut self) {
        let Status {
            history, paused, ..
        } = &self.status;
        let Some(pause) = paused else {
            return;
        };
        let has_ended = |outcome| outcome != RunOutcome::Interrupted;
        let is_check = |run: &&RunRecord| {
            run.dry_run && run.outcome.is_some_and(has_ended) && run.started_at >= pause.since
        };
        self.last_check = history.iter().find(is_check).cloned();
    }

    /// Forgets a pause that has ended by itself at `now`.
    pub(crate) fn forget_ended_pause(&mut self, now: DateTime<Utc>) {
        self.status.paused.take_if(|pause| !pause.holds_at(now));
    }

    /// Adds what only this process knows of its own runs: `running` is in progress, and `last` ended last.
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
            self.status.warnings.push(interruption(interrupted));
            let is_it = |run: &&mut RunRecord| run.run_id == interrupted.run_id;
            self.status
                .history
                .iter_mut()
                .filter(is_it)
                .for_each(RunRecord::interrupt);
        }
        let is_new = |run: &&RunRecord| match &self.status.last_run {
            Some(logged) => run.run_id != logged.run_id && run.is_after(logged),
            None => true,
        };
        let may_be_unlogged = |run: &&RunRecord| !run.outcome.is_some_and(RunOutcome::is_success);
        if let Some(run) = last.filter(may_be_unlogged).filter(is_new) {
            self.status.last_run = Some(run.clone());
            self.status.held_back = None;
        }
        self
    }

    /// Adds the last proof that both sides are equal, and a warning if the last comparison found a difference and no sync
    /// has succeeded since, or no change explains the difference.
    pub(crate) fn add_proofs(&mut self, proofs: &LatestProofs) {
        let status = &mut self.status;
        status.verified = VerifiedStatus::newest(proofs, status.checked_at);
        status.is_difference_unexplained = Some(false);
        let Some((at, comparison)) = &proofs.comparison else {
            return;
        };
        if comparison.are_equal {
            status.verified_at = status.verified_at.max(Some(*at));
        } else if comparison.is_unexplained {
            status.is_difference_unexplained = Some(true);
            status.warnings.push(UNEXPLAINED.to_owned());
        } else if Some(*at) > status.last_success_at {
            status.warnings.push(difference(comparison));
        }
    }

    /// Returns the warning of the last run, without its part about columns that have changed on the remote, which
    /// `drift_warning` has as long as it applies. Returns `None` if nothing is left.
    pub(crate) fn own_warning(&self) -> Option<String> {
        let warning = self.status.last_run.as_ref()?.warning.as_deref()?;
        let drift = self.drift_warning.as_deref().unwrap_or_default();
        let own = join_warnings::without(warning, drift, "");
        (!own.is_empty()).then_some(own)
    }

    /// Returns a warning if the last run succeeded and its end is dated more than an hour in the future; `None`
    /// otherwise.
    pub(crate) fn dated_ahead(&self, now: DateTime<Utc>) -> Option<String> {
        let is_success = |run: &&RunRecord| run.outcome.is_some_and(RunOutcome::is_success);
        let run = self.status.last_run.as_ref().filter(is_success)?;
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
            .status
            .meters
            .is_some_and(|meters| meters.counted_at.is_some());
        !(is_open || is_old || self.is_being_counted || self.count_failure.is_some())
    }

    /// Whether the process of a run has died before the run ended, and no later run has ended since. Dry runs do not
    /// count.
    pub(crate) fn is_interrupted(&self) -> bool {
        let is_newer = |run: &RunRecord| {
            let last = self.status.last_run.as_ref();
            last.is_none_or(|last| run.is_after(last))
        };
        let run = self.interrupted.as_ref().filter(|run| !run.dry_run);
        run.is_some_and(is_newer)
    }
}

fn difference(comparison: &StoredComparison) -> String {
    let (there, here) = (comparison.remote.0, comparison.local.0);
    format!(
        "Both sides differed when all meters were last compared: the remote had {there} and the local side {here}. What has changed since the last sync may explain it: ask the user whether to sync."
    )
}

fn interruption(run: &RunRecord) -> String {
    format!(
        "Run {} was interrupted, and the next run will mark it: leave that to the schedule, or ask the user whether to sync now.",
        run.run_id
    )
}

#[cfg(test)]
mod tests {
    use super::super::status::MeterCounts;
    use super::*;

    #[test]
    fn a_count_of_before_is_not_kept() {
        let counted = |counted_at| StoredState {
            status: Status {
                meters: Some(MeterCounts {
                    active: 1_000_000,
                    inactive: 0,
                    counted_at,
                }),
                ..Status::default()
            },
            ..StoredState::default()
        };
        assert!(counted(None).lasts());
        assert!(!counted(Some(crate::machine_clock::now())).lasts());
    }
}
