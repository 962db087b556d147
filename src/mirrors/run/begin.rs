//! Starts a run: finds its tenant, takes its locks and writes its log row. There are two locks (see `store::run_lock`):
//! the start lock, held only while a run is being started, and the run lock, held for the whole run.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::db::{Connection, DbError, Local, Tx, both};
use crate::engine::column_drift::{ColumnDriftReport, KnownColumns};
use crate::engine::{RowsToCompare, SyncError, TableHolder};
use crate::error::Failure;
use crate::model::{Pause, RunId, RunOutcome, RunRecord};

use super::run_task::RunTask;
use crate::mirrors::RunRequestOutcome;
use crate::reports::pause_text;
use crate::reports::run_report::{RunReport, SAMPLE};
use crate::store::log::LogFilter;
use crate::store::{changes, log, migrations, pauses, recorded_columns, run_lock};
use crate::tenants;
use crate::tenants::look_up_local_table::LocalTable;
use crate::tenants::run_scope::RunScope;

/// The result of an attempt to start a run.
pub(crate) enum StartResult<'c> {
    StartedRun(Box<StartedRun<'c>>),
    /// The run did not start, and its request was answered, with an error if the mirror is paused. The table is given if
    /// the tenant cannot be determined: the log of this table then has the failed run.
    Answered(Result<RunRequestOutcome, Failure>, Option<Box<LocalTable>>),
}

/// A run that has started: it holds the run lock of its tenant and table, and the log has its row.
pub(crate) struct StartedRun<'c> {
    /// The transaction that holds the run lock.
    pub(crate) tx: Tx<'c, Local>,
    pub(crate) scope: RunScope,
    pub(crate) other_tenant: TableHolder,
    pub(crate) known_columns: KnownColumns,
    /// How the synced columns differ from those of earlier runs. Set as soon as the run has compared them.
    pub(crate) column_report: OnceLock<ColumnDriftReport>,
    /// A warning that the remote was restored or swapped for another, or that a strict brake cannot find that out. Set
    /// as soon as the run has noticed it.
    pub(crate) remote_change: OnceLock<&'static str>,
    /// Whether to compare the contents of all rows after this run, because the last such comparison was too long ago.
    pub(crate) is_comparison_due: bool,
}

impl StartedRun<'_> {
    /// Returns the warning about columns that the remote changed (drift) or that are no longer synced. `None` if there
    /// is nothing to warn of, or if the run failed because of the drift, which its error then describes.
    pub(crate) fn column_warning(&self, error: Option<&SyncError>) -> Option<String> {
        let is_drift = matches!(error, Some(SyncError::Drift(_)));
        let report = self.column_report.get().filter(|_| !is_drift);
        report.and_then(ColumnDriftReport::warning)
    }

    /// Returns the warning that the remote was restored or swapped for another. `None` if it was not, or if the run was
    /// refused because of it, which its error then says.
    pub(crate) fn remote_warning(&self, error: Option<&SyncError>) -> Option<String> {
        let is_told = matches!(error, Some(SyncError::RemoteChanged { .. }));
        let told = self.remote_change.get().filter(|_| !is_told);
        told.map(|text| (*text).to_owned())
    }
}

/// The result of one attempt to start a run.
enum StartAttemptOutcome {
    /// Another attempt is needed: another process is starting a run or takes a slot (scheduled time) over, or a run of
    /// this mirror is just ending.
    TryAgain,
    /// The run can start. The attempt holds the start lock.
    CanStart,
    Answered(RunRequestOutcome),
    /// The mirror is paused.
    Paused(Pause),
}

/// The pause between two attempts to start a run. Other processes hold the start lock for some milliseconds.
const PAUSE: Duration = Duration::from_millis(25);

/// How long to try before the run fails. Another process may hold the start lock for long if it waits for a connection
/// of a pooler that has few connections.
const PATIENCE: Duration = Duration::from_secs(300);

/// A process that holds the run lock for this much longer than the time limits of a run allow counts as frozen. A
/// process that still works has given up the run by then.
const BEYOND: Duration = Duration::from_secs(10);

/// For how many hours a request with the same idempotency key is answered with the run of the first request.
const IDEMPOTENCY_HOURS: i64 = 24;

