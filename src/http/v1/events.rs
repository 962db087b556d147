//! `GET /api/v1/events`: the status and the progress of runs as server-sent events, the latest state and no more: a
//! reader that is slow misses what was in between, and nothing waits for it in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::{HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::{FutureExt, Stream, StreamExt, stream};
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::route::{Operation, Route};
use crate::clock;
use crate::http::Shared;
use crate::http::details::Details;
use crate::runs::status::{Status, StatusQuery};
use crate::runs::{RunProgress, Runs};

/// A page keeps one stream open for each of its windows.
const MAX_STREAMS: usize = 100;
/// `EventSource` shows no comments, so a heartbeat is an event.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// At most four a second: more is noise to a client and work for both.
const PROGRESS_PAUSE: Duration = Duration::from_millis(250);
/// How soon a client comes back that lost its stream.
const RETRY: Duration = Duration::from_secs(3);
/// How soon a client may ask again that found no room.
const NO_ROOM_SECONDS: u16 = 30;

/// The open streams: how many more there may be, and when all of them end.
#[derive(Clone, Debug)]
pub(in crate::http) struct Streams {
    room: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Streams {
    pub(in crate::http) fn new(shutdown: CancellationToken) -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_STREAMS)),
            shutdown,
        }
    }
}

/// Data of a `heartbeat`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Heartbeat {
    /// When it was sent.
    at: DateTime<Utc>,
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
    let operation = Operation::new("listenToEvents", "What happens, as it happens")
        .described("Begins with a `status`, which comes again when a run begins or ends in whatever process, when a database is lost or back, and once a minute; `progress` tells at most four times a second how far a run of this process is; a `heartbeat` comes every 15 seconds.")
        .content(200, "The events, until the server stops", Some(("text/event-stream", events)))
        .problem(503, "Too many streams are open.")
        .with("Retry-After", "Seconds until another try.");
    Route::get("/api/v1/events", open, operation)
}

async fn open(State(Shared { runs, streams, .. }): State<Shared>) -> Response {
    let Ok(room) = Arc::clone(&streams.room).try_acquire_owned() else {
        return no_room();
    };
    let events = events(runs, HEARTBEAT).take_until(streams.shutdown.cancelled_owned());
    // The room is given back with the stream, however that ends.
    let events = stream::unfold((events.boxed(), room), |(mut events, room)| async {
        Some((events.next().await?, (events, room)))
    });
    // nginx would else hold the events back until it has many.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    let unbuffered = [(unbuffered, HeaderValue::from_static("no"))];
    (unbuffered, Sse::new(events)).into_response()
}

fn no_room() -> Response {
    let problem = Details::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "TOO_MANY_STREAMS",
        format!("{MAX_STREAMS} event streams are open, which is as many as there may be."),
        "Close streams that nobody reads, or ask for /api/v1/status now and then.",
    );
    let later = [(RETRY_AFTER, HeaderValue::from(NO_ROOM_SECONDS))];
    (later, problem).into_response()
}

type Sent = Result<Event, axum::Error>;

fn events(runs: Runs, heartbeat: Duration) -> impl Stream<Item = Sent> + Send {
    let begun = async move {
        let news = runs.news(); // from before the status, so that nothing is missed in between
        let status = ask(&runs).await;
        let first = status
            .iter()
            .map(|status| Ok(event("status", status)?.retry(RETRY)));
        let first: Vec<Sent> = first.collect();
        let further = stream::unfold(
            (runs.clone(), news, status),
            |(runs, mut news, last)| async move {
                news.outdated(last.as_ref()?).await;
                let status = ask(&runs).await?;
                let event = event("status", &status);
                Some((event, (runs, news, Some(status))))
            },
        );
        let others = stream::select(progress(&runs), heartbeats(heartbeat));
        stream::iter(first).chain(stream::select(further, others))
    };
    begun.flatten_stream()
}

/// A status without a run that was asked for never fails.
async fn ask(runs: &Runs) -> Option<Status> {
    let query = StatusQuery::default();
    Box::pin(runs.status(&query)).await.ok()
}

fn progress(runs: &Runs) -> impl Stream<Item = Sent> + Send + use<> {
    let pauses =
        stream::iter(std::iter::once(Duration::ZERO).chain(std::iter::repeat(PROGRESS_PAUSE)));
    stream::unfold((runs.follow(), pauses), |(mut run, mut pauses)| async {
        tokio::time::sleep(pauses.next().await?).await;
        let progress: RunProgress = run.next().await?;
        Some((event("progress", &progress), (run, pauses)))
    })
}

fn heartbeats(pause: Duration) -> impl Stream<Item = Sent> + Send {
    stream::unfold((), move |()| async move {
        tokio::time::sleep(pause).await;
        let heartbeat = Heartbeat { at: clock::now() };
        Some((event("heartbeat", &heartbeat), ()))
    })
}

fn event(name: &str, data: &impl Serialize) -> Sent {
    Event::default().event(name).json_data(data)
}

#[cfg(test)]
mod tests {
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::config::{Config, Environment, Settings};

    #[tokio::test]
    async fn a_quiet_stream_begins_with_the_status_and_shows_that_it_is_alive() {
        let config = Config::load_from(&Settings::default(), &Environment::default());
        let runs = Runs::new(config.expect("no databases"), TaskTracker::new()).expect("no pools");
        let quiet = events(runs, Duration::from_millis(5)).take(3);
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

    /// The names and data of events, read by the letter of the standard
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
