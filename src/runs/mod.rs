//! One run at a time, and what happened.
//!
//! Every surface asks for a run in the same way, [`Runs::request`], and learns what happened from
//! the same [`Runs::status`]. A run belongs to this module and not to who asked: it goes on when
//! they go away. Exclusion is by a lock in the local database (`lock`); the log there
//! (`log`, `history`) is the memory; what only this process knows is published in one `watch`.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Mutex, oneshot, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Config;
use crate::db::{Database, DbError, Local, Remote, ServerClock};
use crate::error::{ErrorCode, Failure};
use crate::meter::{Outcome, Permission, Progress, RunId, Trigger};
use crate::sync::Compare;
use crate::trace::TraceId;

use counted::Counted;
use found::Remembered;
use here::Here;
use news::Latest;
pub use news::News;
pub use progress::{Following, RunProgress};
pub use slots::{Claim, ClaimedSlot, ClaimedSlots};

use report::{RunReport, RunState};
use status::{RunRecord, StatusQuery};

mod activity;
pub mod answer;
mod begin;
mod clocks;
pub(crate) mod columns;
mod contents;
mod counted;
mod execute;
mod found;
mod health;
mod held;
mod here;
mod history;
mod key_text;
pub mod listing;
mod lock;
mod log;
pub mod measures;
pub mod meters;
pub mod named;
mod news;
mod order;
mod overview;
pub mod place;
mod progress;
pub mod report;
mod retention;
pub mod search;
mod settle;
pub mod since;
mod slots;
pub mod status;
mod table;
pub(crate) mod tenant;
mod warnings;
mod words;

/// The target of the log line that tells how a run ended.
pub const RUN_ENDED: &str = "meter_sync::runs::ended";

/// A request to start a run.
#[derive(Clone, Debug)]
pub struct Request {
    /// What asks.
    pub trigger: Trigger,
    /// Who asks, as far as the surface knows.
    pub actor: Option<String>,
    /// Why, in the words of who asks.
    pub reason: Option<String>,
    /// Whether to plan only.
    pub dry_run: bool,
    /// What a person has allowed.
    pub allow: Allow,
    /// A second request with the same key and `dry_run` within a day is answered with the first one's
    /// run, unless that failed for a reason that may pass.
    pub idempotency_key: Option<String>,
    /// The trace it belongs to, for the logs.
    pub trace: Option<TraceId>,
    /// Which rows are compared value by value.
    pub compare: Compare,
}

impl Request {
    /// A request for a full run, with nothing extraordinary allowed.
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

/// What a person has allowed beyond the brake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Which deactivations pass that the brake would hold back.
    pub mass_deactivation: Permission,
    /// To sync a table that was last synced for another tenant.
    pub tenant_change: bool,
}

/// The reason of a run that carries out what another run showed, for the log.
pub fn approval_of(shown: RunId) -> String {
    format!("the deactivations that run {shown} showed were approved")
}

/// The answer to a [`Request`].
#[derive(Debug)]
pub enum Requested {
    /// A run was started; it goes on whether or not anyone waits.
    Started(Ticket),
    /// Nothing was started: the run in the report is in progress (`state` is `already_running`).
    AlreadyRunning(Box<RunReport>),
    /// Nothing goes on: the run in the report has ended, or ended before it could begin.
    Finished(Box<RunReport>),
}

/// A run that was started here, to wait for or to leave alone.
#[derive(Debug)]
pub struct Ticket {
    begun: Box<RunRecord>,
    progress: watch::Receiver<Progress>,
    /// The report of the run, again if a comparison of contents adds to it; closed when nothing can follow.
    end: watch::Receiver<Option<Box<RunReport>>>,
    clock: ServerClock,
}

impl Ticket {
    /// The run's id.
    pub fn run_id(&self) -> RunId {
        self.begun.run_id
    }

    /// Where the run is, as it goes; the sender is dropped when it ends.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Whether nothing can follow any more.
    pub fn is_over(&self) -> bool {
        self.end.has_changed().is_err()
    }

    /// Waits for the end of the run and of the comparison of contents that may follow it, at most `limit`. The report's
    /// `state` says whether the run has ended.
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
pub struct Runs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    remote: Option<Database<Remote>>,
    local: Option<Database<Local>>,
    /// The local database's clock, by which runs and slots are told.
    clock: ServerClock,
    /// Held while a run is being started, so that requests cannot starve each other of connections.
    starting: Mutex<()>,
    here: watch::Sender<Here>,
    remembered: Remembered,
    counted: Counted,
    latest: Latest,
    /// Whose the slots are that this process claims; another one each time a process starts.
    claimant: String,
    tasks: TaskTracker,
}

