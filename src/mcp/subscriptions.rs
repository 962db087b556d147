//! Tells subscribers that what they read is no longer what it was.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{ResourceUpdatedNotificationParam, SubscriptionFilter};
use rmcp::service::{SubscriptionContext, SubscriptionSendError};
use rmcp::{ErrorData, Peer, RoleServer};
use tokio_util::sync::CancellationToken;

use crate::meter::Outcome;
use crate::runs::status::RunRecord;
use crate::runs::{News, Runs};

use super::resources::Address;
use crate::arguments::shorten;

/// How many addresses one client may watch.
const MOST: usize = 1000;

/// Whether something that happened to runs makes another thing of what stands at this address.
fn is_touched(uri: &str, news: &[RunRecord]) -> bool {
    let wrote = |run: &RunRecord| {
        !run.dry_run
            && run.counts.changes() > 0
            && matches!(run.outcome, Some(Outcome::Succeeded | Outcome::Partial))
    };
    match Address::parse(uri) {
        Some(Address::Status) => true,
        Some(Address::Run(id)) => news.iter().any(|run| run.run_id == id),
        Some(Address::Meter(_)) => news.iter().any(wrote),
        None => false,
    }
}

/// What of a wish can be watched; protocol version 2026-07-28.
pub(super) fn accepted(wanted: &SubscriptionFilter) -> SubscriptionFilter {
    let uris = wanted.resource_subscriptions.iter().flatten();
    let ours = uris.filter(|uri| Address::parse(uri).is_some()).take(MOST);
    SubscriptionFilter::builder()
        .resource_subscriptions(ours.cloned())
        .build()
}

/// Tells a subscriber of that version until it has enough.
pub(super) async fn listen(runs: &Runs, subscription: &SubscriptionContext) {
    tokio::select! {
        () = subscription.cancelled() => {}
        gone = tell(runs, subscription) => {
            if let Err(error) = gone {
                tracing::debug!(%error, "a subscriber is gone");
            }
        }
    }
}

async fn tell(
    runs: &Runs,
    subscription: &SubscriptionContext,
) -> Result<(), SubscriptionSendError> {
    let uris = subscription.accepted().resource_subscriptions.clone();
    let uris = uris.unwrap_or_default();
    let mut news = runs.news();
    loop {
        let news = news.next().await;
        for uri in uris.iter().filter(|uri| is_touched(uri, &news)) {
            subscription.sink().notify_resource_updated(uri).await?;
        }
    }
}

/// What one client of the versions before watches.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    wanted: Arc<Mutex<Wanted>>,
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct Wanted {
    uris: BTreeSet<String>,
    /// Whether somebody looks after them.
    is_watched: bool,
}

impl Drop for Subscriptions {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Subscriptions {
    /// Watches one more address.
    pub(super) fn add(
        &self,
        uri: String,
        runs: &Runs,
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
            let watching = watch(runs.news(), peer.clone(), Arc::clone(&self.wanted));
            let until_the_end = self.ended.clone().run_until_cancelled_owned(watching);
            #[expect(clippy::disallowed_methods, reason = "it ends with the client")]
            tokio::spawn(until_the_end);
        }
        Ok(())
    }

    /// Watches one address no longer.
    pub(super) fn remove(&self, uri: &str) {
        lock(&self.wanted).uris.remove(uri);
    }
}

fn lock(wanted: &Mutex<Wanted>) -> MutexGuard<'_, Wanted> {
    wanted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells the client as long as it takes anything.
async fn watch(mut news: News, peer: Peer<RoleServer>, wanted: Arc<Mutex<Wanted>>) {
    loop {
        let news = news.next().await;
        let uris = lock(&wanted).uris.clone();
        for uri in uris.into_iter().filter(|uri| is_touched(uri, &news)) {
            let updated = ResourceUpdatedNotificationParam::new(uri);
            if peer.notify_resource_updated(updated).await.is_err() {
                return;
            }
        }
    }
}
