//! `GET /api/v1/events`: streams the status of the sync and the progress of runs as server-sent events.
//!
//! Each event holds the state at the time when it is sent. Nothing is queued for a slow client, so it misses the states
//! in between.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::sse::Sse;
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use schemars::{SchemaGenerator, json_schema};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::RestState;
use super::events_of_many::events_of_all;
use super::requested_mirror::MirrorPathAndToken;
use super::route::{Route, RouteDescription};
use super::server_sent_event::{EventResult, Heartbeat, RETRY, event, heartbeats};
use crate::http::problem_details::ProblemDetails;
use crate::mirrors::Mirror;
use crate::reports::run_progress::RunProgress;
use crate::reports::status::{Status, StatusQuery};

/// The most streams that may be open at the same time. Each visible browser window with a page that updates itself
/// keeps one open.
const MAX_STREAMS: usize = 100;
/// How often a `heartbeat` event is sent. It is not an SSE comment, because `EventSource` does not show comments to
/// scripts.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The shortest time between two `progress` events. More than four a second would not help a client, and would cost
/// both the server and the client time.
const PROGRESS_PAUSE: Duration = Duration::from_millis(250);
/// The `Retry-After` header, in seconds, of the response when too many streams are open.
const NO_ROOM_SECONDS: u16 = 30;

/// Limits the number of open streams, and ends all of them at shutdown.
#[derive(Clone, Debug)]
pub(crate) struct EventStreams {
    room: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl EventStreams {
    pub(crate) fn new(shutdown: CancellationToken) -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_STREAMS)),
            shutdown,
        }
    }
}

pub(super) fn route() -> Route {
    let events = |generator: &mut SchemaGenerator| {
        json_schema!({
            "type": "string",
            "description": "Server-sent events; the data of each is JSON.",
            "x-events": {
                "status": generator.subschema_for::<Status>(),
                "progress": generator.subschema_for::<RunProgress>(),
                "heartbeat": generator.subschema_for::<Heartbeat>(),
            },
        })
    };
    let operation = RouteDescription::new("listenToEvents", "What happens, as it happens")
        .described("Begins with a `status`, which comes again when a run begins or ends in whatever process, when a database is lost or back, and once a minute; where several tenants are kept in sync and the path names none, the `status` is that of all, at most once a second, and there is no `progress`; `progress` tells at most four times a second how far a run of this process is; a `heartbeat` comes every 15 seconds.")
        .content(200, "The events, until the server stops", Some(("text/event-stream", events)))
        .problem(503, "Too many streams are open.")
        .with("Retry-After", "Seconds until another try.");
    Route::get("/api/v1/events", open, operation)
}

async fn open(
    State(RestState {
        mirrors, streams, ..
    }): State<RestState>,
    mirror_request: MirrorPathAndToken,
) -> Result<Response, ProblemDetails> {
    let events = match mirror_request.is_all(&mirrors) {
        true => events_of_all(mirrors, mirror_request.visible(), HEARTBEAT).boxed(),
        false => events(mirror_request.find(&mirrors).await?, HEARTBEAT).boxed(),
    };
    let Ok(room) = Arc::clone(&streams.room).try_acquire_owned() else {
        return Ok(no_room());
    };
    let events = events.take_until(streams.shutdown.cancelled_owned());
    // Dropping the stream drops the permit, however the stream ends.
    let events = stream::unfold((events.boxed(), room), |(mut events, room)| async {
        Some((events.next().await?, (events, room)))
    });
    // Without this header, nginx buffers the events.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    let unbuffered = [(unbuffered, HeaderValue::from_static("no"))];
    Ok((unbuffered, Sse::new(events)).into_response())
}

fn no_room() -> Response {
    let problem = ProblemDetails::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "TOO_MANY_STREAMS",
        format!("{MAX_STREAMS} event streams are open, which is as many as there may be."),
        "Close streams that nobody reads, or ask for /api/v1/status now and then.",
    );
    let later = [(RETRY_AFTER, HeaderValue::from(NO_ROOM_SECONDS))];
    (later, problem).into_response()
}

