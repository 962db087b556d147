//! Builds server-sent events, and a stream of `heartbeat` events.

use std::time::Duration;

use axum::response::sse::Event;
use chrono::{DateTime, Utc};
use futures_util::{Stream, stream};
use schemars::JsonSchema;
use serde::Serialize;

use crate::machine_clock;

/// How long a client waits before it reconnects. Sent in the `retry` field of the first event.
pub(super) const RETRY: Duration = Duration::from_secs(3);

/// One event for a stream of server-sent events, or the error if its data could not be written as JSON.
pub(super) type EventResult = Result<Event, axum::Error>;

/// The data of a `heartbeat` event, which shows that the stream still works.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Heartbeat {
    /// When the event was sent.
    at: DateTime<Utc>,
}

pub(super) fn heartbeats(pause: Duration) -> impl Stream<Item = EventResult> + Send {
    stream::unfold((), move |()| async move {
        tokio::time::sleep(pause).await;
        let heartbeat = Heartbeat {
            at: machine_clock::now(),
        };
        Some((event("heartbeat", &heartbeat), ()))
    })
}

pub(super) fn event(name: &str, data: &impl Serialize) -> EventResult {
    Event::default().event(name).json_data(data)
}
