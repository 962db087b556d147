//! Starts runs and reports what happened in them.
//!
//! Every surface requests a run through [`Mirrors::request`], and learns what happened through
//! [`Mirrors::status`]. A run belongs to this module and not to its caller: it goes on when the caller goes
//! away. A lock in the local database (`run::lock`) allows one run at a time for each mirror. The run log in
//! the same database (`run::log`, `history`) keeps what happened. What only this process knows is published in
//! one `watch` channel (`process`).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, oneshot, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Config;
use crate::db::{Database, DbError, Local, Remote, ServerClock};
use crate::engine::Compare;
use crate::error::{ErrorCode, Failure};
use crate::model::{Outcome, Permission, Progress, RunId, Trigger};
use crate::trace::TraceId;

pub use events::Events;
use events::LogCache;
use process::ProcessState;
pub use run::progress::{Following, RunProgress};
pub use slot_claims::{Claim, ClaimedSlot, ClaimedSlots};
use state::cache::StateCache;
use state::meter_counts::MeterCountCache;

use run::report::{RunReport, RunState};
use state::status::{RunRecord, StatusQuery};

mod events;
pub mod history;
mod local_table;
mod process;
pub mod run;
mod slot_claims;
pub mod state;
pub(crate) mod tenant;

/// The tracing target of the log line that says how a run ended.
pub const RUN_ENDED: &str = "meter_sync::mirrors::ended";

/// A request to start a run.
#[derive(Clone, Debug)]
pub struct Request {
    /// What asks for the run.
    pub trigger: Trigger,
    /// Who asks for it; `None` if the surface does not know.
    pub actor: Option<String>,
    /// Why, in the caller's words; `None` if no reason was given.
    pub reason: Option<String>,
    /// Whether to plan only, and change no meter.
    pub dry_run: bool,
    /// What a person has approved.
    pub allow: Allow,
    /// A second request with the same key and `dry_run` within a day is answered with the run of the first. It
    /// starts a new run if the first run was refused, was interrupted, or failed for a transient reason.
    pub idempotency_key: Option<String>,
    /// The trace that the request belongs to, for the logs.
    pub trace: Option<TraceId>,
    /// Which rows are compared value by value.
    pub compare: Compare,
}

impl Request {
    /// A request for a normal run: no dry run, and with nothing approved.
    pub fn new(trigger: Trigger) -> Self {
        Self {
            trigger,
            actor: None,
            reason: None,
            dry_run: false,
            allow: Allow::default(),
            idempotency_key: None,
            trace: None,
            compare: Compare::Differences,
        }
    }
}

/// What a person has approved although it would otherwise be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Which deactivations are carried out although the brake would hold them back.
    pub mass_deactivation: Permission,
    /// Whether to sync a table that was last synced for another tenant.
    pub tenant_change: bool,
}

/// The reason to log for a run that carries out the deactivations that run `shown` showed.
pub fn approval_of(shown: RunId) -> String {
    format!("to carry out the deactivations that run {shown} showed")
}

/// The answer to a [`Request`].
#[derive(Debug)]
pub enum Requested {
    /// A run was started; it goes on whether or not anyone waits.
    Started(Ticket),
    /// Nothing was started: the run in the report is in progress (`state` is `already_running`).
    AlreadyRunning(Box<RunReport>),
    /// There is nothing to wait for: the run in the report has ended, or failed before it could begin.
    Finished(Box<RunReport>),
}

/// A handle to a run that this process started. Dropping it does not stop the run.
#[derive(Debug)]
pub struct Ticket {
    begun: Box<RunRecord>,
    progress: watch::Receiver<Progress>,
    /// The report, once the run has ended. It is sent again if a comparison of contents adds to it. The channel
    /// closes when no further report can follow.
    end: watch::Receiver<Option<Box<RunReport>>>,
    clock: ServerClock,
}

impl Ticket {
    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.begun.run_id
    }

    /// The progress of the run. The channel closes when the run ends.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Whether no further report can follow.
    pub fn is_over(&self) -> bool {
        self.end.has_changed().is_err()
    }

    /// Waits for the end of the run and of the comparison of contents that may follow it, but at most `limit`.
    /// The `state` of the returned report says whether the run has ended.
    pub async fn wait(&mut self, limit: Duration) -> RunReport {
        let closed = async { while self.end.changed().await.is_ok() {} };
        let is_closed = tokio::time::timeout(limit, closed).await.is_ok();
        if let Some(report) = self.end.borrow().as_deref() {
            return report.clone();
        }
        // Only a bug ends a run's task without a report.
        if is_closed {
            return RunReport::lost(&self.begun, self.clock.now());
        }
        let report = RunReport::of(&self.begun, Vec::new(), self.clock.now());
        RunReport {
            remote_bytes: self.progress.borrow().remote_bytes,
            ..report
        }
    }
}

