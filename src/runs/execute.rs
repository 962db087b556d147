//! Carries out one run: lock, log, sync, settle.
//!
//! The lock, the meters, the change rows and the run's outcome live in one local transaction, so they
//! become true together. Whatever goes wrong is settled in that same transaction if it still can be,
//! else through a new connection once the lock tells that the old one is over.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{oneshot, watch};

use crate::clock;
use crate::db::{Connection, Database, DbError, Local, Remote, Tx, migrations};
use crate::error::{ErrorCode, Failure};
use crate::meter::{Change, Counts, Outcome, Progress, RunId};
use crate::sync::{self, Job, SyncError, Synced};

use super::here::{self, RunningHere};
use super::log::{self, Beginning, Ending};
use super::report::{RunReport, SAMPLE};
use super::status::{RunRecord, TenantStatus};
use super::tenant::{self, Tenant};
use super::{Request, Requested, Shared, Ticket, history, lock};

/// Carries out a request; `begun` is answered as soon as it is known what becomes of it.
pub(super) async fn run(shared: &Shared, request: &Request, begun: oneshot::Sender<Requested>) {
    let (Some(remote), Some(local)) = (&shared.remote, &shared.local) else {
        return;
    };
    let starting = shared.starting.lock().await;
    let started_at = clock::now();
    let order = Order {
        shared,
        local,
        request,
        run_id: RunId::at(started_at),
        started_at,
    };
    let mut connection = match local.connect().await {
        Ok(connection) => connection,
        Err(error) => return answer(begun, order.never_began(error.failure())),
    };
    let run = match order.start(&mut connection).await {
        Ok(Start::Begun(run)) => run,
        Ok(Start::Answered(requested)) => return answer(begun, requested),
        Err(failure) => return answer(begun, order.never_began(failure)),
    };
    let observer = watch::Sender::new(Progress::START);
    let end = watch::Sender::new(None);
    let ticket = Ticket {
        begun: run.record.clone(),
        progress: observer.subscribe(),
        end: end.subscribe(),
    };
    order.publish_begun(&run, &ticket);
    answer(begun, Requested::Started(ticket));
    drop(starting);
    let tenant = run.tenant.clone();
    let (record, changes) = match Box::pin(order.conduct(remote, run, &observer)).await {
        Settled::Here(record, changes) => (record, changes),
        Settled::NotYet(ending) => {
            connection.discard();
            (order.settle_anew(&tenant, ending).await, Vec::new())
        }
    };
    tell(&record);
    shared.here.send_modify(|here| here.ended(&record));
    end.send_replace(Some(Box::new(RunReport::of(
        &record,
        changes,
        clock::now(),
    ))));
}

fn answer(begun: oneshot::Sender<Requested>, requested: Requested) {
    // Nobody may be waiting any more; the run goes on all the same.
    drop(begun.send(requested));
}

fn tell(record: &RunRecord) {
    let outcome = record.outcome.map_or("none", Outcome::as_str);
    let code = record.error.as_ref().map(|error| error.code.as_str());
    let duration_ms = record
        .finished_at
        .map(|finished| (finished - record.started_at).num_milliseconds());
    tracing::info!(
        run.id = %record.run_id,
        run.trigger = %record.trigger,
        run.outcome = outcome,
        error.code = code,
        duration_ms,
        remote_bytes = record.remote_bytes,
        "{}",
        super::report::summary(record)
    );
}

/// A request on its way.
struct Order<'a> {
    shared: &'a Shared,
    local: &'a Database<Local>,
    request: &'a Request,
    run_id: RunId,
    started_at: DateTime<Utc>,
}

/// What became of the start.
enum Start<'c> {
    Begun(Begun<'c>),
    Answered(Requested),
}

/// A run that holds its tenant's lock and has its log row.
struct Begun<'c> {
    /// The transaction that holds the lock.
    tx: Tx<'c, Local>,
    tenant: Tenant,
    last_tenant: Option<String>,
    record: RunRecord,
}

/// Whether the end of a run stands in the log.
enum Settled {
    Here(RunRecord, Vec<Change>),
    /// The transaction can no longer tell; this is how the run ended unless it did commit.
    NotYet(Ending),
}

/// For how long the lock is tried again while its holder is just letting go of it.
const LETTING_GO: Duration = Duration::from_millis(25);
const LETTING_GO_ATTEMPTS: usize = 80;

