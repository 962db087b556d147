//! Settles the end of a run: logs it in the transaction that changes the meters. If the connection was lost, finds out
//! how the run ended.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::db::{DbError, Local, Tx};
use crate::engine::{SyncEnd, SyncError};
use crate::error::{ErrorCode, Failure};
use crate::model::{Change, CompareMethod, HeldDeactivations, Outcome, Progress};

use super::begin::StartedRun;
use super::lock;
use super::report::{RunReport, SAMPLE};
use super::run_attempt::RunAttempt;
use crate::mirrors::clock_warnings;
use crate::mirrors::scope::Scope;
use crate::mirrors::warnings::joined;
use crate::store::log::RunEnd;
use crate::store::log::RunRecord;
use crate::store::{changes, columns, log, rejected};

/// How a run ended, for its report and for a comparison of contents.
#[derive(Clone)]
pub(in crate::mirrors) struct SettledRun {
    pub(in crate::mirrors) record: RunRecord,
    /// The first changes, at most `SAMPLE`.
    pub(in crate::mirrors) changes: Vec<Change>,
    /// The deactivations that the brake held back; `None` if it held none back.
    pub(in crate::mirrors) held_back: Option<HeldDeactivations>,
    /// Whether to compare the contents now.
    pub(in crate::mirrors) is_comparison_due: bool,
}

impl SettledRun {
    /// Describes the end of a run that reports no changes.
    pub(in crate::mirrors) fn of(record: RunRecord) -> Self {
        Self {
            record,
            changes: Vec::new(),
            held_back: None,
            is_comparison_due: false,
        }
    }

    /// Builds the report for those who wait for the run.
    pub(in crate::mirrors) fn report(self, now: DateTime<Utc>) -> RunReport {
        RunReport {
            held_back: self.held_back,
            ..RunReport::of(&self.record, self.changes, now)
        }
    }
}

/// Whether the end of a run has been logged.
pub(in crate::mirrors) enum SettleOutcome {
    /// The end has been logged.
    Logged(SettledRun),
    /// The transaction can no longer log the end. Holds how the run ended, for another attempt.
    NotYet(RunEnd),
    /// The server did not answer the commit. Holds how the run ended if it was not committed.
    Unanswered(RunEnd),
}

/// How often to try to log the end of a run whose connection was lost. The server releases the lock of a
/// machine that vanished within 7 s (see [`Connection::begin`](crate::db::Connection::begin)).
const SETTLE_ATTEMPTS: usize = 4;
/// The pause after each attempt.
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

