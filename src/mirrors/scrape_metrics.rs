//! Reads the values that the metrics endpoint reports in addition to the counters of runs.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{Instant, timeout_at};

use crate::db::{DbError, Local, PoolUsage, Tx};
use crate::error::Failure;
use crate::store::{columns, migrations};

use super::mirror::TenantMirror;
use super::mirror_keys::keys;
use super::published_states::PublishedStates;
use super::state::status::{Status, StatusQuery};
use super::state::tenant_list::TenantsQuery;
use super::status_part_types::ConnectionState;
use super::{Mirror, Mirrors, ProcessContext};

/// The values that the metrics endpoint reports in addition to the counters.
#[derive(Clone, Debug)]
pub struct ScrapedFigures {
    /// The status of the mirror or of all mirrors, without past runs.
    pub status: Status,
    /// How many tenants have a run in progress, in this or another process. `None` while that is not known, and in a
    /// process that keeps exactly one mirror.
    pub running_tenants: Option<usize>,
    /// How far the local database's clock is ahead of this machine's; `None` while that database does not
    /// answer.
    pub local_clock_ahead: Option<TimeDelta>,
    /// The usage of the pool of connections to the remote; `None` if the remote's URL is not set.
    pub remote: Option<PoolUsage>,
    /// The usage of the pool of connections to the local database; `None` if its URL is not set.
    pub local: Option<PoolUsage>,
}

impl Mirror {
    /// Returns the current values for the metrics. A local database that gives no answer within `patience` counts as
    /// down.
    pub async fn figures(&self, patience: Duration) -> Result<ScrapedFigures, Failure> {
        let query = StatusQuery {
            history: 0,
            ..StatusQuery::default()
        };
        let status = self.status_within(&query, patience).await?;
        Ok(ProcessContext::figures(self, status))
    }
}

impl Mirrors {
    /// Returns the current values of all mirrors for the metrics. The status lists at most `limit` mirrors, but counts
    /// the drifted columns (synced columns that the remote changed) of all. Values that exist only for a single mirror
    /// are absent. A local database that gives no answer within `patience` counts as down.
    pub async fn figures(&self, limit: u32, patience: Duration) -> ScrapedFigures {
        let query = TenantsQuery {
            limit,
            ..TenantsQuery::default()
        };
        let due = Instant::now() + patience;
        let states = timeout_at(due, self.states()).await;
        let states = states.unwrap_or_else(|_elapsed| self.overdue_states());
        let drifted = timeout_at(due, self.count_drifted(&states)).await;
        let all = states.mirrors.iter();
        let running = all.filter(|(_, state)| state.is_running()).count();
        let status = Status {
            drifted_columns: drifted.ok().flatten(),
            ..self.overview_of(&states, &query)
        };
        ScrapedFigures {
            running_tenants: states.failure.is_none().then_some(running),
            ..self.process.figures(status)
        }
    }

    /// Counts the drifted columns (synced columns that the remote changed) of all mirrors. Returns `None` if they
    /// cannot be counted.
    async fn count_drifted(&self, states: &PublishedStates) -> Option<usize> {
        let known: Vec<&TenantMirror> = states.mirrors.iter().map(|(known, _)| known).collect();
        let count = async |tx: &Tx<'_, Local>| match migrations::tables(tx).await?.columns {
            true => columns::count_drifted(tx, &keys(tx, known.iter().copied()).await?).await,
            false => Ok::<_, DbError>(0),
        };
        let local = self.local().ok().filter(|_| states.failure.is_none())?;
        let counted = local.read("metrics", count).await.ok()?;
        usize::try_from(counted).ok()
    }
}

impl ProcessContext {
    /// Returns the status together with the pool usage and the clock difference of this process.
    fn figures(&self, status: Status) -> ScrapedFigures {
        let (remote, local) = (self.remote.as_ref(), self.local.as_ref());
        let is_local_up = status.connections.local.state == ConnectionState::Ok;
        ScrapedFigures {
            local_clock_ahead: is_local_up.then(|| self.clock.ahead()),
            status,
            running_tenants: None,
            remote: remote.map(|database| database.pool_usage()),
            local: local.map(|database| database.pool_usage()),
        }
    }
}