/// A repeated request is answered with the first one's run for so long.
const IDEMPOTENCY_HOURS: i64 = 24;

impl Order<'_> {
    async fn start<'c>(&self, connection: &'c mut Connection<Local>) -> Result<Start<'c>, Failure> {
        migrations::run(connection).await?;
        let tx = connection.begin("sync").await.map_err(|e| e.failure())?;
        let tenant = match tenant::resolve(&tx, &self.shared.config.mapping).await {
            Ok(tenant) => tenant,
            Err(failure) if failure.code == ErrorCode::TenantNotConfigured => {
                let requested = self.fail_without_tenant(tx, failure);
                return requested
                    .await
                    .map(Start::Answered)
                    .map_err(|e| e.failure());
            }
            Err(failure) => return Err(failure),
        };
        self.pass_the_door(tx, tenant)
            .await
            .map_err(|e| e.failure())
    }

    async fn pass_the_door<'c>(
        &self,
        tx: Tx<'c, Local>,
        tenant: Tenant,
    ) -> Result<Start<'c>, DbError> {
        let mut second = self.local.connect().await?;
        let door = second.begin("start a run").await?;
        lock::door(&door, &tenant.id).await?;
        if let Some(requested) = self.same_request(&door, &tenant).await? {
            return Ok(Start::Answered(requested));
        }
        let mut attempts = 0;
        while !lock::try_take(&tx, &tenant.id).await? {
            if let Some(running) = history::running(&door, &tenant.id).await? {
                let report = RunReport::already_running(&running, clock::now());
                return Ok(Start::Answered(Requested::AlreadyRunning(Box::new(report))));
            }
            // Its run is in the log as ended; the lock follows in an instant.
            attempts += 1;
            if attempts == LETTING_GO_ATTEMPTS {
                return Err(DbError::silence::<Local>(
                    "take the run lock",
                    LETTING_GO * 80,
                ));
            }
            tokio::time::sleep(LETTING_GO).await;
        }
        log::mark_interrupted(&door, &tenant.id, self.started_at).await?;
        let last_tenant = log::last_tenant(&door, &self.shared.config.mapping).await?;
        log::start(&door, &self.beginning(Some(&tenant))).await?;
        door.commit().await?;
        tx.savepoint("work").await?;
        Ok(Start::Begun(Begun {
            tx,
            tenant,
            last_tenant,
            record: self.record(),
        }))
    }

    async fn same_request(
        &self,
        door: &Tx<'_, Local>,
        tenant: &Tenant,
    ) -> Result<Option<Requested>, DbError> {
        let Some(key) = &self.request.idempotency_key else {
            return Ok(None);
        };
        let since = self.started_at - chrono::Duration::hours(IDEMPOTENCY_HOURS);
        let found = history::by_idempotency_key(door, &tenant.id, key, since).await?;
        let Some(record) = found else { return Ok(None) };
        let now = clock::now();
        if record.outcome.is_none() {
            let report = RunReport::already_running(&record, now);
            return Ok(Some(Requested::AlreadyRunning(Box::new(report))));
        }
        let changes = history::changes(door, record.run_id, SAMPLE).await?;
        Ok(Some(Requested::Finished(Box::new(RunReport::of(
            &record, changes, now,
        )))))
    }

    async fn fail_without_tenant(
        &self,
        tx: Tx<'_, Local>,
        failure: Failure,
    ) -> Result<Requested, DbError> {
        let ending = self.failed(failure, false, 0);
        log::start(&tx, &self.beginning(None)).await?;
        log::finish(&tx, self.run_id, &ending).await?;
        tx.commit().await?;
        Ok(self.ended_at_once(ending))
    }

    /// The run ended before it could be logged: its end is known to this process only.
    fn never_began(&self, failure: Failure) -> Requested {
        if failure.code == ErrorCode::LocalUnreachable {
            let now = clock::now();
            let local = here::connection(Some(failure.clone()), now);
            self.shared.here.send_modify(|here| here.local = local);
        }
        self.ended_at_once(self.failed(failure, false, 0))
    }

    fn ended_at_once(&self, ending: Ending) -> Requested {
        let record = self.ended(ending);
        tell(&record);
        self.shared.here.send_modify(|here| here.ended(&record));
        Requested::Finished(Box::new(RunReport::of(&record, Vec::new(), clock::now())))
    }

    fn publish_begun(&self, run: &Begun<'_>, ticket: &Ticket) {
        let id = run.tenant.id.as_str().to_owned();
        let tenant = TenantStatus {
            id,
            name: run.tenant.name.clone(),
        };
        let running = RunningHere {
            record: run.record.clone(),
            progress: ticket.progress(),
        };
        self.shared.here.send_modify(|here| {
            here.running = Some(running);
            here.tenant = Some(tenant);
            here.local = here::connection(None, self.started_at);
        });
        tracing::info!(
            run.id = %self.run_id,
            run.trigger = %self.request.trigger,
            tenant.id = %run.tenant.id,
            dry_run = self.request.dry_run,
            "sync started"
        );
    }

    async fn conduct(
        &self,
        remote: &Database<Remote>,
        run: Begun<'_>,
        observer: &sync::Observer,
    ) -> Settled {
        let limits = &self.shared.config.limits;
        let job = Job {
            run_id: self.run_id,
            tenant: &run.tenant.id,
            mapping: &self.shared.config.mapping,
            limits,
            last_tenant: run.last_tenant.as_deref(),
            dry_run: self.request.dry_run,
            allow_mass_deactivation: self.request.allow.mass_deactivation,
            allow_tenant_change: self.request.allow.tenant_change,
        };
        let work = tokio::time::timeout(limits.run_timeout, work(remote, &run.tx, &job, observer));
        let worked = work.await;
        let remote_bytes = observer.borrow().remote_bytes;
        let ending = match worked {
            Ok(Ok(synced)) => match self.succeed(run, synced, remote_bytes).await {
                Ok(settled) => return settled,
                Err(error) => self.failed(error.failure(), false, remote_bytes),
            },
            Ok(Err(error)) => {
                let ending = self.failed(error.failure(), error.is_refusal(), remote_bytes);
                if self.settle(run, &ending).await.is_ok() {
                    self.publish_databases(&ending);
                    return Settled::Here(self.ended(ending), Vec::new());
                }
                ending
            }
            Err(_elapsed) => self.failed(overtime(limits.run_timeout), false, remote_bytes),
        };
        self.publish_databases(&ending);
        Settled::NotYet(ending)
    }

    async fn succeed(
        &self,
        run: Begun<'_>,
        synced: Synced,
        remote_bytes: i64,
    ) -> Result<Settled, DbError> {
        let outcome = match &synced.counts {
            _ if self.request.dry_run => Outcome::DryRun,
            counts if counts.rejected > 0 => Outcome::Partial,
            counts if counts.changes() > 0 => Outcome::Succeeded,
            _ => Outcome::NoChange,
        };
        let error = (outcome == Outcome::Partial).then(|| set_aside(synced.counts.rejected));
        let ending = Ending {
            outcome,
            finished_at: clock::now(),
            counts: synced.counts,
            error,
            remote_bytes,
            changes_truncated: synced.changes_truncated,
        };
        log::rejected(&run.tx, self.run_id, &synced.rejected).await?;
        log::finish(&run.tx, self.run_id, &ending).await?;
        let changes = history::changes(&run.tx, self.run_id, SAMPLE).await?;
        run.tx.commit().await?;
        self.publish_databases(&ending);
        Ok(Settled::Here(self.ended(ending), changes))
    }

    /// Undoes what the run did and logs why, in the transaction that still holds the lock.
    async fn settle(&self, run: Begun<'_>, ending: &Ending) -> Result<(), DbError> {
        run.tx.back_to("work").await?;
        log::finish(&run.tx, self.run_id, ending).await?;
        run.tx.commit().await
    }

    /// Finds out through a new connection how the run ended, and logs it if nobody has.
    async fn settle_anew(&self, tenant: &Tenant, ending: Ending) -> RunRecord {
        for _ in 0..SETTLE_ATTEMPTS {
            match self.try_settle_anew(tenant, &ending).await {
                Ok(Some(record)) => return record,
                Ok(None) => return self.ended(ending),
                Err(error) => tracing::warn!(
                    run.id = %self.run_id,
                    error.code = %error.failure().code,
                    "the end of the run could not be logged yet"
                ),
            }
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
        self.ended(ending)
    }

    async fn try_settle_anew(
        &self,
        tenant: &Tenant,
        ending: &Ending,
    ) -> Result<Option<RunRecord>, DbError> {
        let mut connection = self.local.connect().await?;
        let tx = connection.begin("settle a run").await?;
        lock::wait(&tx, &tenant.id).await?;
        let found = history::by_id(&tx, self.run_id).await?;
        let committed = found.filter(|record| {
            record
                .outcome
                .is_some_and(|outcome| outcome != Outcome::Interrupted)
        });
        if committed.is_some() {
            return Ok(committed);
        }
        log::finish(&tx, self.run_id, ending).await?;
        tx.commit().await?;
        Ok(None)
    }

    fn publish_databases(&self, ending: &Ending) {
        let error = ending
            .error
            .clone()
            .filter(|_| ending.outcome == Outcome::Failed);
        let is_remote = |e: &Failure| e.code.as_str().starts_with("REMOTE_");
        let is_local = |e: &Failure| e.code.as_str().starts_with("LOCAL_");
        let now = ending.finished_at;
        self.shared.here.send_modify(|here| {
            here.remote = here::connection(error.clone().filter(is_remote), now);
            here.local = here::connection(error.filter(is_local), now);
        });
    }

    fn beginning<'b>(&'b self, tenant: Option<&'b Tenant>) -> Beginning<'b> {
        Beginning {
            run_id: self.run_id,
            tenant: tenant.map(|tenant| &tenant.id),
            mapping: &self.shared.config.mapping,
            request: self.request,
            started_at: self.started_at,
        }
    }

    fn failed(&self, failure: Failure, refused: bool, remote_bytes: i64) -> Ending {
        Ending {
            outcome: if refused {
                Outcome::Refused
            } else {
                Outcome::Failed
            },
            finished_at: clock::now(),
            counts: Counts::default(),
            error: Some(failure),
            remote_bytes,
            changes_truncated: false,
        }
    }

    fn record(&self) -> RunRecord {
        RunRecord {
            run_id: self.run_id,
            trigger: self.request.trigger,
            actor: self.request.actor.clone(),
            reason: self.request.reason.clone(),
            dry_run: self.request.dry_run,
            started_at: self.started_at,
            finished_at: None,
            outcome: None,
            counts: Counts::default(),
            error: None,
            remote_bytes: 0,
            changes_truncated: false,
        }
    }

    fn ended(&self, ending: Ending) -> RunRecord {
        RunRecord {
            finished_at: Some(ending.finished_at),
            outcome: Some(ending.outcome),
            counts: ending.counts,
            error: ending.error,
            remote_bytes: ending.remote_bytes,
            changes_truncated: ending.changes_truncated,
            ..self.record()
        }
    }
}

