//! Carries out one run: lock, log, sync, settle.
//!
//! The lock, the meters, the change rows and the run's outcome live in one local transaction, so they
//! become true together. Whatever goes wrong is settled in that same transaction if it still can be,
//! else through a new connection once the lock tells that the old one is over. Contents are compared after that
//! (`contents`), so a comparison that fails undoes nothing.

use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::db::{Connection, Database, Local, Remote, Tx};
use crate::error::{ErrorCode, Failure};
use crate::meter::{Outcome, Phase, Progress, RunId, TenantId};
use crate::sync::{self, Done, Earlier, Job, SyncError};

use super::begin::{Begun, Start};
use super::here::{self, RunningHere};
use super::log::Ending;
use super::order::Order;
use super::report::RunReport;
use super::settle::{End, Settled};
use super::status::TenantStatus;
use super::table::{LocalTable, Scope};
use super::warnings::joined;
use super::{Request, Requested, Shared, Ticket, retention};

/// Carries out a request, and compares the contents after it where that is due; `begun` is answered as soon as it is
/// known what becomes of the request.
pub(super) async fn run(shared: &Shared, request: &Request, begun: oneshot::Sender<Requested>) {
    let Some(mut ended) = run_once(shared, request, begun).await else {
        return;
    };
    if ended.end.is_comparison_due {
        ended.compare_contents().await;
        ended.tell();
    }
    let Ended { scope, .. } = ended;
    prune(shared, &scope.table, Some(&scope.tenant.id)).await;
}

async fn prune(shared: &Shared, table: &LocalTable, tenant: Option<&TenantId>) {
    if let (Some(local), Some(keep)) = (&shared.local, shared.config.limits.keep_runs) {
        retention::prune(local, (table, tenant), keep).await;
    }
}

/// A run that has ended, for what may follow.
pub(super) struct Ended<'a> {
    pub(super) order: Order<'a>,
    pub(super) remote: &'a Database<Remote>,
    pub(super) scope: Scope,
    pub(super) end: End,
    told: watch::Sender<Option<Box<RunReport>>>,
}

impl Ended<'_> {
    /// Tells whoever waits for the run how it ended.
    fn tell(&self) {
        let now = self.order.shared.clock.now();
        self.told
            .send_replace(Some(Box::new(self.end.clone().report(now))));
    }
}

/// Carries out a request; `None` if it did not become a run.
pub(super) async fn run_once<'a>(
    shared: &'a Shared,
    request: &'a Request,
    begun: oneshot::Sender<Requested>,
) -> Option<Ended<'a>> {
    let (Some(remote), Some(local)) = (&shared.remote, &shared.local) else {
        return None;
    };
    let starting = shared.starting.lock().await;
    let mut order = Order::new(shared, local, request);
    let mut connection = None;
    let run = match order.start(&mut connection).await {
        Ok(Start::Begun(run)) => *run,
        Ok(Start::Answered(requested)) => return answer(begun, requested),
        Ok(Start::NoTenant(requested, table)) => {
            drop(starting);
            drop(begun.send(requested));
            prune(shared, &table, None).await;
            return None;
        }
        Err(failure) => return answer(begun, order.never_began(failure)),
    };
    let observer = watch::Sender::new(Progress::start(Instant::now()));
    let told = watch::Sender::new(None);
    let ticket = Ticket {
        begun: Box::new(run.record.clone()),
        progress: observer.subscribe(),
        end: told.subscribe(),
        clock: shared.clock.clone(),
    };
    let cancel = CancellationToken::new();
    order.publish_begun(&run, &ticket, &cancel);
    let _running = Running(shared, order.run_id);
    drop(begun.send(Requested::Started(ticket)));
    drop(starting);
    let scope = run.scope.clone();
    let end = match Box::pin(order.conduct(remote, run, (&observer, &cancel))).await {
        Settled::Here(end) => end,
        Settled::NotYet(ending) => {
            discard(connection);
            order.settle_anew(&scope, ending, false).await
        }
        Settled::Unanswered(ending) => {
            discard(connection);
            order.settle_anew(&scope, ending, true).await
        }
    };
    order.publish_ended(&end.record);
    let ended = Ended {
        order,
        remote,
        scope,
        end,
        told,
    };
    ended.tell();
    Some(ended)
}

fn discard(connection: Option<Connection<Local>>) {
    if let Some(connection) = connection {
        connection.discard();
    }
}

/// Takes the run back from the status however its task ends; otherwise a bug in one run would make
/// the process answer "already running" for ever.
struct Running<'a>(&'a Shared, RunId);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0
            .here
            .send_modify(|here| here.no_longer_running(self.1));
    }
}

/// Answers a request that did not become a run. Nobody may be waiting any more.
fn answer<T>(begun: oneshot::Sender<Requested>, requested: Requested) -> Option<T> {
    drop(begun.send(requested));
    None
}

