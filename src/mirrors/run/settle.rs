//! Logs how a run ended, in the transaction that changes the meters. If the connection was lost, finds out through a
//! new connection how the run ended.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::db::DbError;
use crate::engine::{self, FinishedSync, SyncError};
use crate::error::{ErrorCode, Failure};
use crate::model::{Change, CompareMethod, HeldDeactivations, Progress, RunOutcome, RunRecord};

use super::begin::StartedRun;
use super::run_task::RunTask;
use crate::reports::clock_warnings;
use crate::reports::join_warnings::joined;
use crate::reports::run_report::{RunReport, SAMPLE};
use crate::store::log::RunEnd;
use crate::store::{changes, log, recorded_columns, rejected_rows, run_lock};
use crate::tenants::run_scope::RunScope;

/// How a run ended, for its report and for the comparison of contents that may follow it.
#[derive(Clone)]
pub(crate) struct SettledRun {
    pub(crate) record: RunRecord,
    /// The first changes that the run made, at most `SAMPLE`.
    pub(crate) changes: Vec<Change>,
    /// The deactivations that the brake held back because they were too many; `None` if it held none back.
    pub(crate) held_back: Option<HeldDeactivations>,
    /// Whether to compare the contents of all rows next, because the last such comparison was too long ago.
    pub(crate) is_comparison_due: bool,
}

impl SettledRun {
    /// Describes the end of a run, with an empty list of changes.
    fn of(end: RunEnd) -> Self {
        Self {
            record: end.record,
            changes: Vec::new(),
            held_back: end.held_back,
            is_comparison_due: false,
        }
    }

    /// Builds the report that is sent to all who wait for the run.
    pub(crate) fn report(self, now: DateTime<Utc>) -> RunReport {
        RunReport {
            held_back: self.held_back,
            ..RunReport::of(&self.record, self.changes, now)
        }
    }
}

/// The end of a run that its own transaction could not log. It is kept, to be logged through a new connection.
pub(crate) struct UnloggedRunEnd {
    /// How the run ended, unless its transaction was committed after all.
    pub(crate) end: RunEnd,
    /// Whether the transaction may have been committed, because the commit failed without a clear answer of the server.
    may_be_committed: bool,
}

impl UnloggedRunEnd {
    /// Describes the end of a run whose transaction has certainly not been committed.
    pub(crate) fn rolled_back(end: RunEnd) -> Self {
        Self {
            end,
            may_be_committed: false,
        }
    }
}

/// How many times to try to log the end of a run whose connection was lost. The server may need up to 7 s to notice a
/// lost connection and to release its locks (see [`Connection::begin`](crate::db::Connection::begin)).
const SETTLE_ATTEMPTS: usize = 4;
/// The pause after each failed attempt to log the end of a run.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

