//! The events of `GET /api/v1/events` if the process keeps several mirrors (each one the meters of one tenant): the
//! status of all tenants that the caller may see, whenever it changes.
//!
//! These streams have no `progress` events. Only the streams of single tenants have them.

use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::{Instant, timeout_at};

use super::server_sent_event::{EventResult, RETRY, event, heartbeats};
use crate::mirrors::{Mirrors, StateChangeListener};
use crate::reports::connections::ConnectionReport;
use crate::reports::status::Status;
use crate::reports::tenant_list::TenantsQuery;

/// The shortest time between two `status` events. A sweep, one check of all mirrors, can change the states of thousands
/// of tenants many times a second.
const PAUSE: Duration = Duration::from_secs(1);
/// After how long the status is sent again even if no event announced a change. Health depends on the time, so it can
/// change without any event.
const STATUS_AGE: Duration = Duration::from_secs(60);

/// The state of one event stream.
struct StatusStreamState {
    mirrors: Mirrors,
    changes: StateChangeListener,
    query: TenantsQuery,
    /// The status that was sent last; `None` before the first.
    sent: Option<Status>,
}

/// Streams the status of the tenants in `visible` (`None` means all tenants), and a heartbeat at the interval
/// `heartbeat`.
pub(super) fn events_of_all(
    mirrors: Mirrors,
    visible: Option<Vec<String>>,
    heartbeat: Duration,
) -> impl Stream<Item = EventResult> + Send {
    let watched = StatusStreamState {
        changes: mirrors.state_changes(),
        mirrors,
        query: TenantsQuery {
            visible,
            ..TenantsQuery::default()
        },
        sent: None,
    };
    let statuses = stream::unfold(watched, async |mut watched| {
        let status = watched.next().await?;
        let sent = event("status", &status);
        let sent = match watched.sent {
            None => sent.map(|event| event.retry(RETRY)),
            Some(_) => sent,
        };
        watched.sent = Some(status);
        Some((sent, watched))
    });
    stream::select(Box::pin(statuses), heartbeats(heartbeat))
}

impl StatusStreamState {
    /// Waits until the status has changed since it was last sent, or for [`STATUS_AGE`], and returns the current
    /// status. The first call does not wait. Returns `None` if no more changes can come.
    async fn next(&mut self) -> Option<Status> {
        let Some(sent) = &self.sent else {
            return Some(Box::pin(self.mirrors.overview(&self.query)).await);
        };
        let old = Instant::now() + STATUS_AGE;
        loop {
            tokio::time::sleep(PAUSE).await;
            let is_old = match timeout_at(old, self.changes.next()).await {
                Ok(true) => false,
                Ok(false) => return None,
                Err(_elapsed) => true,
            };
            // The change may be about a tenant that the caller may not see.
            let status = Box::pin(self.mirrors.overview(&self.query)).await;
            if is_old || differs(sent, &status) {
                return Some(status);
            }
        }
    }
}

fn differs(sent: &Status, status: &Status) -> bool {
    let states = |status: &Status| {
        let connections = &status.connections;
        [&connections.remote, &connections.local].map(|ConnectionReport { state, .. }| *state)
    };
    sent.tenants != status.tenants
        || sent.activity != status.activity
        || states(sent) != states(status)
}