impl Runs {
    /// Runs for the databases of the settings. Runs are spawned on `tasks`, to be waited for at
    /// shutdown.
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
        let here = watch::Sender::new(Here::new(remote.is_some(), local.is_some()));
        let shared = Shared {
            config,
            remote,
            clock: local.as_ref().map(Database::clock).unwrap_or_default(),
            local,
            starting: Mutex::new(()),
            here,
            remembered: Remembered::default(),
            counted: Counted::default(),
            latest: Latest::default(),
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

    /// Whether triggers are refused.
    pub fn is_read_only(&self) -> bool {
        self.shared.config.read_only
    }

    /// The settings that the runs follow.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The time by the local database's clock, as last seen: runs and slots are told by it, and a wrong clock of this
    /// machine hides none.
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.clock.now()
    }

    /// The name of this machine, for people to tell sites apart.
    pub fn site(&self) -> String {
        host_name()
    }

    fn local(&self) -> Result<&Database<Local>, Failure> {
        self.shared
            .local
            .as_ref()
            .ok_or_else(|| self.unconfigured())
    }

    /// That a database is not configured, and which.
    fn unconfigured(&self) -> Failure {
        let Config { remote, local, .. } = self.config();
        let message = match (remote, local) {
            (None, None) => "METER_SYNC_REMOTE_URL and METER_SYNC_LOCAL_URL are not set.",
            (None, Some(_)) => "METER_SYNC_REMOTE_URL is not set.",
            (Some(_), _) => "METER_SYNC_LOCAL_URL is not set.",
        };
        Failure::new(ErrorCode::ConfigMissing, message)
    }

    /// Ends a run of this process before its end, which then is `interrupted` and has changed nothing; `false`
    /// if it does not run here.
    pub fn cancel(&self, id: RunId) -> bool {
        let here = self.shared.here.borrow();
        let running = here.running.as_ref();
        let running = running.filter(|running| running.record.run_id == id);
        running.inspect(|running| running.cancel.cancel()).is_some()
    }

    /// What whoever asked for a run would be told of it now. An error if the log has no such run.
    pub async fn report(&self, id: RunId) -> Result<RunReport, Failure> {
        let query = StatusQuery {
            run_id: Some(id),
            include_changes: true,
            changes_limit: report::SAMPLE,
            ..StatusQuery::default()
        };
        let status = self.status(&query).await?;
        let now = self.now();
        let record = status.history.into_iter().find(|run| run.run_id == id);
        let Some(record) = record else {
            // With the local database down only the last run of this process is known.
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

    /// Says that a failed scheduled run waits until then for its retry, or no longer does.
    pub fn set_waiting(&self, until: Option<DateTime<Utc>>) {
        self.shared
            .here
            .send_modify(|here| here.waiting_until = until);
    }

    /// Starts a run unless one is in progress. Errors: `CONFIG_MISSING`, `READ_ONLY`. A request that
    /// is given up while it waits still becomes a run.
    pub async fn request(&self, request: Request) -> Result<Requested, Failure> {
        if self.is_read_only() {
            let message = "This meter-sync was started read-only and starts no sync.";
            return Err(Failure::new(ErrorCode::ReadOnly, message));
        }
        if !self.is_configured() {
            return Err(self.unconfigured());
        }
        // A key may be that of a run that has ended, which is then the answer whatever runs now.
        let running = self.shared.here.borrow().running_record();
        if let Some(running) = running.filter(|_| request.idempotency_key.is_none()) {
            let report = RunReport::already_running(&running, self.now());
            return Ok(Requested::AlreadyRunning(Box::new(report)));
        }
        let (begun, answer) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        self.shared
            .tasks
            .spawn(async move { execute::run(&shared, &request, begun).await });
        answer.await.map_err(|_closed| {
            Failure::new(ErrorCode::Internal, "The run ended without an answer.")
        })
    }
}

/// Host and process for people to read, and an id, as either may come again.
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
    /// Whether nobody needs to wait for the run any longer.
    pub fn is_over(&self) -> bool {
        match self.state {
            RunState::Finished | RunState::AlreadyRunning => true,
            RunState::Running => false,
        }
    }
}
