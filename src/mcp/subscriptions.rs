//! Notifies subscribers when a resource that they watch has changed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{ResourceUpdatedNotificationParam, SubscriptionFilter};
use rmcp::service::{SubscriptionContext, SubscriptionSendError};
use rmcp::{ErrorData, Peer, RoleServer};
use tokio_util::sync::CancellationToken;

use crate::mirrors::state::status::RunRecord;
use crate::mirrors::{Events, Mirror};
use crate::model::Outcome;

use super::resources::Address;
use crate::arguments::shorten;

/// How many addresses one client may watch.
const MOST: usize = 1000;

/// Returns whether runs that have begun or ended change the resource at this address.
fn is_touched(uri: &str, runs: &[RunRecord]) -> bool {
    let wrote = |run: &RunRecord| {
        !run.dry_run
            && run.counts.changes() > 0
            && matches!(run.outcome, Some(Outcome::Succeeded | Outcome::Partial))
    };
    match Address::parse(uri) {
        Some(Address::Status) => true,
        Some(Address::Run(id)) => runs.iter().any(|run| run.run_id == id),
        Some(Address::Meter(_)) => runs.iter().any(wrote),
        None => false,
    }
}

/// Returns the addresses of a requested subscription that can be watched. For protocol version 2026-07-28.
pub(super) fn accepted(wanted: &SubscriptionFilter) -> SubscriptionFilter {
    let uris = wanted.resource_subscriptions.iter().flatten();
    let ours = uris.filter(|uri| Address::parse(uri).is_some()).take(MOST);
    SubscriptionFilter::builder()
        .resource_subscriptions(ours.cloned())
        .build()
}

/// Notifies a subscriber of protocol version 2026-07-28 until it cancels or disconnects.
pub(super) async fn listen(mirror: &Mirror, subscription: &SubscriptionContext) {
    tokio::select! {
        () = subscription.cancelled() => {}
        gone = tell(mirror, subscription) => {
            if let Err(error) = gone {
                tracing::debug!(%error, "a subscriber is gone");
            }
        }
    }
}

async fn tell(
    mirror: &Mirror,
    subscription: &SubscriptionContext,
) -> Result<(), SubscriptionSendError> {
    let uris = subscription.accepted().resource_subscriptions.clone();
    let uris = uris.unwrap_or_default();
    let mut events = mirror.events();
    loop {
        let runs = events.next().await;
        for uri in uris.iter().filter(|uri| is_touched(uri, &runs)) {
            subscription.sink().notify_resource_updated(uri).await?;
        }
    }
}

/// The addresses that one client of an earlier protocol version watches.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    wanted: Arc<Mutex<SubscribedAddresses>>,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct SubscribedAddresses {
    uris: BTreeSet<String>,
    /// Whether the task that watches them was started.
    is_watched: bool,
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Subscriptions {
    /// Adds an address. An error if nothing can be watched there, or if the client watches too many.
    pub(super) fn add(
        &self,
        uri: String,
        mirror: &Mirror,
        peer: &Peer<RoleServer>,
    ) -> Result<(), ErrorData> {
        if Address::parse(&uri).is_none() {
            let message = format!("There is nothing to watch at `{}`.", shorten(&uri));
            return Err(ErrorData::resource_not_found(message, None));
        }
        let mut wanted = lock(&self.wanted);
        if wanted.uris.len() >= MOST {
            let message = format!("One client may watch {MOST} addresses at a time.");
            return Err(ErrorData::invalid_params(message, None));
        }
        wanted.uris.insert(uri);
        if !std::mem::replace(&mut wanted.is_watched, true) {
            let watching = watch(mirror.events(), peer.clone(), Arc::clone(&self.wanted));
            let until_the_end = self.ended.clone().run_until_cancelled_owned(watching);
            #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
            tokio::spawn(until_the_end);
        }
        Ok(())
    }

    /// Removes an address.
    pub(super) fn remove(&self, uri: &str) {
        lock(&self.wanted).uris.remove(uri);
    }
}

fn lock(wanted: &Mutex<SubscribedAddresses>) -> MutexGuard<'_, SubscribedAddresses> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notifies the client until it accepts no more notifications.
async fn watch(
    mut events: Events,
    peer: Peer<RoleServer>,
    wanted: Arc<Mutex<SubscribedAddresses>>,
) {
    loop {
        let runs = events.next().await;
        let uris = lock(&wanted).uris.clone();
        for uri in uris.into_iter().filter(|uri| is_touched(uri, &runs)) {
            let updated = ResourceUpdatedNotificationParam::new(uri);
            if peer.notify_resource_updated(updated).await.is_err() {
                return;
            }
        }
    }
}
