//! Carries out one run: takes its lock, logs its start, syncs the mirror, and logs how the run ended.
//!
//! The lock, the changed meters, the record of the changes and the run's outcome belong to one local transaction, so
//! they take effect together. If the run fails, this is logged in the same transaction if possible. Otherwise it is
//! logged through a new connection, once the run lock shows that the old transaction has ended. Contents are compared
//! only after that (`compare_contents_after_run`), so a comparison that fails undoes nothing.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_util::future::{MaybeDone, maybe_done};
use tokio::sync::{Notify, SemaphorePermit, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::db::{Connection, DbError, Local, Remote, Tx};
use crate::engine::{self, EarlierAttempts, FinishedSync, SyncError, SyncJob};
use crate::error::{ErrorCode, FailedSide, Failure};
use crate::model::{Phase, Progress, RunId, RunOutcome, RunRecord};

use super::begin::{StartResult, StartedRun};
use super::run_task::RunTask;
use super::settle::{SettledRun, UnloggedRunEnd};
use crate::mirrors::in_process_state::OwnRun;
use crate::mirrors::{Mirror, RunHandle, RunRequest, RunRequestOutcome};
use crate::reports::connections;
use crate::reports::run_report::RunReport;
use crate::reports::status::NamedTenant;
use crate::store::log::LogFilter;
use crate::store::retention;
use crate::tenants::run_scope::RunScope;

/// Sends the answer to a request for a run: what became of it, or why no run may start.
pub(crate) type RunAnswerSender = oneshot::Sender<Result<RunRequestOutcome, Failure>>;

/// Carries out a request for a run, and sends the answer to `begun` as soon as the run has started or cannot start. If
/// it has started, also waits for its end, compares the contents of all rows if that is due, and deletes old runs from
/// the log.
pub(crate) async fn run(mirror: &Mirror, request: &RunRequest, begun: RunAnswerSender) {
    let permit = match request.is_of_sweep {
        true => mirror.runs.acquire().await.map_err(|_closed| busy()),
        false => permit_soon(mirror).await,
    };
    let Some(requested) = RunTask::new(mirror, request) else {
        return;
    };
    let _permit = match permit {
        Ok(permit) => permit,
        Err(busy) => return answer(begun, Ok(requested.never_began(busy))),
    };
    let Some(mut ended) = requested.run_once(begun).await else {
        return;
    };
    if ended.end.is_comparison_due {
        ended.compare_contents().await;
        ended.tell();
    }
    ended.context.prune(ended.scope.log()).await;
}

/// Waits until the database connections of a run are free, but at most for the connect timeout.
pub(crate) async fn permit_soon(mirror: &Mirror) -> Result<SemaphorePermit<'_>, Failure> {
    let limit = mirror.config().limits.connect_timeout;
    let free = tokio::time::timeout(limit, mirror.runs.acquire()).await;
    free.map_err(|_elapsed| busy())?.map_err(|_closed| busy())
}

/// Sends the answer to a request. Ignores it if nobody waits for the answer any more.
fn answer(begun: RunAnswerSender, requested: Result<RunRequestOutcome, Failure>) {
    drop(begun.send(requested));
}

/// Returns the error of a request that must not wait longer, because runs of other tenants use all database
/// connections.
fn busy() -> Failure {
    let message = "This process is running as many syncs as it may, for other tenants.";
    Failure::new(ErrorCode::LocalTimeout, message)
        .with_remedy("Try again in a moment, or raise METER_SYNC_WORKERS.")
}

/// A run that has ended, with what a comparison of contents after it needs.
pub(crate) struct RunToCompare<'a> {
    pub(crate) context: RunTask<'a>,
    pub(crate) scope: RunScope,
    pub(crate) end: SettledRun,
    told: watch::Sender<Option<Box<RunReport>>>,
}

impl RunToCompare<'_> {
    /// Sends the report to all who wait for the run.
    fn tell(&self) {
        let report = self.end.clone().report(self.context.now());
        self.told.send_replace(Some(Box::new(report)));
    }
}

/// Removes the run from the mirror's published state when this value is dropped, even after a panic. Otherwise the
/// process would answer every later request with "already running".
struct RunningGuard<'a>(&'a Mirror, RunId);

impl Drop for RunningGuard<'_> {
    fn drop(&mut self) {
        let Self(mirror, id) = *self;
        mirror.change_in_process_state(|in_process_state| in_process_state.no_longer_running(id));
    }
}

