//! Holds what this process itself knows about one mirror: its run in progress, its last run, and the state of the
//! remote when it was last used. The status is built from this while the local database is down.

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::model::{Progress, RunId, RunOutcome, RunRecord};

use crate::reports::connections::ConnectionReport;
use crate::reports::status::{NamedTenant, RunningStatus};

/// What this process itself knows about one mirror, without asking the local database.
#[derive(Clone, Debug, Default)]
pub(crate) struct InProcessState {
    pub(crate) running: Option<OwnRun>,
    /// When the schedule retries a slot (scheduled time) whose run failed; `None` if no retry is pending.
    pub(crate) waiting_until: Option<DateTime<Utc>>,
    /// The last run that ended in this process, dry runs excluded; `None` before the first.
    pub(crate) last: Option<RunRecord>,
    pub(crate) last_success_at: Option<DateTime<Utc>>,
    pub(crate) tenant: Option<NamedTenant>,
    pub(crate) remote: ConnectionReport,
}

/// A run in progress in this process.
#[derive(Clone, Debug)]
pub(crate) struct OwnRun {
    pub(crate) record: RunRecord,
    pub(crate) progress: watch::Receiver<Progress>,
    /// The token that cancels the run.
    pub(crate) cancel: CancellationToken,
}

impl InProcessState {
    pub(crate) fn running_record(&self) -> Option<&RunRecord> {
        self.running.as_ref().map(|running| &running.record)
    }

    /// Returns the run in progress, as of `now`; `None` if there is none. `logged` is the run that is in progress
    /// according to the log. It is returned if this process has no run in progress. It is then a run of another
    /// process, so its phase and number of rows are not known.
    pub(crate) fn running_status(
        &self,
        logged: Option<&RunRecord>,
        now: DateTime<Utc>,
    ) -> Option<RunningStatus> {
        let record = self.running_record().or(logged)?;
        let ours = self.running.as_ref();
        let progress = ours.map(|running| *running.progress.borrow());
        Some(RunningStatus {
            run_id: record.run_id,
            phase: progress.map(|progress| progress.phase),
            elapsed_ms: record.duration_ms(now),
            rows: progress.map(|progress| progress.rows),
        })
    }

    /// Sets `running` to `None` if it holds the run with this id. A later run in `running` stays.
    pub(crate) fn no_longer_running(&mut self, id: RunId) {
        self.running.take_if(|running| running.record.run_id == id);
    }

    /// Records that a run has ended: clears `running`, and sets `last` and, after a success, `last_success_at`. A dry
    /// run sets neither.
    pub(crate) fn ended(&mut self, record: &RunRecord) {
        self.no_longer_running(record.run_id);
        if record.dry_run {
            return;
        }
        if record.outcome.is_some_and(RunOutcome::is_success) {
            self.last_success_at = record.finished_at;
        }
        self.last = Some(record.clone());
    }
}
