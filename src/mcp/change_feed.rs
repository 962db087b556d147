//! Reports changes of MCP resources: of those of one mirror (the meters of one tenant), or of the status of all
//! mirrors.

use super::caller::Caller;
use super::resources::{ResourceAddress, ResourceError, ResourceKind};
use crate::mirrors::{Mirrors, RunEventFeed, StateChangeListener};
use crate::model::{ActivityState, Health, RunOutcome, RunRecord};
use crate::reports::status::Status;
use crate::reports::tenant_list::{TenantList, TenantsQuery};

/// Waits for changes of the resources that a client watches, and reports them.
#[derive(Debug)]
pub(super) enum ChangeFeed {
    /// Reports the runs of one mirror that begin or end.
    Runs(RunEventFeed),
    /// Reports changes in the status of all mirrors that the caller may see.
    States(Box<MirrorStatesFeed>),
}

/// What has changed, according to a [`ChangeFeed`].
#[derive(Debug)]
pub(super) enum ResourceChange {
    /// These runs of a mirror have begun or ended.
    Runs(Vec<RunRecord>),
    /// The status of all mirrors has changed.
    States,
}

impl ChangeFeed {
    /// Returns the feed that reports changes of the resource at this address, and the tenant that the feed is about.
    /// The tenant is `None` if the process keeps one mirror, or if the address is that of the status of all mirrors.
    /// Returns an error if the caller may not see the tenant.
    pub(super) async fn of(
        address: &ResourceAddress,
        mirrors: &Mirrors,
        caller: &Caller,
    ) -> Result<(Option<String>, Self), ResourceError> {
        if is_of_all(address, mirrors) {
            let states = MirrorStatesFeed::new(mirrors, caller).await;
            return Ok((None, Self::States(Box::new(states))));
        }
        let target = caller.find(mirrors, address.tenant.as_deref()).await?;
        Ok((target.tenant, Self::Runs(target.mirror.events())))
    }

    /// Waits for the next change.
    pub(super) async fn next(&mut self) -> ResourceChange {
        match self {
            Self::Runs(events) => ResourceChange::Runs(events.next().await),
            Self::States(states) => {
                states.next().await;
                ResourceChange::States
            }
        }
    }
}

impl ResourceChange {
    /// Returns whether this change may have changed the resource at `uri`. `uri` must be a resource of the feed that
    /// reported the change.
    pub(super) fn affects(&self, uri: &str) -> bool {
        let wrote = |run: &RunRecord| {
            !run.dry_run
                && run.counts.changes() > 0
                && matches!(
                    run.outcome,
                    Some(RunOutcome::Succeeded | RunOutcome::Partial)
                )
        };
        let Some(ResourceAddress { subject, .. }) = ResourceAddress::parse(uri) else {
            return false;
        };
        match (self, subject) {
            (Self::States, _) | (_, ResourceKind::Status) => true,
            (Self::Runs(runs), ResourceKind::Run(id)) => runs.iter().any(|run| run.run_id == id),
            (Self::Runs(runs), ResourceKind::Meter(_)) => runs.iter().any(wrote),
        }
    }
}

/// Returns whether the address is that of the status of all mirrors.
fn is_of_all(address: &ResourceAddress, mirrors: &Mirrors) -> bool {
    mirrors.only().is_none() && address.tenant.is_none() && address.subject == ResourceKind::Status
}

/// Returns whether `uri` is an address whose changes can be reported. Does not check whether the caller may see the
/// tenant.
pub(super) fn is_watchable(uri: &str, mirrors: &Mirrors) -> bool {
    ResourceAddress::parse(uri).is_some_and(|address| {
        address.tenant.is_some() || mirrors.only().is_some() || is_of_all(&address, mirrors)
    })
}

/// Waits for changes in the status of the mirrors that one caller may see.
#[derive(Debug)]
pub(super) struct MirrorStatesFeed {
    mirrors: Mirrors,
    caller: Caller,
    changes: StateChangeListener,
    last: ComparedStatus,
}

/// The part of the status of all mirrors that is compared to find out whether the status has changed.
type ComparedStatus = (Health, ActivityState, Option<TenantList>);

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

    /// Waits until the status has changed: the overall health or activity, or the first page of the tenants that this
    /// caller may see. Once no more changes can come, it waits forever.
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

async fn look(mirrors: &Mirrors, caller: &Caller) -> ComparedStatus {
    let query = caller.limit(TenantsQuery::default());
    let Status {
        health,
        activity,
        tenants,
        ..
    } = mirrors.overview(&query).await;
    (health, activity, tenants)
}