impl RunAttempt<'_> {
    pub(in crate::mirrors) async fn succeed(
        &self,
        run: StartedRun<'_>,
        SyncEnd {
            synced,
            refusal,
            compared,
        }: SyncEnd,
        reached: &Progress,
    ) -> Result<SettleOutcome, DbError> {
        let outcome = match &synced.counts {
            _ if self.request.dry_run => Outcome::DryRun,
            counts if counts.rejected > 0 => Outcome::Partial,
            counts if counts.changes() > 0 => Outcome::Succeeded,
            _ => Outcome::NoChange,
        };
        // If rows were rejected, the sides differ, and the next run compares contents in any case.
        let is_comparison_due =
            run.is_comparison_due && compared == CompareMethod::Differences && outcome.is_success();
        let held_back = refusal.as_ref().and_then(SyncError::held_back).cloned();
        let partial = (outcome == Outcome::Partial).then(|| rejected_rows(synced.counts.rejected));
        let error = partial.or_else(|| refusal.map(|refusal| refusal.failure()));
        let mut ending = RunEnd {
            outcome,
            finished_at: self.shared.process.clock.now(),
            counts: synced.counts,
            error,
            remote_bytes: reached.remote_bytes,
            changes_truncated: synced.changes_truncated,
            compared: (!self.request.dry_run).then_some(compared),
            warning: joined([
                altered(&synced.altered),
                clock_warnings::warning(self.shared.process.clock.ahead()),
                run.column_warning(None),
            ]),
            phases: reached.times(Instant::now()),
            held_back: held_back.clone(),
        };
        rejected::write(&run.tx, self.run_id, &synced.rejected).await?;
        self.keep_columns(&run).await?;
        log::finish(&run.tx, self.run_id, &mut ending).await?;
        let changes = changes::changes(&run.tx, self.run_id, SAMPLE).await?;
        if let Err(error) = run.tx.commit().await {
            let ending = self.failed(error.failure(), false, Some(reached));
            self.publish_databases(&ending);
            return Ok(SettleOutcome::Unanswered(ending));
        }
        self.publish_databases(&ending);
        Ok(SettleOutcome::Logged(SettledRun {
            record: self.ended(ending),
            changes,
            held_back,
            is_comparison_due,
        }))
    }

    /// Rolls back what the run did and logs why, in the transaction that still holds the lock. If the brake held
    /// meters back, nothing is rolled back, because the run has only stored the set of these meters.
    pub(in crate::mirrors) async fn settle(
        &self,
        run: StartedRun<'_>,
        ending: &mut RunEnd,
    ) -> Result<(), DbError> {
        if ending.held_back.is_none() {
            run.tx.back_to("work").await?;
        }
        self.keep_columns(&run).await?;
        log::finish(&run.tx, self.run_id, ending).await?;
        run.tx.commit().await
    }

    /// Stores what the run found out about the columns, whatever its outcome. A dry run stores nothing.
    async fn keep_columns(&self, run: &StartedRun<'_>) -> Result<(), DbError> {
        match run.column_report.get() {
            Some(report) if report.is_changed && !self.request.dry_run => {
                let Scope { tenant, table } = &run.scope;
                columns::keep(&run.tx, &tenant.id, &table.name, &report.columns).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Finds out through a new connection how the run ended, and logs its end if the log does not have it yet.
    ///
    /// The log is read before the lock is taken, because another run may hold the lock by now:
    ///
    /// - If the log says interrupted, the run was not committed: a run is marked so only after its transaction has
    ///   ended.
    /// - If the log has any other outcome, the run was committed.
    /// - If the log has no outcome, the transaction may still be open. Once this function gets the lock, the
    ///   transaction has ended, and the log is read again.
    ///
    /// If all attempts fail and `may_be_committed` is set, the outcome is unknown.
    pub(in crate::mirrors) async fn settle_on_new_connection(
        &self,
        scope: &Scope,
        mut ending: RunEnd,
        may_be_committed: bool,
    ) -> SettledRun {
        for _ in 0..SETTLE_ATTEMPTS {
            match self.try_settle_anew(scope, &mut ending).await {
                Ok(Some(committed)) => return committed,
                Ok(None) => return SettledRun::of(self.ended(ending)),
                Err(error) => tracing::warn!(
                    run.id = %self.run_id,
                    trace.id = self.request.trace.map(tracing::field::display),
                    error.code = %error.failure().code,
                    "the end of the run could not be logged yet"
                ),
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
        let ending = match may_be_committed {
            true => uncertain(ending),
            false => ending,
        };
        SettledRun::of(self.ended(ending))
    }

    async fn try_settle_anew(
        &self,
        scope: &Scope,
        ending: &mut RunEnd,
    ) -> Result<Option<SettledRun>, DbError> {
        let mut connection = self.local.connect().await?;
        let tx = connection.begin("settle a run").await?;
        let mut found = self.found(&tx, scope).await?;
        if found.as_ref().is_none_or(|run| run.outcome.is_none()) {
            lock::take(&tx, scope).await?;
            found = self.found(&tx, scope).await?;
        }
        let is_committed = |run: &RunRecord| match run.outcome {
            None | Some(Outcome::Interrupted) => false,
            Some(
                Outcome::Succeeded
                | Outcome::NoChange
                | Outcome::Partial
                | Outcome::Failed
                | Outcome::Refused
                | Outcome::DryRun
                | Outcome::Unknown,
            ) => true,
        };
        if let Some(record) = found.filter(is_committed) {
            let changes = changes::changes(&tx, self.run_id, SAMPLE).await?;
            let details = log::details(&tx, self.run_id).await?;
            return Ok(Some(SettledRun {
                record,
                changes,
                held_back: details.held_back,
                is_comparison_due: false,
            }));
        }
        log::finish(&tx, self.run_id, ending).await?;
        tx.commit().await?;
        Ok(None)
    }

    async fn found(&self, tx: &Tx<'_, Local>, scope: &Scope) -> Result<Option<RunRecord>, DbError> {
        log::by_id(tx, scope.log(), self.run_id).await
    }
}

/// Marks the outcome as unknown: the commit was not answered, and the log could not be read since.
fn uncertain(ending: RunEnd) -> RunEnd {
    let doubt = "It is not known whether the changes were committed; the log tells it when the local database answers again.";
    let error = ending.error.map(|error| Failure {
        message: format!("{} {doubt}", error.message),
        ..error
    });
    RunEnd {
        outcome: Outcome::Unknown,
        error,
        ..ending
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

/// Returns the error of a run that rejected rows. It speaks of changes and not of meters, because a rejected change
/// may be the deactivation of a meter that is missing on the remote.
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
