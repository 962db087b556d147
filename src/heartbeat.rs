//! Tells a monitoring service (healthchecks.io and alike) that a sync has begun or ended, by calling a URL of it. The service
//! raises an alarm if a sync does not succeed, or if no call comes in time, for instance because this machine is down.
//!
//! A call never delays a sync: it is made by a background task, and given up if it fails a few times.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::Uri;
use tokio_util::task::TaskTracker;

use crate::config::HeartbeatUrl;
use crate::http_client;

/// How often the call about the end of a sync is tried.
const TRIES: u32 = 3;
/// The pause between two tries of a call.
const PAUSE: Duration = Duration::from_secs(1);

/// The calls to the monitoring service, in the order of what they tell.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    url: HeartbeatUrl,
    tasks: TaskTracker,
    calls: Arc<Mutex<PendingCalls>>,
}

/// The calls that have not been made yet.
#[derive(Debug, Default)]
struct PendingCalls {
    /// The URL to call next, and the text to send. A later call takes its place, because only the latest state matters.
    next: Option<Call>,
    /// Whether a task makes the calls.
    is_calling: bool,
}

/// One call.
#[derive(Debug)]
struct Call {
    url: Uri,
    text: String,
    /// How often it is tried.
    tries: u32,
}

impl Heartbeat {
    /// Creates the heartbeat. Calls are made on `tasks`, so that a shutdown can wait for them.
    pub(crate) fn new(url: HeartbeatUrl, tasks: TaskTracker) -> Self {
        Self {
            url,
            tasks,
            calls: Arc::default(),
        }
    }

    /// Tells that a sync has begun, in one try. This is left out while an earlier call is being made.
    pub(crate) fn begun(&self) {
        if !lock(&self.calls).is_calling {
            self.call(Call {
                url: self.url.with("start"),
                text: String::new(),
                tries: 1,
            });
        }
    }

    /// Tells how a sync has ended, with a sentence about it.
    pub(crate) fn ended(&self, is_success: bool, summary: String) {
        self.call(Call {
            url: match is_success {
                true => self.url.success(),
                false => self.url.with("fail"),
            },
            text: summary,
            tries: TRIES,
        });
    }

    fn call(&self, call: Call) {
        let mut calls = lock(&self.calls);
        calls.next = Some(call);
        if !std::mem::replace(&mut calls.is_calling, true) {
            self.tasks.spawn(make_calls(Arc::clone(&self.calls)));
        }
    }
}

fn lock(calls: &Mutex<PendingCalls>) -> std::sync::MutexGuard<'_, PendingCalls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes calls until there are none to make.
async fn make_calls(calls: Arc<Mutex<PendingCalls>>) {
    loop {
        let next = {
            let mut calls = lock(&calls);
            calls.is_calling = calls.next.is_some();
            calls.next.take()
        };
        let Some(call) = next else {
            return;
        };
        make(&call).await;
    }
}

async fn make(call: &Call) {
    for attempt in 1..=call.tries {
        match http_client::post(&call.url, call.text.clone()).await {
            Ok(()) => return,
            Err(error) if attempt == call.tries => {
                tracing::warn!(%error, "METER_SYNC_HEARTBEAT_URL could not be called");
            }
            Err(_error) => tokio::time::sleep(PAUSE).await,
        }
    }
}