impl Order<'_> {
    fn publish_begun(&self, run: &Begun<'_>, ticket: &Ticket, cancel: &CancellationToken) {
        let id = run.scope.tenant.id.as_str().to_owned();
        let tenant = TenantStatus {
            id,
            name: run.scope.tenant.name.clone(),
        };
        let running = RunningHere {
            record: run.record.clone(),
            progress: ticket.progress(),
            cancel: cancel.clone(),
        };
        self.shared.here.send_modify(|here| {
            here.running = Some(running);
            here.tenant = Some(tenant);
            here.local = here::connection(None, self.started_at);
        });
        tracing::info!(
            run.id = %self.run_id,
            run.trigger = %self.request.trigger,
            trace.id = self.request.trace.map(tracing::field::display),
            tenant.id = %run.scope.tenant.id,
            dry_run = self.request.dry_run,
            "sync started"
        );
    }

    async fn conduct(
        &self,
        remote: &Database<Remote>,
        run: Begun<'_>,
        (observer, cancel): (&sync::Observer, &CancellationToken),
    ) -> Settled {
        let limits = &self.shared.config.limits;
        let job = Job {
            run_id: self.run_id,
            tenant: &run.scope.tenant.given,
            mapping: &self.shared.config.mapping,
            limits,
            occupant: run.occupant.clone(),
            compare: self.request.compare.clone(),
            hash_bits: u64::BITS,
            earlier: Earlier::default(),
            dry_run: self.request.dry_run,
            mass_deactivation: &self.request.allow.mass_deactivation,
            allow_tenant_change: self.request.allow.tenant_change,
            known_columns: &run.known_columns,
            column_report: &run.column_report,
        };
        let work = work(remote, &run.tx, &job, observer);
        let work = tokio::time::timeout(limits.run_timeout, work);
        let worked = cancel.run_until_cancelled(Box::pin(work)).await;
        let reached = *observer.borrow();
        let ending = match worked {
            Some(Ok(Ok(done))) => match self.succeed(run, done, &reached).await {
                Ok(settled) => return settled,
                Err(error) => self.failed(error.failure(), false, Some(&reached)),
            },
            Some(Ok(Err(error))) => {
                let mut ending = self.failed(
                    sync::failure(&error, &job.mapping.source),
                    error.is_refusal(),
                    Some(&reached),
                );
                ending.held_back = error.held_back().cloned();
                let columns = run.column_warning(Some(&error));
                ending.warning = joined([ending.warning, columns]);
                if !run.tx.is_silent() && self.settle(run, &mut ending).await.is_ok() {
                    self.publish_databases(&ending);
                    return Settled::Here(End {
                        held_back: error.held_back().cloned(),
                        ..End::of(self.ended(ending))
                    });
                }
                ending
            }
            Some(Err(_elapsed)) => {
                let overtime = overtime(limits.run_timeout, reached.phase);
                self.failed(overtime, false, Some(&reached))
            }
            // How the databases stand is not known from this.
            None => {
                return Settled::NotYet(Ending {
                    outcome: Outcome::Interrupted,
                    ..self.failed(cancelled(), false, Some(&reached))
                });
            }
        };
        self.publish_databases(&ending);
        Settled::NotYet(ending)
    }

    /// Publishes how the databases stood when the run ended.
    pub(super) fn publish_databases(&self, ending: &Ending) {
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
}

/// Reads and writes: one remote snapshot, and the transaction of the run.
async fn work(
    remote: &Database<Remote>,
    local: &Tx<'_, Local>,
    job: &Job<'_>,
    observer: &sync::Observer,
) -> Result<Done, SyncError> {
    let mut connection = remote.connect().await?;
    let result = read_and_write(&mut connection, local, job, observer).await;
    // An hour may pass till the next run; the central database need not hold a connection for it.
    connection.discard();
    result
}

/// Where a remote table is rewritten as the snapshot is taken, or may be as it is a foreign one, a new snapshot is taken; so often
/// at most.
const SNAPSHOTS: u32 = 3;

async fn read_and_write(
    connection: &mut Connection<Remote>,
    local: &Tx<'_, Local>,
    job: &Job<'_>,
    observer: &sync::Observer,
) -> Result<Done, SyncError> {
    let mut tries = 1..=SNAPSHOTS;
    let mut job = job.clone();
    let done = loop {
        let locks = sync::locks_of(
            connection,
            &job.mapping.source,
            job.earlier.is_foreign_awaited,
        )
        .await?;
        let snapshot = connection.snapshot("sync", &locks).await?;
        match sync::run(snapshot, local, &job, observer).await {
            Err(SyncError::Rewritten(_)) if tries.next().is_some() => {
                job.earlier.is_foreign_awaited = true;
            }
            Err(error) if !job.earlier.leaves_long_rows && error.is_of_a_long_row() => {
                job.earlier.leaves_long_rows = true;
            }
            ended => break ended?,
        }
        job.earlier.bytes = observer.borrow().remote_bytes;
        local.back_to("work").await?;
        local.savepoint("work").await?;
    };
    // What is logged of the run needs nothing of the role's own.
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
