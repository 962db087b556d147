//! What all mirrors of a process share: settings, connection pools, the clock of the local database, and tasks.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Config;
use crate::db::{Database, DbError, Local, Remote, ServerClock};
use crate::error::{ErrorCode, Failure};

use crate::mirrors::status_parts::Connection;

/// How many runs may go on besides those of a sweep, when people and programs ask for them.
const REQUESTED_RUNS: usize = 2;

/// How many runs a process may have at a time.
pub(crate) fn most_runs(config: &Config) -> usize {
    match config.tenants.is_one() {
        true => 1,
        false => config.workers as usize + REQUESTED_RUNS,
    }
}

/// What all mirrors of a process share.
#[derive(Debug)]
pub struct Process {
    pub(super) config: Config,
    pub(super) remote: Option<Database<Remote>>,
    pub(super) local: Option<Database<Local>>,
    /// The clock of the local database, which dates runs and slots.
    pub(super) clock: ServerClock,
    /// The name under which this process claims slots. Each process has a new one.
    pub(super) claimant: String,
    /// Runs are spawned here, so that shutdown can wait for them.
    pub(super) tasks: TaskTracker,
    /// One permit for each run that the pools have connections for. A process that keeps one mirror needs none.
    pub(super) runs: Semaphore,
    /// When a run of this process last began or ended.
    activity: watch::Sender<Instant>,
    /// Until when the schedule waits to try a sweep again; `None` if it does not wait.
    pub(super) waiting_until: watch::Sender<Option<DateTime<Utc>>>,
    /// What is known of the remote: how it was when last used.
    pub(super) remote_state: watch::Sender<Connection>,
}

impl Process {
    /// Creates the connection pools for the databases of the settings; nothing connects yet.
    pub(super) fn new(config: Config, tasks: TaskTracker) -> Result<Self, DbError> {
        let limits = &config.limits;
        let runs = most_runs(&config);
        let permits = match config.tenants.is_one() {
            true => Semaphore::MAX_PERMITS,
            false => runs,
        };
        let remote = config
            .remote
            .as_ref()
            .map(|end| Database::for_runs(end, limits, runs))
            .transpose()?;
        let local = config
            .local
            .as_ref()
            .map(|end| Database::for_runs(end, limits, runs))
            .transpose()?;
        let unused = Connection::unused(remote.is_some());
        Ok(Self {
            runs: Semaphore::new(permits),
            activity: watch::Sender::new(Instant::now()),
            remote_state: watch::Sender::new(unused),
            waiting_until: watch::Sender::new(None),
            config,
            remote,
            clock: local.as_ref().map(Database::clock).unwrap_or_default(),
            local,
            claimant: claimant(),
            tasks,
        })
    }

    /// Whether both database URLs are set.
    pub fn is_configured(&self) -> bool {
        self.remote.is_some() && self.local.is_some()
    }

    /// Whether requests for runs are refused.
    pub fn is_read_only(&self) -> bool {
        self.config.read_only
    }

    /// The settings that the runs follow.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The time by the local database's clock: the time of this machine plus the difference last seen. Runs and
    /// slots are dated by that clock, so a wrong clock of this machine hides none of them.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The host name of this machine, by which people tell sites apart.
    pub fn site(&self) -> String {
        host_name()
    }

    /// Checks that the local database answers one short statement. Slow queries cannot delay this, because they
    /// never use all connections of the pool.
    pub async fn reach_local(&self) -> Result<(), Failure> {
        let mut connection = self.local()?.connect().await?;
        let moment = connection.moment().await;
        moment.map(drop).map_err(Failure::from)
    }

    /// Reads the local database's clock, so that [`Self::now`] is right even if the clock of this machine was
    /// set since the last transaction.
    pub async fn look_at_the_clock(&self) -> Result<(), Failure> {
        let mut connection = self.local()?.connect().await?;
        let tx = connection.begin("look at the clock").await;
        tx.map(drop).map_err(Failure::from)
    }

    /// Notes that a run of this process has begun or ended, so that what was published before is out of date.
    pub(super) fn note_activity(&self) {
        self.activity.send_replace(Instant::now());
    }

    /// When a run of this process last began or ended.
    pub(super) fn last_activity(&self) -> Instant {
        *self.activity.borrow()
    }

    /// Waits until a run of this process begins or ends after `time`, but at most `limit`.
    pub(super) async fn activity_after(&self, time: Instant, limit: Duration) {
        let mut activity = self.activity.subscribe();
        let later = activity.wait_for(|at| *at > time);
        drop(tokio::time::timeout(limit, later).await);
    }

    pub(super) fn local(&self) -> Result<&Database<Local>, Failure> {
        self.local.as_ref().ok_or_else(|| self.unconfigured())
    }

    /// Fails if this process starts no runs: it is read-only, or a database URL is not set.
    pub(super) fn may_sync(&self) -> Result<(), Failure> {
        if self.is_read_only() {
            let message = "This meter-sync was started read-only and starts no sync.";
            return Err(Failure::new(ErrorCode::ReadOnly, message));
        }
        if !self.is_configured() {
            return Err(self.unconfigured());
        }
        Ok(())
    }

    /// The failure that names the database URLs that are not set.
    pub(super) fn unconfigured(&self) -> Failure {
        let message = match (&self.config.remote, &self.config.local) {
            (None, None) => "METER_SYNC_REMOTE_URL and METER_SYNC_LOCAL_URL are not set.",
            (None, Some(_)) => "METER_SYNC_REMOTE_URL is not set.",
            (Some(_), _) => "METER_SYNC_LOCAL_URL is not set.",
        };
        Failure::new(ErrorCode::ConfigMissing, message)
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