/// The one way to start a run and to learn what happened. Clones share one state.
#[derive(Clone, Debug)]
pub struct Mirrors {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    remote: Option<Database<Remote>>,
    local: Option<Database<Local>>,
    /// The clock of the local database, which dates runs and slots.
    clock: ServerClock,
    /// Held while a run is being started, so that requests cannot starve each other of connections.
    starting: Mutex<()>,
    process_state: watch::Sender<ProcessState>,
    state_cache: StateCache,
    counted: MeterCountCache,
    latest: LogCache,
    /// The name under which this process claims slots. Each process has a new one.
    claimant: String,
    tasks: TaskTracker,
}

impl Mirrors {
    /// Creates the connection pools for the databases of the settings; nothing connects yet. Runs are spawned
    /// on `tasks`, so that shutdown can wait for them.
    pub fn new(config: Config, tasks: TaskTracker) -> Result<Self, DbError> {
        let limits = &config.limits;
        let remote = config
            .remote
            .as_ref()
            .map(|end| Database::new(end, limits))
            .transpose()?;
        let local = config
            .local
            .as_ref()
            .map(|end| Database::new(end, limits))
            .transpose()?;
        let process_state =
            watch::Sender::new(ProcessState::new(remote.is_some(), local.is_some()));
        let shared = Shared {
            config,
            remote,
            clock: local.as_ref().map(Database::clock).unwrap_or_default(),
            local,
            starting: Mutex::new(()),
            process_state,
            state_cache: StateCache::default(),
            counted: MeterCountCache::default(),
            latest: LogCache::default(),
            claimant: claimant(),
            tasks,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Whether both database URLs are set.
    pub fn is_configured(&self) -> bool {
        self.shared.remote.is_some() && self.shared.local.is_some()
    }

    /// Whether requests for runs are refused.
    pub fn is_read_only(&self) -> bool {
        self.shared.config.read_only
    }

    /// The settings that the runs follow.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The time by the local database's clock: the time of this machine plus the difference last seen. Runs and
    /// slots are dated by that clock, so a wrong clock of this machine hides none of them.
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    /// The host name of this machine, by which people tell sites apart.
    pub fn site(&self) -> String {
        host_name()
    }

    fn local(&self) -> Result<&Database<Local>, Failure> {
        self.shared
            .local
            .as_ref()
            .ok_or_else(|| self.unconfigured())
    }

    /// The failure that names the database URLs that are not set.
    fn unconfigured(&self) -> Failure {
        let Config { remote, local, .. } = self.config();
        let message = match (remote, local) {
            (None, None) => "METER_SYNC_REMOTE_URL and METER_SYNC_LOCAL_URL are not set.",
            (None, Some(_)) => "METER_SYNC_REMOTE_URL is not set.",
            (Some(_), _) => "METER_SYNC_LOCAL_URL is not set.",
        };
        Failure::new(ErrorCode::ConfigMissing, message)
    }

    /// Cancels a run of this process. The run ends as `interrupted` and changes no meter, unless it is already
    /// writing its result. Returns `false` if this process has no such run in progress.
    pub fn cancel(&self, id: RunId) -> bool {
        let process_state = self.shared.process_state.borrow();
        let running = process_state.running.as_ref();
        let running = running.filter(|running| running.record.run_id == id);
        running.inspect(|running| running.cancel.cancel()).is_some()
    }

    /// Builds the report of a run as its caller would receive it now. Fails if the log has no such run.
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
            _ => RunReport::of(&record, status.changes.unwrap_or_default(), now),
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
            .process_state
            .send_modify(|process_state| process_state.waiting_until = until);
    }

    /// Starts a run unless one is in progress. If the caller stops waiting for the answer, the run still
    /// starts.
    ///
    /// Fails with `CONFIG_MISSING` or `READ_ONLY`, and with `INTERNAL` if a bug ends the run's task.
    pub async fn request(&self, request: Request) -> Result<Requested, Failure> {
        if self.is_read_only() {
            let message = "This meter-sync was started read-only and starts no sync.";
            return Err(Failure::new(ErrorCode::ReadOnly, message));
        }
        if !self.is_configured() {
            return Err(self.unconfigured());
        }
        // With a key, the answer may be a run that has already ended, whatever is running now.
        let running = self.shared.process_state.borrow().running_record();
        if let Some(running) = running.filter(|_| request.idempotency_key.is_none()) {
            let report = RunReport::already_running(&running, self.now());
            return Ok(Requested::AlreadyRunning(Box::new(report)));
        }
        let (begun, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.shared
            .tasks
            .spawn(async move { run::execute::run(&shared, &request, begun).await });
        answer.await.map_err(|_closed| {
            Failure::new(ErrorCode::Internal, "The run ended without an answer.")
        })
    }
}

/// Host name and process id for people to read, and a unique id, because both can be reused.
fn claimant() -> String {
    format!(
        "{} pid {} {}",
        host_name(),
        std::process::id(),
        Uuid::now_v7()
    )
}

fn host_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

impl RunReport {
    /// Whether there is nothing to wait for: the run has ended, or no run was started.
    pub fn is_over(&self) -> bool {
        match self.state {
            RunState::Finished | RunState::AlreadyRunning => true,
            RunState::Running => false,
        }
    }
}