fn events(mirror: Mirror, heartbeat: Duration) -> impl Stream<Item = EventResult> + Send {
    let begun = async move {
        let events = mirror.events(); // subscribe before reading the status, so that no change is missed in between
        let status = ask(&mirror).await;
        let first = status
            .iter()
            .map(|status| Ok(event("status", status)?.retry(RETRY)));
        let first: Vec<EventResult> = first.collect();
        let further = stream::unfold(
            (mirror.clone(), events, status),
            |(mirror, mut events, last)| async move {
                events.outdated(last.as_ref()?).await;
                let status = ask(&mirror).await?;
                let event = event("status", &status);
                Some((event, (mirror, events, Some(status))))
            },
        );
        let others = stream::select(progress(&mirror), heartbeats(heartbeat));
        stream::iter(first).chain(stream::select(further, others))
    };
    begun.flatten_stream()
}

/// Reads the status of the mirror. `None` would mean that the query asks for an unknown run, but this query asks for no
/// run.
async fn ask(mirror: &Mirror) -> Option<Status> {
    let query = StatusQuery::default();
    Box::pin(mirror.status(&query)).await.ok()
}

fn progress(mirror: &Mirror) -> impl Stream<Item = EventResult> + Send + use<> {
    let pauses =
        stream::iter(std::iter::once(Duration::ZERO).chain(std::iter::repeat(PROGRESS_PAUSE)));
    stream::unfold((mirror.follow(), pauses), |(mut run, mut pauses)| async {
        tokio::time::sleep(pauses.next().await?).await;
        let progress: RunProgress = run.next().await?;
        Some((event("progress", &progress), (run, pauses)))
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::config::{CommandLineSettings, Config, Environment};

    #[tokio::test]
    async fn a_quiet_stream_begins_with_the_status_and_shows_that_it_is_alive() {
        let config = Config::load_from(&CommandLineSettings::default(), &Environment::default());
        let mirrors =
            crate::mirrors::Mirrors::new(config.expect("no databases"), TaskTracker::new());
        let mirror = mirrors.expect("no pools").only().cloned();
        let quiet = events(mirror.expect("one mirror"), Duration::from_millis(5)).take(3);
        let body = Sse::new(quiet).into_response().into_body();
        let body = axum::body::to_bytes(body, 10_000).await.expect("an end");
        let text = String::from_utf8(body.to_vec()).expect("UTF-8");
        let fields = |name| text.lines().filter_map(move |line| line.strip_prefix(name));
        let names: Vec<_> = fields("event: ").collect();
        assert_eq!(names, ["status", "heartbeat", "heartbeat"]);
        assert_eq!(fields("retry: ").collect::<Vec<_>>(), ["3000"]);
        let beat: serde_json::Value =
            serde_json::from_str(fields("data: ").next_back().expect("data")).expect("JSON");
        let at = beat["at"].as_str().expect("a time");
        assert!(DateTime::parse_from_rfc3339(at).is_ok(), "{at}");
    }

    /// Parses a stream into the name and data of each event, strictly by the standard
    /// (<https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>).
    fn read(stream: &str) -> Vec<(String, String)> {
        let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut name, mut data) = (Vec::new(), String::new(), Vec::new());
        for line in stream.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" if line.is_empty() && !data.is_empty() => {
                    events.push((std::mem::take(&mut name), data.join("\n")));
                    data.clear();
                }
                "event" => value.clone_into(&mut name),
                "data" => data.push(value),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn fuzz_no_text_begins_an_event_of_its_own() {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let odd = [
            "\n",
            "\r",
            "\n\n",
            "data: x",
            "event: status",
            ":",
            "\u{feff}",
            "\0",
        ];
        bolero::check!()
            .with_iterations(500)
            .with_type::<Vec<(char, u8)>>()
            .for_each(|drawn| {
                let pieces =
                    drawn
                        .iter()
                        .map(|(letter, place)| match odd.get(usize::from(*place % 16)) {
                            Some(piece) => (*piece).to_owned(),
                            None => letter.to_string(),
                        });
                let text: String = pieces.collect();
                let sent = [event("status", &text), event("progress", &1)];
                let body = Sse::new(stream::iter(sent)).into_response().into_body();
                let body = runtime
                    .block_on(axum::body::to_bytes(body, 1_000_000))
                    .expect("an end");
                let read = read(str::from_utf8(&body).expect("UTF-8"));
                let names: Vec<_> = read.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, ["status", "progress"]);
                let back: String = serde_json::from_str(&read[0].1).expect("JSON");
                assert_eq!(back, text);
            });
    }
}
