//! Cancels a run, in whatever process it is in progress.
//!
//! A run of this process is cancelled at once. To cancel a run of another process, the request is written to the run's
//! row in the log. While a run is in progress, its process looks there every 2 s.

use std::convert::Infallible;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::db::{Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::mirrors::Mirror;
use crate::mirrors::open_run_fate::{self, OpenRunFate};
use crate::model::{RunId, RunOutcome};
use crate::store::{log, migrations};

/// How often the process of a run looks whether another process has asked for its end.
const PAUSE: Duration = Duration::from_secs(2);

/// The answer to a request to cancel a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// The run will end as `interrupted` and change no meter, unless it is already committing. A run of another process
    /// ends some seconds later.
    Accepted,
    /// The run has ended with this outcome.
    Over(RunOutcome),
    /// The run is not in progress: its process has died without logging an end. The next run marks it as `interrupted`.
    Dead,
    /// The log has no such run of this mirror.
    Unknown,
}

impl Mirror {
    /// Cancels this mirror's run with this id. Fails with `READ_ONLY` if this process may start no runs. Also fails if
    /// the run is not one of this process and the local database does not answer.
    pub async fn cancel(&self, id: RunId) -> Result<CancelOutcome, Failure> {
        if self.is_read_only() {
            let message = "This meter-sync was started read-only and ends no sync.";
            return Err(Failure::new(ErrorCode::ReadOnly, message));
        }
        if self.cancel_here(id) {
            return Ok(CancelOutcome::Accepted);
        }
        let local = self.local()?;
        migrations::run(&mut local.connect().await?).await?;
        let ask = async |tx: &Tx<'_, Local>| {
            let known = self.log_scope(tx).await?;
            let Some(run) = log::by_id(tx, known.log(), id).await? else {
                return Ok(CancelOutcome::Unknown);
            };
            if let Some(outcome) = run.outcome {
                return Ok(CancelOutcome::Over(outcome));
            }
            let Some(scope) = known.scope() else {
                return Ok(CancelOutcome::Dead);
            };
            match open_run_fate::look_up(tx, &scope, id).await? {
                OpenRunFate::InProgress => {}
                OpenRunFate::Ended(run) => {
                    return Ok(run.outcome.map_or(CancelOutcome::Dead, CancelOutcome::Over));
                }
                OpenRunFate::Dead => return Ok(CancelOutcome::Dead),
                OpenRunFate::Deleted => return Ok(CancelOutcome::Unknown),
            }
            if log::ask_to_cancel(tx, id).await? {
                return Ok::<_, Failure>(CancelOutcome::Accepted);
            }
            // The run has ended since it was looked up.
            let run = log::by_id(tx, scope.log(), id).await?;
            let outcome = run.and_then(|run| run.outcome);
            Ok(outcome.map_or(CancelOutcome::Unknown, CancelOutcome::Over))
        };
        local.write("cancel a run", ask).await
    }

    /// Cancels the run with this id. Returns `false` if it is not in progress in this process.
    pub fn cancel_here(&self, id: RunId) -> bool {
        let in_process_state = self.shared.in_process_state.borrow();
        let running = in_process_state.running.as_ref();
        let running = running.filter(|running| running.record.run_id == id);
        running.inspect(|running| running.cancel.cancel()).is_some()
    }

    /// Cancels `cancel` once another process asks for the end of the run. Never returns.
    pub(super) async fn cancel_if_asked(
        &self,
        id: RunId,
        cancel: &CancellationToken,
    ) -> Infallible {
        loop {
            tokio::time::sleep(PAUSE).await;
            // If the database does not answer, the run itself finds out.
            if let Ok(Ok(true)) = tokio::time::timeout(PAUSE, self.is_to_end(id)).await {
                cancel.cancel();
            }
        }
    }

    async fn is_to_end(&self, id: RunId) -> Result<bool, Failure> {
        let is_asked = async |tx: &Tx<'_, Local>| Ok(log::is_asked_to_cancel(tx, id).await?);
        let local = self.local()?;
        local.read("look whether a run is to end", is_asked).await
    }
}
