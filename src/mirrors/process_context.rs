//! What all mirrors of a process share: the settings, the connection pools, the clock of the local database, and the
//! tasks.

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

/// How many runs may be in progress besides those of a sweep, for requests of people and programs.
const REQUESTED_RUNS: usize = 2;

/// Returns how many runs a process may have in progress at once.
pub(crate) fn most_runs(config: &Config) -> usize {
    match config.tenants.is_one() {
        true => 1,
        false => config.workers as usize + REQUESTED_RUNS,
    }
}

/// What all mirrors of a process share.
#[derive(Debug)]
pub struct ProcessContext {
    pub(super) config: Config,
    pub(super) remote: Option<Database<Remote>>,
    pub(super) local: Option<Database<Local>>,
    /// The clock of the local database, which dates runs and slots.
    pub(super) clock: ServerClock,
    /// The name under which this process claims slots. No other process has the same name.
    pub(super) claimant: String,
    /// The tracker on which runs are spawned, so that a shutdown can wait for them.
    pub(super) tasks: TaskTracker,
    /// One permit for each run for which the pools have connections. In a process that keeps one mirror, permits never
    /// run out.
    pub(super) runs: Semaphore,
    /// When this process last did something that the status of all mirrors shows: a run began or ended, a sweep ended,
    /// or the wait for a retry of a sweep changed.
    activity: watch::Sender<Instant>,
    /// When the schedule retries a sweep; `None` if no retry is pending.
    pub(super) waiting_until: watch::Sender<Option<DateTime<Utc>>>,
    /// The state of the remote when it was last used.
    pub(super) remote_state: watch::Sender<Connection>,
}

impl ProcessContext {
    /// Creates the context, with a connection pool for each database that the settings name. Nothing connects yet.
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

    /// The settings of this process.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the time by the local database's clock: the time of this machine plus the last known difference. Runs
    /// and slots are dated by that clock, so they stay in order even if the clock of this machine is wrong.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Returns the host name of this machine, by which people tell sites apart.
    pub fn site(&self) -> String {
        host_name()
    }

    /// Checks that the local database answers one short statement. Slow requests cannot delay this check, because they
    /// never use all connections of the pool.
    pub async fn reach_local(&self) -> Result<(), Failure> {
        let mut connection = self.local()?.connect().await?;
        let moment = connection.commit_marker().await;
        moment.map(drop).map_err(Failure::from)
    }

    /// Reads the local database's clock, so that [`Self::now`] is right even if the clock of this machine was set
    /// since the last transaction.
    pub async fn look_at_the_clock(&self) -> Result<(), Failure> {
        let mut connection = self.local()?.connect().await?;
        let tx = connection.begin("look at the clock").await;
        tx.map(drop).map_err(Failure::from)
    }

    /// Records that something has changed in this process, so that the states published before are out of date.
    pub(super) fn note_activity(&self) {
        self.activity.send_replace(Instant::now());
    }

    /// When this process last did something that the status of all mirrors shows.
    pub(super) fn last_activity(&self) -> Instant {
        *self.activity.borrow()
    }

    /// Waits for activity of this process (see [`Self::last_activity`]) after `time`, but at most `limit`.
    pub(super) async fn activity_after(&self, time: Instant, limit: Duration) {
        let mut activity = self.activity.subscribe();
        let later = activity.wait_for(|at| *at > time);
        drop(tokio::time::timeout(limit, later).await);
    }

    pub(crate) fn local(&self) -> Result<&Database<Local>, Failure> {
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

    /// Returns the failure that names the database URLs that are not set.
    pub(super) fn unconfigured(&self) -> Failure {
        let message = match (&self.config.remote, &self.config.local) {
            (None, None) => "METER_SYNC_REMOTE_URL and METER_SYNC_LOCAL_URL are not set.",
            (None, Some(_)) => "METER_SYNC_REMOTE_URL is not set.",
            (Some(_), _) => "METER_SYNC_LOCAL_URL is not set.",
        };
        Failure::new(ErrorCode::ConfigMissing, message)
    }
}

/// Returns the name for claims: host name and process id, which people can read, and a unique id, because the first
/// two can be reused.
fn claimant() -> String {
    let (host, pid) = (host_name(), std::process::id());
    format!("{host} pid {pid} {}", Uuid::now_v7())
}

fn host_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}
