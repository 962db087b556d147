//! What all mirrors of a process share: the settings, the connection pools, the clock of the local database, and the
//! background tasks.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Config;
use crate::db::{Database, DbError, Local, PoolUsage, Remote, ServerClock};
use crate::error::{ErrorCode, Failure};
use crate::heartbeat::Heartbeat;

use crate::reports::connections::ConnectionReport;

/// How many runs that people or programs request may be in progress, in addition to the runs of a sweep (a check of all
/// mirrors).
const REQUESTED_RUNS: usize = 2;

/// Returns how many runs a process may have in progress at once.
pub(crate) fn most_runs(config: &Config) -> usize {
    match config.tenants.is_one() {
        true => 1,
        false => config.workers as usize + REQUESTED_RUNS,
    }
}

/// What all mirrors of a process share: settings, connection pools, clock and background tasks.
#[derive(Debug)]
pub struct ProcessContext {
    pub(super) config: Config,
    pub(super) remote: Option<Database<Remote>>,
    pub(super) local: Option<Database<Local>>,
    /// The clock of the local database, which gives the times of runs and slots (scheduled times).
    pub(super) clock: ServerClock,
    /// The unique name under which this process claims slots (scheduled times), so that only one process serves each
    /// slot.
    pub(super) claimant: String,
    /// The tracker on which runs are spawned, so that a shutdown can wait for them.
    pub(super) tasks: TaskTracker,
    /// Limits how many runs are in progress at once to the number for which the pools have connections. There is no
    /// limit in a process that keeps exactly one mirror.
    pub(super) runs: Semaphore,
    /// Held while this process starts a run, which takes two local connections at once (see
    /// [`run_lock::try_to_start`](crate::store::run_lock::try_to_start)).
    pub(super) starting: Mutex<()>,
    /// The lock that this process holds while it works through the runs of a sweep, its own or another process's. So it
    /// works on one sweep at a time.
    pub(super) shared_runs: Mutex<()>,
    /// When this process last did something that changes the status of all mirrors: a run began or ended, a sweep (a
    /// check of all mirrors) ended, or the time at which a sweep is retried changed.
    activity: watch::Sender<Instant>,
    /// When the schedule retries a sweep (a check of all mirrors); `None` if no retry is pending.
    pub(super) waiting_until: watch::Sender<Option<DateTime<Utc>>>,
    /// Whether the remote database answered when it was last used.
    pub(super) remote_state: watch::Sender<ConnectionReport>,
    /// Tells a monitoring service how syncs end; `None` if the settings name none.
    pub(super) heartbeat: Option<Heartbeat>,
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
        let remote = config.remote.as_ref();
        let remote = remote.map(|end| Database::for_runs(end, limits, runs));
        let remote = remote.transpose()?;
        let local = config.local.as_ref();
        let local = local.map(|end| Database::for_runs(end, limits, runs));
        let local = local.transpose()?;
        let unused = ConnectionReport::unused(remote.is_some());
        Ok(Self {
            runs: Semaphore::new(permits),
            starting: Mutex::default(),
            shared_runs: Mutex::default(),
            activity: watch::Sender::new(Instant::now()),
            remote_state: watch::Sender::new(unused),
            waiting_until: watch::Sender::new(None),
            heartbeat: config
                .heartbeat_url
                .clone()
                .map(|url| Heartbeat::new(url, tasks.clone())),
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

    /// Whether the settings forbid this process to start runs.
    pub fn is_read_only(&self) -> bool {
        self.config.read_only
    }

    /// The settings of this process.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the time by the local database's clock: the time of this machine plus the last known difference. Runs
    /// and slots (scheduled times) are dated by that clock, so they stay in order even if the clock of this machine is
    /// wrong.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// When the next scheduled run or retry is due; `None` if the schedule is off, or if a database URL is not set.
    /// `waiting_until` is when the schedule retries a slot (scheduled time); `None` if no retry is pending.
    pub(super) fn next_run_at(
        &self,
        waiting_until: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let scheduled = || self.config.schedule.as_ref()?.next_after(now);
        let next = waiting_until.or_else(scheduled);
        next.filter(|_| self.is_configured())
    }

    /// How far the local database's clock is ahead of this machine's, as last known; negative if it is behind.
    pub fn local_clock_ahead(&self) -> TimeDelta {
        self.clock.ahead()
    }

    /// Returns the usage of the pools of connections to the remote and to the local database; `None` if its URL is not
    /// set.
    pub fn pool_usages(&self) -> [Option<PoolUsage>; 2] {
        let remote = self.remote.as_ref().map(Database::pool_usage);
        let local = self.local.as_ref().map(Database::pool_usage);
        [remote, local]
    }

    /// Returns the host name of this machine. People tell installations of this program apart by it.
    pub fn site(&self) -> String {
        host_name()
    }

    /// Sends one short statement to the local database, and fails if it gets no answer. A connection is free for this
    /// even while many slow requests are waiting.
    pub async fn reach_local(&self) -> Result<(), Failure> {
        let mut connection = self.local()?.connect().await?;
        connection.commit_marker().await?;
        Ok(())
    }

    /// Reads the local database's clock again. [`Self::now`] is then right even if the clock of this machine was set
    /// since the last transaction.
    pub async fn look_at_the_clock(&self) -> Result<(), Failure> {
        let mut connection = self.local()?.connect().await?;
        connection.begin("look at the clock").await?;
        Ok(())
    }

    /// Records that this process did something that changes the status of all mirrors (see [`Self::last_activity`]).
    /// States that were published before are then out of date.
    pub(super) fn note_activity(&self) {
        self.activity.send_replace(Instant::now());
    }

    /// When this process last did something that changes the status of all mirrors: a run began or ended, a sweep (a
    /// check of all mirrors) ended, or the time at which a sweep is retried changed.
    pub(super) fn last_activity(&self) -> Instant {
        *self.activity.borrow()
    }

    /// Waits until this process has done something after `time` that changes the status of all mirrors (see
    /// [`Self::last_activity`]), but at most for `limit`.
    pub(super) async fn activity_after(&self, time: Instant, limit: Duration) {
        let mut activity = self.activity.subscribe();
        let later = activity.wait_for(|at| *at > time);
        drop(tokio::time::timeout(limit, later).await);
    }

    pub(crate) fn local(&self) -> Result<&Database<Local>, Failure> {
        self.local.as_ref().ok_or_else(|| self.unconfigured())
    }

    /// Returns an error if this process may start no runs: it is read-only, or a database URL is not set.
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

    /// Returns the error which says which database URLs are not set.
    pub(super) fn unconfigured(&self) -> Failure {
        let message = match (&self.config.remote, &self.config.local) {
            (None, None) => "METER_SYNC_REMOTE_URL and METER_SYNC_LOCAL_URL are not set.",
            (None, Some(_)) => "METER_SYNC_REMOTE_URL is not set.",
            (Some(_), _) => "METER_SYNC_LOCAL_URL is not set.",
        };
        Failure::new(ErrorCode::ConfigMissing, message)
    }
}

/// Builds the name under which this process claims slots: host name and process id, which people can read, and a random
/// id. The id makes the name unique, because a later process may get the same process id.
fn claimant() -> String {
    let (host, pid) = (host_name(), std::process::id());
    format!("{host} pid {pid} {}", Uuid::now_v7())
}

fn host_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}
