//! What only this process knows: its running run, the end of its last one, and how the databases
//! stood when last used. It is what the status falls back on when the local database is down.

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::error::Failure;
use crate::meter::{Progress, RunId};

use super::Runs;
use super::status::{Connection, ConnectionState, RunRecord, TenantStatus};

/// What only this process knows.
#[derive(Clone, Debug)]
pub(super) struct Here {
    pub(super) running: Option<RunningHere>,
    /// When a failed scheduled run is tried again.
    pub(super) waiting_until: Option<DateTime<Utc>>,
    /// The last run of this process that ended, dry runs aside.
    pub(super) last: Option<RunRecord>,
    pub(super) last_success_at: Option<DateTime<Utc>>,
    pub(super) tenant: Option<TenantStatus>,
    pub(super) remote: Connection,
    pub(super) local: Connection,
}

/// A run in this process.
#[derive(Clone, Debug)]
pub(super) struct RunningHere {
    pub(super) record: RunRecord,
    pub(super) progress: watch::Receiver<Progress>,
    /// Ends it before its end.
    pub(super) cancel: CancellationToken,
}

impl Here {
    pub(super) fn new(has_remote: bool, has_local: bool) -> Self {
        let unknown = |configured| Connection {
            state: if configured {
                ConnectionState::Unknown
            } else {
                ConnectionState::NotConfigured
            },
            checked_at: None,
            error: None,
        };
        Self {
            running: None,
            waiting_until: None,
            last: None,
            last_success_at: None,
            tenant: None,
            remote: unknown(has_remote),
            local: unknown(has_local),
        }
    }

    pub(super) fn running_record(&self) -> Option<RunRecord> {
        self.running.as_ref().map(|running| running.record.clone())
    }

    /// The run is over; the next one may be running already.
    pub(super) fn no_longer_running(&mut self, id: RunId) {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.record.run_id == id)
        {
            self.running = None;
        }
    }

    /// Takes note of a run that ended.
    pub(super) fn ended(&mut self, record: &RunRecord) {
        self.no_longer_running(record.run_id);
        if record.dry_run {
            return;
        }
        if record
            .outcome
            .is_some_and(crate::meter::Outcome::is_success)
        {
            self.last_success_at = record.finished_at;
        }
        self.last = Some(record.clone());
    }
}

/// How a database stood at `now`.
pub(super) fn connection(error: Option<Failure>, now: DateTime<Utc>) -> Connection {
    let state = if error.is_some() {
        ConnectionState::Failed
    } else {
        ConnectionState::Ok
    };
    Connection {
        state,
        checked_at: Some(now),
        error,
    }
}

impl Runs {
    /// Whether the local database answers. It is asked by one short statement, on a connection that is kept free from
    /// questions that take longer.
    pub async fn reach_local(&self) -> Result<(), Failure> {
        let mut connection = self.local()?.connect().await.map_err(|e| e.failure())?;
        let moment = connection.moment().await;
        moment.map(drop).map_err(|e| e.failure())
    }
}