impl RunTask<'_> {
    /// Logs the end of a run that has carried out its plan, and commits its transaction. If that fails, the error has
    /// the end to log through a new connection.
    pub(crate) async fn succeed(
        &self,
        run: StartedRun<'_>,
        done: FinishedSync,
        reached: &Progress,
    ) -> Result<SettledRun, UnloggedRunEnd> {
        let is_comparison_due =
            run.is_comparison_due && done.compared == CompareMethod::Differences;
        let unlogged = |error: DbError, may_be_committed| UnloggedRunEnd {
            end: self.failed(error.failure(), RunOutcome::Failed, Some(reached)),
            may_be_committed,
        };
        let written = self.write_end(&run, done, reached).await;
        let settled = written.map_err(|error| unlogged(error, false))?;
        let committed = run.tx.commit().await;
        committed.map_err(|error| unlogged(error, true))?;
        // If rows were rejected, the sides differ, and the next run compares contents in any case.
        let is_success = settled.record.outcome.is_some_and(RunOutcome::is_success);
        Ok(SettledRun {
            is_comparison_due: is_comparison_due && is_success,
            ..settled
        })
    }

    async fn write_end(
        &self,
        run: &StartedRun<'_>,
        FinishedSync {
            synced,
            refusal,
            compared,
            proved,
        }: FinishedSync,
        reached: &Progress,
    ) -> Result<SettledRun, DbError> {
        let outcome = match &synced.counts {
            _ if self.record.dry_run => RunOutcome::DryRun,
            counts if counts.rejected > 0 => RunOutcome::Partial,
            counts if counts.changes() > 0 => RunOutcome::Succeeded,
            _ => RunOutcome::NoChange,
        };
        let partial =
            (outcome == RunOutcome::Partial).then(|| rejected_rows(synced.counts.rejected));
        let mut end = RunEnd {
            compared: (!self.record.dry_run).then_some(compared),
            proved: proved.filter(|_| !self.record.dry_run),
            phases: reached.times(Instant::now()),
            held_back: refusal.as_ref().and_then(SyncError::held_back).cloned(),
            record: RunRecord {
                outcome: Some(outcome),
                finished_at: Some(self.now()),
                counts: synced.counts,
                error: partial.or_else(|| refusal.as_ref().map(SyncError::failure)),
                remote_bytes: reached.remote_bytes,
                changes_truncated: synced.changes_truncated,
                warning: joined([
                    altered(&synced.altered),
                    clock_warnings::warning(self.mirror.clock.ahead()),
                    run.column_warning(None),
                    run.remote_warning(refusal.as_ref()),
                ]),
                ..self.record.clone()
            },
        };
        let run_id = self.record.run_id;
        rejected_rows::write(&run.tx, run_id, &synced.rejected).await?;
        self.keep_columns(run).await?;
        log::finish(&run.tx, &mut end).await?;
        Ok(SettledRun {
            changes: changes::changes(&run.tx, run_id, SAMPLE).await?,
            ..SettledRun::of(end)
        })
    }

    /// Logs the end of a run that failed or was refused, in the transaction that still holds the run lock. If that
    /// fails, the error has the end to log through a new connection.
    pub(crate) async fn fail(
        &self,
        run: StartedRun<'_>,
        error: &SyncError,
        reached: &Progress,
    ) -> Result<SettledRun, UnloggedRunEnd> {
        let outcome = match error.is_refusal() {
            true => RunOutcome::Refused,
            false => RunOutcome::Failed,
        };
        let failure = engine::failure(error, &self.mirror.mapping().source);
        let mut end = self.failed(failure, outcome, Some(reached));
        end.held_back = error.held_back().cloned();
        end.record.warning = joined([
            end.record.warning,
            run.column_warning(Some(error)),
            run.remote_warning(Some(error)),
        ]);
        match !run.tx.is_answer_due() && self.write_failure(run, &mut end).await.is_ok() {
            true => Ok(SettledRun::of(end)),
            // The list of the deactivations that the brake held back was rolled back, too.
            false => Err(UnloggedRunEnd::rolled_back(RunEnd {
                held_back: None,
                ..end
            })),
        }
    }

    /// Undoes what the run did, logs its end and commits. If the plan was refused, there is nothing to undo: the run
    /// has only stored why, and the list of deactivations that the brake held back.
    async fn write_failure(&self, run: StartedRun<'_>, end: &mut RunEnd) -> Result<(), DbError> {
        if end.record.outcome != Some(RunOutcome::Refused) {
            run.tx.back_to("work").await?;
        }
        self.keep_columns(&run).await?;
        log::finish(&run.tx, end).await?;
        run.tx.commit().await
    }

    /// Stores the columns that the run found, for the next run, whatever the run's outcome. A dry run stores nothing.
    async fn keep_columns(&self, run: &StartedRun<'_>) -> Result<(), DbError> {
        match run.column_report.get() {
            Some(report) if report.is_changed && !self.record.dry_run => {
                let RunScope { tenant, table } = &run.scope;
                recorded_columns::keep(&run.tx, &tenant.id, &table.name, &report.columns).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Finds out through a new connection how the run ended, and logs its end if the log does not have it yet.
    ///
    /// The log is read before the run lock is taken, because another run may hold the lock by now:
    ///
    /// - If the log says interrupted, the run was not committed: a run is marked so only after its transaction has
    ///   ended. The mark stays, because a later run may have succeeded since.
    /// - If the log has any other outcome, the run was committed.
    /// - If the log has no outcome, the transaction may still be open. Once this function gets the run lock, the
    ///   transaction has ended, and the log is read again.
    ///
    /// If all attempts fail, and the run may have been committed, the outcome is unknown.
    pub(crate) async fn settle_on_new_connection(
        &self,
        scope: &RunScope,
        unlogged: UnloggedRunEnd,
    ) -> SettledRun {
        let UnloggedRunEnd {
            mut end,
            may_be_committed,
        } = unlogged;
        for _ in 0..SETTLE_ATTEMPTS {
            match self.try_settle_anew(scope, &mut end).await {
                Ok(Some(logged)) => return logged,
                Ok(None) => return SettledRun::of(end),
                Err(error) => {
                    let failure = error.failure();
                    tracing::warn!(
                        run.id = %self.record.run_id,
                        trace.id = self.request.trace.map(tracing::field::display),
                        error = %failure,
                        error.code = %failure.code,
                        "the end of the run could not be logged yet"
                    );
                }
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
        if may_be_committed {
            doubt(&mut end.record);
        }
        SettledRun::of(end)
    }

    /// Returns how the run ended if the log says so. Otherwise logs `end`, and returns `None`.
    async fn try_settle_anew(
        &self,
        scope: &RunScope,
        end: &mut RunEnd,
    ) -> Result<Option<SettledRun>, DbError> {
        let run_id = self.record.run_id;
        let mut connection = self.local.connect().await?;
        let tx = connection.begin("settle a run").await?;
        let mut found = log::by_id(&tx, scope.log(), run_id).await?;
        if found.as_ref().is_none_or(|run| run.outcome.is_none()) {
            run_lock::take(&tx, &scope.text()).await?;
            found = log::by_id(&tx, scope.log(), run_id).await?;
        }
        let has_ended = |run: &RunRecord| run.outcome.is_some();
        if let Some(record) = found.filter(has_ended) {
            return Ok(Some(SettledRun {
                record,
                changes: changes::changes(&tx, run_id, SAMPLE).await?,
                held_back: log::details(&tx, run_id).await?.held_back,
                is_comparison_due: false,
            }));
        }
        log::finish(&tx, end).await?;
        tx.commit().await?;
        Ok(None)
    }
}

/// Sets the outcome to unknown, because the commit got no clear answer and the log could not be read since.
fn doubt(run: &mut RunRecord) {
    run.outcome = Some(RunOutcome::Unknown);
    if let Some(error) = &mut run.error {
        error.message += " It is not known whether the changes were committed; the log tells it when the local database answers again.";
    }
}

fn altered(columns: &[String]) -> Option<String> {
    (!columns.is_empty()).then(|| {
        format!(
            "The local table changes what is written to {} (a trigger?), so these rows will be written again at each run. \
             Let the trigger leave them alone, or leave them out of METER_SYNC_COLUMNS.",
            columns.join(", ")
        )
    })
}

/// Returns the error of a run that rejected rows (could not store them). The text speaks of changes and not of meters,
/// because a rejected change may also be the deactivation of a meter that is missing on the remote.
fn rejected_rows(rejected: i64) -> Failure {
    let message = match rejected {
        1 => "1 row was rejected: its change could not be written.".to_owned(),
        _ => format!("{rejected} rows were rejected: their changes could not be written."),
    };
    Failure::new(ErrorCode::LocalConstraint, message).with_remedy(
        "Read the reasons in the run's rejected rows, then mend the meters on the remote, or the local constraint or trigger \
         that refuses the change.",
    )
}