/// How often and at what distance the end of a run is tried to be logged after the connection of the
/// run was lost. A vanished machine's lock is let go within 7 s (see [`Connection::begin`]).
const SETTLE_ATTEMPTS: usize = 4;
const SETTLE_PAUSE: Duration = Duration::from_secs(1);

/// Reads and writes: one remote snapshot, and the transaction of the run.
async fn work(
    remote: &Database<Remote>,
    local: &Tx<'_, Local>,
    job: &Job<'_>,
    observer: &sync::Observer,
) -> Result<Synced, SyncError> {
    let mut connection = remote.connect().await?;
    let result = match connection.snapshot("sync").await {
        Ok(snapshot) => sync::run(&snapshot, local, job, observer).await,
        Err(error) => Err(error.into()),
    };
    // An hour may pass till the next run; the central database need not hold a connection for it.
    connection.discard();
    result
}

fn overtime(limit: Duration) -> Failure {
    Failure::new(
        ErrorCode::LocalTimeout,
        format!("The run did not end within {limit:?} and was given up."),
    )
    .with_remedy("Look at the load of both databases, or raise METER_SYNC_RUN_TIMEOUT.")
}

fn set_aside(rejected: i64) -> Failure {
    Failure::new(
        ErrorCode::LocalConstraint,
        format!(
            "{rejected} remote rows were set aside because the local table does not take them."
        ),
    )
    .with_remedy(
        "Read the reasons in the run's rejected rows and mend the remote rows or the local table.",
    )
}