impl<'a> RunTask<'a> {
    /// Carries out the request up to the end of its run, and sends the answer to `begun`. Does not compare the contents
    /// after the run. Returns `None` if no run was started. Connects to the remote while the run is being started.
    pub(crate) async fn run_once(mut self, begun: RunAnswerSender) -> Option<RunToCompare<'a>> {
        let mut connection = None;
        let may_connect = Notify::new();
        let remote = self.remote;
        let connecting = async {
            may_connect.notified().await;
            remote.connect().await
        };
        let mut connecting = Box::pin(maybe_done(connecting));
        let starting = Box::pin(self.start(&mut connection, &may_connect));
        let started = while_driving(connecting.as_mut(), starting).await;
        let run = match started
            .unwrap_or_else(|failure| StartResult::Answered(Ok(self.never_began(failure)), None))
        {
            StartResult::StartedRun(run) => *run,
            StartResult::Answered(requested, table) => {
                answer(begun, requested);
                if let Some(table) = table {
                    self.prune(table.log(None)).await;
                }
                return None;
            }
        };
        let observer = watch::Sender::new(Progress::start(Instant::now()));
        let told = watch::Sender::new(None);
        let ticket = RunHandle {
            begun: Box::new(self.record.clone()),
            progress: observer.subscribe(),
            end: told.subscribe(),
            clock: self.mirror.clock.clone(),
            mirror: self.mirror.clone(),
        };
        let cancel = CancellationToken::new();
        self.publish_begun(&run, &ticket, &cancel);
        let _running = RunningGuard(self.mirror, self.record.run_id);
        answer(begun, Ok(RunRequestOutcome::Started(ticket)));
        let scope = run.scope.clone();
        let settling = self.sync_and_settle(run, made(connecting.as_mut()), &observer, &cancel);
        let end = match Box::pin(settling).await {
            Ok(end) => end,
            Err(unlogged) => {
                if let Some(connection) = connection {
                    connection.discard();
                }
                self.settle_on_new_connection(&scope, unlogged).await
            }
        };
        self.publish_ended(&end.record);
        let ended = RunToCompare {
            context: self,
            scope,
            end,
            told,
        };
        ended.tell();
        Some(ended)
    }

    /// Deletes old runs from the log.
    async fn prune(&self, log: LogFilter<'_>) {
        if let Some(keep) = self.mirror.config().limits.keep_runs {
            retention::prune(self.local, log, keep).await;
        }
    }

    fn publish_begun(&self, run: &StartedRun<'_>, ticket: &RunHandle, cancel: &CancellationToken) {
        let tenant = NamedTenant::from(&run.scope.tenant);
        let running = OwnRun {
            record: self.record.clone(),
            progress: ticket.progress(),
            cancel: cancel.clone(),
        };
        self.mirror.change_in_process_state(|in_process_state| {
            in_process_state.running = Some(running);
            in_process_state.tenant = Some(tenant);
        });
        self.mirror.note_activity();
        if let Some(heartbeat) = self.heartbeat() {
            heartbeat.begun();
        }
        tracing::info!(
            run.id = %self.record.run_id,
            run.trigger = %self.request.trigger,
            trace.id = self.request.trace.map(tracing::field::display),
            tenant.id = %run.scope.tenant.id,
            dry_run = self.record.dry_run,
            "sync started"
        );
    }

    /// Syncs and logs the end of the run. `connected` opens the connection to the remote.
    async fn sync_and_settle(
        &self,
        run: StartedRun<'_>,
        connected: impl Future<Output = Result<Connection<Remote>, DbError>>,
        observer: &engine::ProgressSender,
        cancel: &CancellationToken,
    ) -> Result<SettledRun, UnloggedRunEnd> {
        let limits = &self.mirror.config().limits;
        let job = SyncJob {
            run_id: self.record.run_id,
            tenant: &run.scope.tenant.given,
            mapping: self.mirror.mapping(),
            limits,
            table_holder: run.other_tenant.clone(),
            compare: self.request.compare.clone(),
            hash_bits: u64::BITS,
            earlier: EarlierAttempts::default(),
            dry_run: self.record.dry_run,
            mass_deactivation: &self.request.allow.mass_deactivation,
            allow_tenant_change: self.request.allow.tenant_change,
            allow_remote_change: self.request.allow.remote_change,
            known_columns: &run.known_columns,
            column_report: &run.column_report,
            remote_change: &run.remote_change,
        };
        let work = self.work(connected, &run.tx, &job, observer);
        let work = tokio::time::timeout(limits.run_timeout, work);
        let worked = tokio::select! {
            worked = cancel.run_until_cancelled(Box::pin(work)) => worked,
            never = self.mirror.cancel_if_asked(self.record.run_id, cancel) => match never {},
        };
        let reached = *observer.borrow();
        let settled = match worked {
            Some(Ok(Ok(done))) => self.succeed(run, done, &reached).await,
            Some(Ok(Err(error))) => self.fail(run, &error, &reached).await,
            Some(Err(_elapsed)) => {
                let overtime = overtime(limits.run_timeout, reached.phase);
                let end = self.failed(overtime, RunOutcome::Failed, Some(&reached));
                Err(UnloggedRunEnd::rolled_back(end))
            }
            // A cancelled run says nothing about the remote, so its state is not published.
            None => {
                let end = self.failed(cancelled(), RunOutcome::Interrupted, Some(&reached));
                return Err(UnloggedRunEnd::rolled_back(end));
            }
        };
        self.publish_remote(match &settled {
            Ok(settled) => &settled.record,
            Err(unlogged) => &unlogged.end.record,
        });
        settled
    }

    /// Publishes the state of the remote: failed if the run failed because of it, otherwise ok.
    fn publish_remote(&self, record: &RunRecord) {
        let failed = record.outcome == Some(RunOutcome::Failed);
        let error = record
            .error
            .clone()
            .filter(|error| failed && error.code.side() == Some(FailedSide::Remote));
        let at = record.finished_at.unwrap_or(record.started_at);
        let remote = connections::ConnectionReport::used(error, at);
        self.mirror.remote_state.send_replace(remote.clone());
        self.mirror
            .change_in_process_state(|in_process_state| in_process_state.remote = remote);
    }

    /// Syncs the mirror: reads from a snapshot of the remote, and writes in the local transaction of the run.
    async fn work(
        &self,
        connected: impl Future<Output = Result<Connection<Remote>, DbError>>,
        local: &Tx<'_, Local>,
        job: &SyncJob<'_>,
        observer: &engine::ProgressSender,
    ) -> Result<FinishedSync, SyncError> {
        let mut connection = connected.await?;
        let result = read_and_write(&mut connection, local, job, observer).await;
        // The only mirror's next run may be an hour away, so its connection to the remote is closed. In a sweep, runs
        // reuse each other's connections, and the sweep closes them at its end.
        if self.mirror.config().tenants.is_one() || result.is_err() {
            connection.discard();
        }
        result
    }
}

