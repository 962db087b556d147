//! The end of a run: into the log with the meters, or, where the connection was lost, as it is found.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::meter::{Change, HeldBack, Outcome, Progress};
use crate::sync::{Compared, Done, SyncError};

use super::begin::Begun;
use super::log::{self, Ending};
use super::order::Order;
use super::report::{RunReport, SAMPLE};
use super::status::RunRecord;
use super::table::Scope;
use super::warnings::joined;
use super::{clocks, columns, history, lock};

/// The end of a run.
#[derive(Clone)]
pub(super) struct End {
    pub(super) record: RunRecord,
    /// The first changes.
    pub(super) changes: Vec<Change>,
    /// The deactivations, if the brake held them back.
    pub(super) held_back: Option<HeldBack>,
    /// Whether the contents are to be compared now.
    pub(super) is_comparison_due: bool,
}

impl End {
    /// An end with nothing changed.
    pub(super) fn of(record: RunRecord) -> Self {
        Self {
            record,
            changes: Vec::new(),
            held_back: None,
            is_comparison_due: false,
        }
    }

    /// What whoever waits is told.
    pub(super) fn report(self, now: DateTime<Utc>) -> RunReport {
        RunReport {
            held_back: self.held_back,
            ..RunReport::of(&self.record, self.changes, now)
        }
    }
}

/// Whether the end of a run stands in the log.
pub(super) enum Settled {
    Here(End),
    /// The transaction can no longer log it; this is how the run ended.
    NotYet(Ending),
    /// The commit was not answered; this is how the run ended unless it was committed.
    Unanswered(Ending),
}

/// How often and at what distance the end of a run is tried to be logged after the connection of the
/// run was lost. A vanished machine's lock is let go within 7 s (see [`Connection::begin`]).
const SETTLE_ATTEMPTS: usize = 4;
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

impl Order<'_> {
    pub(super) async fn succeed(
        &self,
        run: Begun<'_>,
        Done {
            synced,
            refusal,
            compared,
        }: Done,
        reached: &Progress,
    ) -> Result<Settled, DbError> {
        let outcome = match &synced.counts {
            _ if self.request.dry_run => Outcome::DryRun,
            counts if counts.rejected > 0 => Outcome::Partial,
            counts if counts.changes() > 0 => Outcome::Succeeded,
            _ => Outcome::NoChange,
        };
        // Where rows were rejected the sides differ, and the next run compares contents by itself.
        let is_comparison_due =
            run.is_comparison_due && compared == Compared::Differences && outcome.is_success();
        let held_back = refusal.as_ref().and_then(SyncError::held_back).cloned();
        let partial = (outcome == Outcome::Partial).then(|| rejected_rows(synced.counts.rejected));
        let error = partial.or_else(|| refusal.map(|refusal| refusal.failure()));
        let mut ending = Ending {
            outcome,
            finished_at: self.shared.clock.now(),
            counts: synced.counts,
            error,
            remote_bytes: reached.remote_bytes,
            changes_truncated: synced.changes_truncated,
            compared: (!self.request.dry_run).then_some(compared),
            warning: joined([
                altered(&synced.altered),
                clocks::warning(self.shared.clock.ahead()),
                run.column_warning(None),
            ]),
            phases: reached.times(Instant::now()),
            held_back: held_back.clone(),
        };
        log::rejected(&run.tx, self.run_id, &synced.rejected).await?;
        self.keep_columns(&run).await?;
        log::finish(&run.tx, self.run_id, &mut ending).await?;
        let changes = history::changes(&run.tx, self.run_id, SAMPLE).await?;
        if let Err(error) = run.tx.commit().await {
            let ending = self.failed(error.failure(), false, Some(reached));
            self.publish_databases(&ending);
            return Ok(Settled::Unanswered(ending));
        }
        self.publish_databases(&ending);
        Ok(Settled::Here(End {
            record: self.ended(ending),
            changes,
            held_back,
            is_comparison_due,
        }))
    }

    /// Undoes what the run did and logs why, in the transaction that still holds the lock. Where the brake held meters back,
    /// it wrote down which, and nothing else.
    pub(super) async fn settle(&self, run: Begun<'_>, ending: &mut Ending) -> Result<(), DbError> {
        if ending.held_back.is_none() {
            run.tx.back_to("work").await?;
        }
        self.keep_columns(&run).await?;
        log::finish(&run.tx, self.run_id, ending).await?;
        run.tx.commit().await
    }

    /// Keeps what the run found of the columns, however it ended. A dry run leaves that to the next run.
    async fn keep_columns(&self, run: &Begun<'_>) -> Result<(), DbError> {
        match run.column_report.get() {
            Some(report) if !self.request.dry_run => {
                columns::keep(&run.tx, &run.scope, report).await
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Finds out through a new connection how the run ended, and logs it if nobody has. The log is read first, as another run may
    /// hold the lock by now: the log tells how a run ended that was committed, and that a run was marked
    /// interrupted, which can happen only after its transaction was over. Without either, the transaction may still be
    /// going on, and ends before the lock is ours.
    pub(super) async fn settle_anew(
        &self,
        scope: &Scope,
        mut ending: Ending,
        may_be_committed: bool,
    ) -> End {
        for _ in 0..SETTLE_ATTEMPTS {
            match self.try_settle_anew(scope, &mut ending).await {
                Ok(Some(committed)) => return committed,
                Ok(None) => return End::of(self.ended(ending)),
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
        End::of(self.ended(ending))
    }

    async fn try_settle_anew(
        &self,
        scope: &Scope,
        ending: &mut Ending,
    ) -> Result<Option<End>, DbError> {
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
            let changes = history::changes(&tx, self.run_id, SAMPLE).await?;
            let details = history::details(&tx, self.run_id).await?;
            return Ok(Some(End {
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
        history::by_id(tx, (&scope.table, Some(&scope.tenant.id)), self.run_id).await
    }
}

/// The end of a run whose commit was not answered, and of which the log could not be asked since.
fn uncertain(ending: Ending) -> Ending {
    let doubt = "It is not known whether the changes were committed; the log tells it when the local database answers again.";
    let error = ending.error.map(|error| Failure {
        message: format!("{} {doubt}", error.message),
        ..error
    });
    Ending {
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

/// What was refused may be the deactivation of a meter that the remote has no more.
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
