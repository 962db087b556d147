//! One mirror: the handle with which every surface starts runs and reads what happened in them.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, oneshot, watch};

use crate::config::Mapping;
use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};
use crate::model::{Outcome, RunId, TenantId};

use super::live_state::LiveState;
use super::local_table::{self, LocalTable};
use super::process::Process;
use super::run::report::RunReport;
use super::shared_read::SharedRead;
use super::state::meter_counts::MeterCounter;
use super::state::read_state::Observed;
use super::state::status::StatusQuery;
use super::tenant::{self, Tenant};
use super::{Request, Requested, run};

/// One tenant's meters in one local table. Starts runs, and reports what happened in them. Clones share one state.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub(super) shared: Arc<MirrorInner>,
}

/// What the clones of a [`Mirror`] share.
#[derive(Debug)]
pub(super) struct MirrorInner {
    pub(super) process: Arc<Process>,
    /// Which rows are mirrored, and in which local table.
    pub(super) mapping: Mapping,
    /// Held while a run is being started, so that requests cannot starve each other of connections.
    pub(super) starting: Mutex<()>,
    pub(super) live_state: watch::Sender<LiveState>,
    /// The state of the mirror as it was last read from the local database.
    pub(super) observed: Arc<SharedRead<Observed>>,
    pub(super) meter_counter: MeterCounter,
}

/// Gives access to what all mirrors of the process share.
impl Deref for Mirror {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.shared.process
    }
}

impl Mirror {
    pub(super) fn new(process: Arc<Process>, mapping: Mapping) -> Self {
        let live_state = LiveState::new(process.remote.is_some(), process.local.is_some());
        // Of one among many, a state is kept only while somebody waits for it.
        let observed = SharedRead::new(!process.config.tenants.is_one());
        Self {
            shared: Arc::new(MirrorInner {
                process,
                mapping,
                starting: Mutex::new(()),
                live_state: watch::Sender::new(live_state),
                observed: Arc::new(observed),
                meter_counter: MeterCounter::default(),
            }),
        }
    }

    /// Which rows are mirrored, and in which local table.
    pub fn mapping(&self) -> &Mapping {
        &self.shared.mapping
    }

    /// Returns the tenant's id, in its canonical spelling, and the tenant's name. Fails if the tenant is not known, or
    /// if the local database does not answer.
    pub(super) async fn tenant_in(
        &self,
        tx: &Tx<'_, Local>,
    ) -> Result<(TenantId, Option<String>), Failure> {
        let table = local_table::find(tx, self.mapping()).await?;
        let tenant = tenant::resolve(tx, self.mapping(), &table).await?;
        Ok((tenant.id, tenant.name))
    }

    /// Returns the local table, and the tenant if it is known.
    pub(super) async fn whose(
        &self,
        tx: &Tx<'_, Local>,
    ) -> Result<(LocalTable, Option<Tenant>), DbError> {
        let table = local_table::find(tx, self.mapping()).await?;
        let tenant = tenant::known(tx, self.mapping(), &table).await?;
        Ok((table, tenant))
    }

    /// Cancels a run of this process. The run ends as `interrupted` and changes no meter, unless it is already
    /// writing its result. Returns `false` if this process has no such run in progress.
    pub fn cancel(&self, id: RunId) -> bool {
        let live_state = self.shared.live_state.borrow();
        let running = live_state.running.as_ref();
        let running = running.filter(|running| running.record.run_id == id);
        running.inspect(|running| running.cancel.cancel()).is_some()
    }

    /// Cancels the mirror's run in progress in this process, if there is one.
    pub(super) fn cancel_any(&self) {
        let running = self.shared.live_state.borrow().running.clone();
        if let Some(running) = running {
            running.cancel.cancel();
        }
    }

    /// Builds the report of a run as it is now. Fails if the run is not known: it is not in the log, or the local
    /// database is down and it is not the last run of this process.
    pub async fn report(&self, id: RunId) -> Result<RunReport, Failure> {
        let query = StatusQuery {
            run_id: Some(id),
            include_changes: true,
            changes_limit: run::report::SAMPLE,
            ..StatusQuery::default()
        };
        let status = self.status(&query).await?;
        let now = self.now();
        let record = status.history.into_iter().find(|run| run.run_id == id);
        let Some(record) = record else {
            // While the local database is down, only the last run of this process is known.
            let why = status.connections.local.error;
            return Err(why.unwrap_or_else(|| {
                Failure::new(
                    ErrorCode::Internal,
                    format!("Nothing is known of run {id}."),
                )
            }));
        };
        let is_running = status.running.is_some_and(|running| running.run_id == id);
        let mut report = match record.outcome {
            None if !is_running => RunReport::abandoned(&record, now),
            None | Some(_) => RunReport::of(&record, status.changes.unwrap_or_default(), now),
        };
        if report.outcome == Some(Outcome::Refused) {
            let detail = self.run(id).await?;
            report.held_back = detail.and_then(|detail| detail.held_back);
        }
        Ok(report)
    }

    /// Publishes until when the schedule waits to retry a failed slot; `None` if it does not wait.
    pub fn set_waiting(&self, until: Option<DateTime<Utc>>) {
        self.shared
            .live_state
            .send_modify(|live_state| live_state.waiting_until = until);
    }

    /// Requests a run and waits for its end. If `and_comparison` is set, also waits for the end of the comparison of
    /// contents that may follow the run.
    pub async fn run_to_end(
        &self,
        request: Request,
        and_comparison: bool,
    ) -> Result<RunReport, Failure> {
        let mut ticket = match self.request(request).await? {
            Requested::Started(ticket) => ticket,
            Requested::AlreadyRunning(report) | Requested::Finished(report) => return Ok(*report),
        };
        loop {
            let report = ticket.wait(LONGEST_WAIT).await;
            if ticket.is_over() || report.is_over() && !and_comparison {
                return Ok(report);
            }
        }
    }

    /// Starts a run, unless one is in progress or the idempotency key of the request names an earlier run. If the
    /// caller stops waiting for the answer, the run still starts.
    ///
    /// Fails with `CONFIG_MISSING` or `READ_ONLY` if this process starts no runs, and with `INTERNAL` if a bug ends
    /// the run's task.
    pub async fn request(&self, request: Request) -> Result<Requested, Failure> {
        self.may_sync()?;
        // A request with an idempotency key may be answered with a run that has already ended, even if another run is
        // in progress.
        let running = self.shared.live_state.borrow().running_record();
        if let Some(running) = running.filter(|_| request.idempotency_key.is_none()) {
            let report = RunReport::already_running(&running, self.now());
            return Ok(Requested::AlreadyRunning(Box::new(report)));
        }
        let (begun, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.shared
            .process
            .tasks
            .spawn(async move { run::execute::run(&shared, &request, begun).await });
        answer.await.map_err(|_closed| {
            Failure::new(ErrorCode::Internal, "The run ended without an answer.")
        })
    }
}

/// How long a single wait for a run lasts. Further waits follow until the run is over.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