/// Waits for the connection that `connecting` makes, or has made already.
async fn made<C>(mut connecting: Pin<&mut MaybeDone<C>>) -> Result<Connection<Remote>, DbError>
where
    C: Future<Output = Result<Connection<Remote>, DbError>>,
{
    connecting.as_mut().await;
    let made = connecting.take_output();
    made.unwrap_or_else(|| Err(DbError::silence::<Remote>("connect", Duration::ZERO)))
}

/// Waits for `main` and returns its result. Meanwhile, drives `other` as well, but does not wait for its end.
async fn while_driving<T>(
    mut other: Pin<&mut impl Future<Output = ()>>,
    main: impl Future<Output = T>,
) -> T {
    let mut main = pin!(main);
    tokio::select! {
        biased;
        done = &mut main => done,
        () = &mut other => main.await,
    }
}

/// How many times a run may start over because a remote table was rewritten between the snapshot and the run's first
/// read of the table. A start over to wait for sessions that rewrite foreign tables counts, too. A start over because
/// of a long row does not count.
const MOST_RESTARTS: u32 = 3;

async fn read_and_write(
    connection: &mut Connection<Remote>,
    local: &Tx<'_, Local>,
    job: &SyncJob<'_>,
    observer: &engine::ProgressSender,
) -> Result<FinishedSync, SyncError> {
    let mut tries = 1..=MOST_RESTARTS;
    let mut job = job.clone();
    let done = loop {
        let locks = engine::locks_of(
            connection,
            &job.mapping.source,
            job.earlier.is_foreign_awaited,
        )
        .await?;
        let snapshot = connection.snapshot("sync", &locks).await?;
        match engine::run(snapshot, local, &job, observer).await {
            Err(SyncError::Rewritten(_)) if tries.next().is_some() => {
                job.earlier.is_foreign_awaited = true;
            }
            Err(error) if !job.earlier.leaves_long_rows && error.exceeds_size_limit() => {
                job.earlier.leaves_long_rows = true;
            }
            ended => break ended?,
        }
        job.earlier.bytes = observer.borrow().remote_bytes;
        local.back_to("work").await?;
        local.savepoint("work").await?;
    };
    // The log statements need nothing from the role's own search path.
    local.pin_path().await?;
    Ok(done)
}

fn cancelled() -> Failure {
    let message = "The run was cancelled before its end; no meter was changed.";
    Failure::new(ErrorCode::Interrupted, message)
        .with_remedy("Sync again when the user wants it; the schedule goes on by itself.")
}

fn overtime(limit: Duration, phase: Phase) -> Failure {
    let code = match phase {
        Phase::Prepare | Phase::Read => ErrorCode::RemoteTimeout,
        Phase::Plan | Phase::Apply => ErrorCode::LocalTimeout,
    };
    let message = format!("The run did not end within {limit:?} and was given up at: {phase}.");
    Failure::new(code, message)
        .with_remedy("Look at the load of both databases, or raise METER_SYNC_RUN_TIMEOUT.")
}