impl RunTask<'_> {
    /// Starts the run, or returns why it does not start. Opens a connection for the run and stores it in `slot`, a
    /// variable of the caller. Notifies `may_connect` as soon as it is sure that the run will need the remote. Fails if other processes prevent the start for [`PATIENCE`], because they hold the start
    /// lock (held while a run is being started).
    ///
    /// Between two attempts to take that lock, no connection is held, and only one run is started at a time in the
    /// database. Otherwise, behind a pooler with few connections, processes that each hold one connection and need
    /// another would wait for each other.
    pub(crate) async fn start<'c>(
        &mut self,
        slot: &'c mut Option<Connection<Local>>,
        may_connect: &Notify,
    ) -> Result<StartResult<'c>, Failure> {
        let given_up = Instant::now() + PATIENCE;
        while Instant::now() < given_up {
            let starting = self.mirror.starting.lock().await;
            let mut connection = self.local.connect().await?;
            migrations::run(&mut connection).await?;
            let tx = connection.begin("start a run").await?;
            let (table, tenant) = tenants::find(&tx, self.mirror.mapping()).await?;
            let scope = match tenant {
                Ok(tenant) => RunScope { tenant, table },
                Err(failure) => {
                    let requested = self.fail_without_tenant(tx, &table, failure).await?;
                    return Ok(StartResult::Answered(Ok(requested), Some(Box::new(table))));
                }
            };
            match self.attempt(&tx, &scope).await? {
                StartAttemptOutcome::TryAgain => {}
                StartAttemptOutcome::CanStart => {
                    may_connect.notify_one();
                    return Ok(self.take_run_lock_and_log(tx, scope, slot).await?);
                }
                StartAttemptOutcome::Answered(requested) => {
                    return Ok(StartResult::Answered(Ok(requested), None));
                }
                StartAttemptOutcome::Paused(pause) => {
                    let refusal = Err(pause_text::refusal(&pause));
                    return Ok(StartResult::Answered(refusal, None));
                }
            }
            drop(tx);
            drop(connection);
            drop(starting);
            tokio::time::sleep(PAUSE).await;
        }
        Err(DbError::silence::<Local>("start a run", PATIENCE).failure())
    }

    async fn attempt(
        &mut self,
        tx: &Tx<'_, Local>,
        scope: &RunScope,
    ) -> Result<StartAttemptOutcome, DbError> {
        if !run_lock::try_to_start(tx).await? {
            return Ok(StartAttemptOutcome::TryAgain);
        }
        let is_running = run_lock::is_held(tx, &scope.text()).await?;
        if let Some(requested) = self.same_request(tx, scope, is_running).await? {
            return Ok(StartAttemptOutcome::Answered(requested));
        }
        if !is_running {
            return self.start_unless_paused(tx, scope).await;
        }
        let limits = &self.mirror.config().limits;
        let longest = limits.run_timeout + limits.statement_timeout + BEYOND;
        if run_lock::end_frozen(tx, &scope.text(), longest).await? {
            return Ok(StartAttemptOutcome::TryAgain);
        }
        // If the run lock is held, but the log has no run in progress, a run has just ended and is about to release the
        // lock.
        let running = log::running(tx, scope.log()).await?;
        Ok(running.map_or(StartAttemptOutcome::TryAgain, |running| {
            StartAttemptOutcome::Answered(RunRequestOutcome::already_running(&running, self.now()))
        }))
    }

    /// Finds out whether the mirror is paused. If so, a run of the schedule becomes a dry run, which tells what a sync
    /// would change. Other runs, except dry runs, do not start.
    async fn start_unless_paused(
        &mut self,
        tx: &Tx<'_, Local>,
        scope: &RunScope,
    ) -> Result<StartAttemptOutcome, DbError> {
        if self.record.dry_run {
            return Ok(StartAttemptOutcome::CanStart);
        }
        let pause = pauses::of_mirror(tx, &scope.tenant.id, &scope.table.name).await?;
        let Some(pause) = pause else {
            return Ok(StartAttemptOutcome::CanStart);
        };
        if !self.record.trigger.is_schedule() {
            return Ok(StartAttemptOutcome::Paused(pause));
        }
        self.record.dry_run = true;
        self.record.reason = Some(pause_text::why_dry_run(&pause));
        Ok(StartAttemptOutcome::CanStart)
    }

    /// Takes the run lock on a second connection and logs the start of the run. `starting` is the transaction that
    /// holds the start lock meanwhile.
    async fn take_run_lock_and_log<'c>(
        &mut self,
        starting: Tx<'_, Local>,
        scope: RunScope,
        slot: &'c mut Option<Connection<Local>>,
    ) -> Result<StartResult<'c>, DbError> {
        let connection = slot.insert(self.local.connect().await?);
        let tx = connection.begin_for_run("sync").await?;
        run_lock::take(&tx, &scope.text()).await?;
        // The run gets a new id, because the wait may have been long. Ids should sort in the order of the runs, as far
        // as clocks allow.
        self.record.run_id = RunId::at(self.now());
        let log = async {
            log::mark_interrupted(&starting, scope.log()).await?;
            self.log_start(&starting, scope.log()).await?;
            self.is_comparison_due(&starting, &scope).await
        };
        let read = async {
            let other_tenant = other_tenant(&tx, &scope).await?;
            let (tenant, table) = (&scope.tenant.id, &scope.table.name);
            Ok((
                other_tenant,
                recorded_columns::known(&tx, tenant, table).await?,
            ))
        };
        // These are two connections, so both work at the same time.
        let (is_comparison_due, (other_tenant, known_columns)) = both(log, read).await?;
        starting.commit().await?;
        tx.savepoint("work").await?;
        Ok(StartResult::StartedRun(Box::new(StartedRun {
            tx,
            scope,
            other_tenant,
            known_columns,
            column_report: OnceLock::new(),
            remote_change: OnceLock::new(),
            is_comparison_due,
        })))
    }

    /// Whether to compare the contents of all rows after this run, because the last such comparison was too long ago.
    /// `false` for a dry run, which should cost little, for a run that corrects what a comparison found, and for a run
    /// that compares all rows itself.
    async fn is_comparison_due(
        &self,
        tx: &Tx<'_, Local>,
        scope: &RunScope,
    ) -> Result<bool, DbError> {
        if self.record.dry_run || !matches!(self.request.compare, RowsToCompare::Differences) {
            return Ok(false);
        }
        let since = self.record.started_at - self.mirror.config().limits.full_compare;
        Ok(!log::was_compared_since(tx, scope.log(), since).await?)
    }

    async fn same_request(
        &self,
        tx: &Tx<'_, Local>,
        scope: &RunScope,
        is_running: bool,
    ) -> Result<Option<RunRequestOutcome>, DbError> {
        let Some(key) = &self.request.idempotency_key else {
            return Ok(None);
        };
        let dry_run = self.record.dry_run;
        let since = self.record.started_at - chrono::Duration::hours(IDEMPOTENCY_HOURS);
        let found = log::by_idempotency_key(tx, scope.log(), key, dry_run, since).await?;
        // A run that failed for a transient reason is tried again. So is a run that was refused: a person may have
        // approved the deactivations by now, or may do so after the new run.
        let is_open = |record: &RunRecord| {
            let mut error = record.error.iter();
            record.outcome == Some(RunOutcome::Refused)
                || error.any(|error| error.code.is_transient())
        };
        let Some(record) = found.filter(|record| !is_open(record)) else {
            return Ok(None);
        };
        if record.outcome.is_none() {
            // If nobody holds the run lock, the process of that run has died, and the request starts a new run.
            return Ok(is_running.then(|| RunRequestOutcome::already_running(&record, self.now())));
        }
        let changes = changes::changes(tx, record.run_id, SAMPLE).await?;
        let report = RunReport::of(&record, changes, self.now());
        Ok(Some(RunRequestOutcome::Finished(Box::new(report))))
    }

    async fn fail_without_tenant(
        &mut self,
        tx: Tx<'_, Local>,
        table: &LocalTable,
        failure: Failure,
    ) -> Result<RunRequestOutcome, DbError> {
        // If the settings name an id that cannot be used, the run is logged under that id. Logged without an id, the
        // failure would be listed among the runs of every tenant of the table.
        let log = table.log(self.mirror.mapping().tenant.as_ref());
        self.log_start(&tx, log).await?;
        let mut ending = self.failed(failure, RunOutcome::Failed, None);
        log::finish(&tx, &mut ending).await?;
        tx.commit().await?;
        Ok(self.ended_at_once(&ending.record))
    }

    async fn log_start(&mut self, tx: &Tx<'_, Local>, log: LogFilter<'_>) -> Result<(), DbError> {
        let key = self.request.idempotency_key.as_deref();
        log::start(tx, log, &mut self.record, key).await
    }

    /// Publishes the end of a run that failed before it could be logged, and returns the answer to its request. Only
    /// this process knows about such a run.
    pub(crate) fn never_began(&self, failure: Failure) -> RunRequestOutcome {
        let end = self.failed(failure, RunOutcome::Failed, None);
        self.ended_at_once(&end.record)
    }

    fn ended_at_once(&self, record: &RunRecord) -> RunRequestOutcome {
        self.publish_ended(record);
        let report = RunReport::of(record, Vec::new(), self.now());
        RunRequestOutcome::Finished(Box::new(report))
    }
}

/// Finds out whether the local table belongs to another tenant. Only a table without a tenant column can. Such a table
/// is locked first, so the answer stays true until the transaction ends.
async fn other_tenant(tx: &Tx<'_, Local>, scope: &RunScope) -> Result<TableHolder, DbError> {
    if scope.table.tenant_type.is_some() {
        return Ok(TableHolder::Nobody);
    }
    if !run_lock::try_table(tx, &scope.table.name).await? {
        return Ok(TableHolder::Running);
    }
    let other = tenants::other(tx, scope).await?;
    Ok(other.map_or(TableHolder::Nobody, TableHolder::Tenant))
}
