//! The state of one mirror as it was read from the local database, and values that are derived from it.

use chrono::{DateTime, Utc};

use crate::engine::drift::{self, KnownColumn};
use crate::model::{Change, HeldDeactivations, Outcome, Rejection};

use crate::mirrors::live_state::LiveState;
use crate::mirrors::status_parts::{MeterCounts, RunningStatus, TenantStatus};
use crate::mirrors::{clock_warnings, warnings};
use crate::store::log;
use crate::store::log::RunRecord;

/// The state of the mirror as read from the local database.
#[derive(Clone, Debug, Default)]
pub(in crate::mirrors) struct StoredState {
    pub(in crate::mirrors) tenant: Option<TenantStatus>,
    pub(in crate::mirrors) last_run: Option<RunRecord>,
    /// The deactivations that the last run held back; `None` if the brake did not refuse that run.
    pub(in crate::mirrors) held_back: Option<HeldDeactivations>,
    pub(in crate::mirrors) last_success_at: Option<DateTime<Utc>>,
    /// When a sweep last found the mirror unchanged.
    pub(in crate::mirrors) checked_at: Option<DateTime<Utc>>,
    pub(in crate::mirrors) verified_at: Option<DateTime<Utc>>,
    /// How many runs have ended since the last success, dry runs excluded; `None` if the local database was not read.
    pub(in crate::mirrors) failures: Option<i64>,
    pub(in crate::mirrors) running: Option<RunRecord>,
    /// A run whose process has died, and which the log does not yet mark as interrupted.
    pub(in crate::mirrors) interrupted: Option<RunRecord>,
    /// The number of meters; `None` if they were not counted.
    pub(in crate::mirrors) meters: Option<MeterCounts>,
    /// Whether `meters` is `None` because the meters are still being counted.
    pub(in crate::mirrors) is_being_counted: bool,
    pub(in crate::mirrors) history: Vec<RunRecord>,
    pub(in crate::mirrors) changes: Option<Vec<Change>>,
    pub(in crate::mirrors) rejected: Option<Vec<Rejection>>,
    /// The columns with an unsettled drift; `None` if that is not known.
    pub(in crate::mirrors) drifted: Option<Vec<KnownColumn>>,
    pub(in crate::mirrors) warnings: Vec<String>,
}

/// Numbers for the metrics: failures and drifted columns. A number is `None` if it could not be read from the local
/// database.
#[derive(Clone, Copy, Debug)]
pub(in crate::mirrors) struct Tally {
    /// How many runs have ended since the last success.
    pub(in crate::mirrors) failures: Option<i64>,
    /// How many columns have an unsettled drift.
    pub(in crate::mirrors) drifted: Option<usize>,
}

impl StoredState {
    /// Adds what only this process knows. The log may lack the last run of this process, if the run could not be
    /// logged. If that run is newer than the last run in the log, it becomes the last run. If a run of another process
    /// was interrupted, marks it so in the history, and adds a warning.
    pub(in crate::mirrors) fn with(mut self, live_state: &LiveState) -> Self {
        let ours = [live_state.running_record(), live_state.last.clone()];
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
        let is_new = |run: &&RunRecord| match &self.last_run {
            Some(logged) => run.run_id != logged.run_id && run.is_after(logged),
            None => true,
        };
        if let Some(run) = live_state.last.as_ref().filter(is_new) {
            self.last_run = Some(run.clone());
            self.held_back = None;
        }
        self
    }
}

impl StoredState {
    /// Returns the warning about columns that have drifted; `None` if none has.
    pub(in crate::mirrors) fn drift(&self) -> Option<String> {
        drift::warning(self.drifted.iter().flatten())
    }

    /// Returns the warning of the last run without its part about drifted columns, because [`Self::drift`] returns
    /// that part while the drift lasts. `None` if nothing is left.
    pub(in crate::mirrors) fn own_warning(&self) -> Option<String> {
        let warning = self.last_run.as_ref()?.warning.as_deref()?;
        let drift = self.drift().unwrap_or_default();
        let own = warnings::without(warning, &drift, "");
        (!own.is_empty()).then_some(own)
    }

    /// Returns the warning for a last run that succeeded and is dated in the future; `None` otherwise.
    pub(in crate::mirrors) fn dated_ahead(&self, now: DateTime<Utc>) -> Option<String> {
        let is_success = |run: &&RunRecord| run.outcome.is_some_and(Outcome::is_success);
        let run = self.last_run.as_ref().filter(is_success)?;
        clock_warnings::dated_ahead(run.finished_at?, now)
    }

    /// Returns the numbers for the metrics.
    pub(in crate::mirrors) fn tally(&self) -> Tally {
        Tally {
            failures: self.failures,
            drifted: self.drifted.as_ref().map(Vec::len),
        }
    }

    /// Whether the state changes only by a commit, so that it can be reused while nothing is committed. Returns
    /// `false` in two cases:
    ///
    /// - A run has not ended. Only its lock shows whether it is still in progress.
    /// - The meters were counted by an earlier read, or are being counted. Such a count is soon replaced.
    pub(in crate::mirrors) fn lasts(&self) -> bool {
        let counted_at = self.meters.and_then(|meters| meters.counted_at);
        let is_counted = counted_at.is_none() && !self.is_being_counted;
        self.running.is_none() && self.interrupted.is_none() && is_counted
    }

    /// Returns the run in progress, as of `now`. If another process runs it, the phase and the number of rows are
    /// `None`.
    pub(in crate::mirrors) fn running_at(
        &self,
        live_state: &LiveState,
        now: DateTime<Utc>,
    ) -> Option<RunningStatus> {
        let record = live_state
            .running_record()
            .or_else(|| self.running.clone())?;
        let ours = live_state
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

    /// Whether a process has died in a run that is newer than the last run that ended. Dry runs do not count.
    pub(in crate::mirrors) fn is_interrupted(&self) -> bool {
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
