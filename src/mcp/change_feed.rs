//! Reports changes of MCP resources: of the resources of one mirror, or of the status of all mirrors.

use rmcp::ErrorData;

use super::caller::Caller;
use super::resources::{self, Address, Subject};
use crate::mirrors::state::health::{ActivityState, Health};
use crate::mirrors::state::status::{RunRecord, Status};
use crate::mirrors::state::tenant_list::{TenantList, TenantsQuery};
use crate::mirrors::{Mirrors, RunEventListener, StateChanges};
use crate::model::Outcome;

/// A source of changes for the resource addresses that a client watches.
#[derive(Debug)]
pub(super) enum ChangeFeed {
    /// Reports runs of one mirror.
    Runs(RunEventListener),
    /// Reports changes in the states of all mirrors that the caller may see.
    States(Box<MirrorStatesFeed>),
}

/// A change of resources.
#[derive(Debug)]
pub(super) enum Change {
    /// These runs of a mirror have begun or ended.
    Runs(Vec<RunRecord>),
    /// The status of all mirrors has changed.
    States,
}

impl ChangeFeed {
    /// Returns the feed for an address, and the tenant that it belongs to. The tenant is `None` for the feed of the
    /// only mirror, and for the feed of all mirrors. Returns an error if the caller may not see the tenant.
    pub(super) async fn of(
        address: &Address,
        mirrors: &Mirrors,
        caller: &Caller,
    ) -> Result<(Option<String>, Self), ErrorData> {
        if is_of_all(address, mirrors) {
            let states = MirrorStatesFeed::new(mirrors, caller).await;
            return Ok((None, Self::States(Box::new(states))));
        }
        let target = caller.find(mirrors, address.tenant.as_deref()).await;
        let target = target.map_err(resources::unreadable)?;
        Ok((target.tenant, Self::Runs(target.mirror.events())))
    }

    /// Waits for the next change.
    pub(super) async fn next(&mut self) -> Change {
        match self {
            Self::Runs(events) => Change::Runs(events.next().await),
            Self::States(states) => {
                states.next().await;
                Change::States
            }
        }
    }
}

impl Change {
    /// Returns whether the resource at this address may have changed. The address must belong to the feed that reported
    /// the change.
    pub(super) fn touches(&self, uri: &str) -> bool {
        let wrote = |run: &RunRecord| {
            !run.dry_run
                && run.counts.changes() > 0
                && matches!(run.outcome, Some(Outcome::Succeeded | Outcome::Partial))
        };
        let Some(Address { subject, .. }) = Address::parse(uri) else {
            return false;
        };
        match (self, subject) {
            (Self::States, _) | (_, Subject::Status) => true,
            (Self::Runs(runs), Subject::Run(id)) => runs.iter().any(|run| run.run_id == id),
            (Self::Runs(runs), Subject::Meter(_)) => runs.iter().any(wrote),
        }
    }
}

/// Returns whether the address is that of the status of all mirrors.
fn is_of_all(address: &Address, mirrors: &Mirrors) -> bool {
    mirrors.only().is_none() && address.tenant.is_none() && address.subject == Subject::Status
}

/// Returns whether the address can be watched. Does not check whether the caller may see the tenant.
pub(super) fn is_watchable(uri: &str, mirrors: &Mirrors) -> bool {
    Address::parse(uri).is_some_and(|address| {
        address.tenant.is_some() || mirrors.only().is_some() || is_of_all(&address, mirrors)
    })
}

/// Reports changes in the states of the mirrors that one caller may see.
#[derive(Debug)]
pub(super) struct MirrorStatesFeed {
    mirrors: Mirrors,
    caller: Caller,
    changes: StateChanges,
    last: Seen,
}

/// The part of the status of all mirrors whose changes are reported.
type Seen = (Health, ActivityState, Option<TenantList>);

impl MirrorStatesFeed {
    async fn new(mirrors: &Mirrors, caller: &Caller) -> Self {
        let changes = mirrors.state_changes();
        Self {
            last: look(mirrors, caller).await,
            mirrors: mirrors.clone(),
            caller: caller.clone(),
            changes,
        }
    }

    /// Waits until the first page of the status has changed, as this caller sees it. Never returns once no more changes
    /// can come.
    async fn next(&mut self) {
        while self.changes.next().await {
            let seen = look(&self.mirrors, &self.caller).await;
            if std::mem::replace(&mut self.last, seen.clone()) != seen {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

async fn look(mirrors: &Mirrors, caller: &Caller) -> Seen {
    let query = caller.limit(TenantsQuery::default());
    let Status {
        health,
        activity,
        tenants,
        ..
    } = mirrors.overview(&query).await;
    (health, activity, tenants)
}
