//! Notifies clients when a resource that they watch has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::try_join_all;
use rmcp::model::{ResourceUpdatedNotificationParam, SubscriptionFilter};
use rmcp::service::{SubscriptionContext, SubscriptionSendError};
use rmcp::{ErrorData, Peer, RoleServer};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::change_feed::{self, ChangeFeed};
use super::resources::ResourceAddress;
use crate::arguments::shorten;
use crate::mirrors::Mirrors;

/// How many addresses of resources one client may watch.
const MOST: usize = 1000;
/// The largest number of tenants whose resources one client may watch. The run log of each watched tenant is read at
/// least every two seconds.
const MOST_TENANTS: usize = 20;

/// Returns the part of a requested subscription that is accepted: the addresses that can be watched, at most [`MOST`].
/// Used for protocol version 2026-07-28.
pub(super) fn accepted(wanted: &SubscriptionFilter, mirrors: &Mirrors) -> SubscriptionFilter {
    let uris = wanted.resource_subscriptions.iter().flatten();
    let ours = uris.filter(|uri| change_feed::is_watchable(uri, mirrors));
    SubscriptionFilter::builder()
        .resource_subscriptions(ours.take(MOST).cloned())
        .build()
}

/// Notifies a client of protocol version 2026-07-28 of changes in the resources of its subscription, until the client
/// cancels the subscription or disconnects. Returns an error if the client may not see the tenant of an address, or if
/// the addresses are of too many tenants.
pub(super) async fn listen(
    mirrors: &Mirrors,
    subscription: &SubscriptionContext,
    caller: &Caller,
) -> Result<(), ErrorData> {
    let uris = subscription.accepted().resource_subscriptions.clone();
    let mut feeds = BTreeMap::new();
    for uri in uris.unwrap_or_default() {
        let Some(address) = ResourceAddress::parse(&uri) else {
            continue;
        };
        let (tenant, feed) = ChangeFeed::of(&address, mirrors, caller).await?;
        let (_, uris) = feeds.entry(tenant).or_insert((feed, Vec::new()));
        uris.push(uri);
        if feeds.len() > MOST_TENANTS {
            return Err(too_many_tenants());
        }
    }
    let told = feeds.into_values();
    let told = try_join_all(told.map(|(feed, uris)| tell(feed, uris, subscription)));
    tokio::select! {
        () = subscription.cancelled() => return Ok(()),
        told = told => if let Err(error) = told {
            tracing::debug!(%error, "a subscriber is gone");
            return Ok(());
        },
    }
    subscription.cancelled().await; // only reached if there is no address to watch
    Ok(())
}

async fn tell(
    mut feed: ChangeFeed,
    uris: Vec<String>,
    subscription: &SubscriptionContext,
) -> Result<(), SubscriptionSendError> {
    loop {
        let change = feed.next().await;
        for uri in uris.iter().filter(|uri| change.affects(uri)) {
            subscription.sink().notify_resource_updated(uri).await?;
        }
    }
}

/// The resources that one client has subscribed to, in a protocol version before 2026-07-28. Dropping this value ends
/// the notifications.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    wanted: Arc<Mutex<SubscribedAddresses>>,
    ended: CancellationToken,
}

/// The watched addresses by tenant. The key `None` is used if the process keeps one mirror, and for the status of all
/// mirrors.
type SubscribedAddresses = BTreeMap<Option<String>, WatchedAddresses>;

/// The addresses of one tenant's resources that a client watches. One background task reports their changes.
#[derive(Debug)]
struct WatchedAddresses {
    uris: BTreeSet<String>,
    /// Cancelled to end the background task.
    ended: CancellationToken,
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Subscriptions {
    /// Starts to watch the resource at `uri` and to notify the client of its changes. Returns an error if `uri` is not
    /// the address of a resource, if the caller may not see its tenant, or if the client watches too many resources or
    /// tenants.
    pub(super) async fn add(
        &self,
        uri: String,
        mirrors: &Mirrors,
        caller: &Caller,
        peer: &Peer<RoleServer>,
    ) -> Result<(), ErrorData> {
        let Some(address) = ResourceAddress::parse(&uri) else {
            let message = format!("There is nothing to watch at `{}`.", shorten(&uri));
            return Err(ErrorData::resource_not_found(message, None));
        };
        let (tenant, feed) = ChangeFeed::of(&address, mirrors, caller).await?;
        let mut wanted = lock(&self.wanted);
        if wanted
            .values()
            .map(|watched| watched.uris.len())
            .sum::<usize>()
            >= MOST
        {
            let message = format!("One client may watch {MOST} addresses at a time.");
            return Err(ErrorData::invalid_params(message, None));
        }
        if let Some(watched) = wanted.get_mut(&tenant) {
            watched.uris.insert(uri);
            return Ok(());
        }
        if wanted.len() >= MOST_TENANTS {
            return Err(too_many_tenants());
        }
        let ended = self.ended.child_token();
        let watched = WatchedAddresses {
            uris: BTreeSet::from([uri]),
            ended: ended.clone(),
        };
        wanted.insert(tenant.clone(), watched);
        let watching = watch(feed, tenant, peer.clone(), Arc::clone(&self.wanted));
        #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
        tokio::spawn(ended.run_until_cancelled_owned(watching));
        Ok(())
    }

    /// Stops watching the resource at `uri`.
    pub(super) fn remove(&self, uri: &str) {
        lock(&self.wanted).retain(|_, watched| {
            watched.uris.remove(uri);
            if watched.uris.is_empty() {
                watched.ended.cancel();
            }
            !watched.uris.is_empty()
        });
    }
}

fn too_many_tenants() -> ErrorData {
    let message = format!(
        "One client may watch addresses of {MOST_TENANTS} tenants at a time; meter-sync://status tells of all."
    );
    ErrorData::invalid_params(message, None)
}

fn lock(wanted: &Mutex<SubscribedAddresses>) -> MutexGuard<'_, SubscribedAddresses> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notifies the client of changes in the watched resources of a tenant. Returns when a notification cannot be sent.
async fn watch(
    mut feed: ChangeFeed,
    tenant: Option<String>,
    peer: Peer<RoleServer>,
    wanted: Arc<Mutex<SubscribedAddresses>>,
) {
    loop {
        let change = feed.next().await;
        let uris = lock(&wanted)
            .get(&tenant)
            .map(|watched| watched.uris.clone());
        for uri in uris.unwrap_or_default() {
            if !change.affects(&uri) {
                continue;
            }
            let updated = ResourceUpdatedNotificationParam::new(uri);
            if peer.notify_resource_updated(updated).await.is_err() {
                return;
            }
        }
    }
}
