//! Requests a run of a mirror, and waits for its end.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{ErrorCode, Failure};

use super::execute;
use crate::mirrors::{Mirror, RunRequest, RunRequestOutcome};
use crate::reports::run_report::RunReport;

/// How long a single wait for the end of a run lasts, before it is repeated.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

impl Mirror {
    /// Requests a run and waits for its end. With `and_comparison`, also waits for the end of the comparison of
    /// contents (a check of all rows by hashes) that may follow the run.
    pub async fn run_to_end(
        &self,
        request: RunRequest,
        and_comparison: bool,
    ) -> Result<RunReport, Failure> {
        let mut ticket = match self.request(request).await? {
            RunRequestOutcome::Started(ticket) => ticket,
            RunRequestOutcome::AlreadyRunning(report) | RunRequestOutcome::Finished(report) => {
                return Ok(*report);
            }
        };
        loop {
            let report = ticket.wait(LONGEST_WAIT).await;
            if ticket.is_over() || report.is_over() && !and_comparison {
                return Ok(report);
            }
        }
    }

    /// Starts a run and returns without waiting for its end. Starts none if one is in progress, or if an earlier run
    /// answers the request by its idempotency key. If the caller stops waiting for the answer, the run still starts.
    ///
    /// Fails with `CONFIG_MISSING` or `READ_ONLY` if this process may start no runs, with `PAUSED` if the mirror is paused
    /// and the run is neither a dry run nor one of the schedule, and with `INTERNAL` if a bug ends
    /// the run's task.
    pub async fn request(&self, request: RunRequest) -> Result<RunRequestOutcome, Failure> {
        self.may_sync()?;
        // A request with an idempotency key may be answered with a run that has already ended, even if another run is
        // in progress.
        let running = self
            .shared
            .in_process_state
            .borrow()
            .running_record()
            .cloned();
        if let Some(running) = running.filter(|_| request.idempotency_key.is_none()) {
            return Ok(RunRequestOutcome::already_running(&running, self.now()));
        }
        let (begun, answer) = oneshot::channel();
        let mirror = self.clone();
        self.tasks
            .spawn(async move { execute::run(&mirror, &request, begun).await });
        let answered = answer.await.unwrap_or_else(|_closed| {
            let message = "The run ended without an answer.";
            Err(Failure::new(ErrorCode::Internal, message))
        });
        let mut answered = answered?;
        if let RunRequestOutcome::Finished(report) = &mut answered {
            self.fit_to_caller(report);
        }
        Ok(answered)
    }
}
