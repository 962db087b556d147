//! Builds the report of any run of a mirror from the mirror's status.

use crate::error::{ErrorCode, Failure};
use crate::model::{RunId, RunOutcome};

use crate::mirrors::Mirror;
use crate::reports::run_report::{RunReport, SAMPLE};
use crate::reports::status::StatusQuery;

impl Mirror {
    /// Returns the current report of a run. Fails if the run is not in the log or, while the local database is down, if
    /// it is not the last run of this process.
    pub async fn report(&self, id: RunId) -> Result<RunReport, Failure> {
        let query = StatusQuery {
            run_id: Some(id),
            include_changes: true,
            changes_limit: SAMPLE,
            ..StatusQuery::default()
        };
        let status = self.status(&query).await?;
        let record = status.history.into_iter().find(|run| run.run_id == id);
        let Some(mut record) = record else {
            // While the local database is down, only the last run of this process is known.
            let unknown = || {
                let message = format!("Nothing is known of run {id}.");
                Failure::new(ErrorCode::Internal, message)
            };
            return Err(status.connections.local.error.unwrap_or_else(unknown));
        };
        let is_running = status.running.is_some_and(|running| running.run_id == id);
        if record.outcome.is_none() && !is_running {
            record.interrupt();
        }
        let changes = status.changes.unwrap_or_default();
        let mut report = RunReport::of(&record, changes, self.now());
        if report.outcome == Some(RunOutcome::Refused) {
            let detail = self.run(id).await?;
            report.held_back = detail.and_then(|detail| detail.held_back);
            self.fit_to_caller(&mut report);
        }
        Ok(report)
    }
}
