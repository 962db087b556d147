//! The stream of events.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use meter_sync::config::{CommandLineSettings, Setting};
use serde_json::{Value, json};

use super::api_client::ApiClient;
use crate::support::event_stream::events;
use crate::support::http_server::{HttpServer, send};
use crate::support::proxy::{Fault, Proxy};
use crate::support::run_hold::RunHold;
use crate::support::site::Site;
use crate::support::wait;

const EVENTS: &str = "GET /api/v1/events";
/// Nothing a test waits for takes longer unless it never comes.
const PATIENCE: Duration = Duration::from_secs(30);

struct Listener(Pin<Box<dyn Stream<Item = (String, String)> + Send>>);

impl Listener {
    async fn new(served: &HttpServer) -> Self {
        Self(Box::pin(events(send(served.request(EVENTS)).await)))
    }

    /// The next event, but for heartbeats.
    async fn next(&mut self) -> (String, Value) {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next());
            let (name, data) = next.await.expect("in time").expect("an event");
            if name != "heartbeat" {
                return (name, serde_json::from_str(&data).expect("JSON"));
            }
        }
    }

    /// The next status that is so.
    async fn status(&mut self, is_so: impl Fn(&Value) -> bool) -> Value {
        loop {
            let (name, data) = self.next().await;
            if name == "status" && is_so(&data) {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn a_stream_begins_with_the_status_and_tells_of_a_run_from_begin_to_end() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    let api = ApiClient::new(&site.settings()).await;
    let response = send(api.served.request(EVENTS)).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut listener = Listener(Box::pin(events(response)));
    let (name, status) = listener.next().await;
    assert_eq!(
        (name.as_str(), &status["activity"]),
        ("status", &json!("idle"))
    );
    let of = |name: &str| {
        let content =
            &api.description["paths"]["/api/v1/events"]["get"]["responses"]["200"]["content"];
        content["text/event-stream"]["schema"]["x-events"][name].clone()
    };
    api.assert_fits(&of("status"), &status);

    let held = RunHold::new(&site).await;
    let accepted = api.ask("POST /api/v1/sync").await.body;
    let (name, progress) = listener.next().await;
    assert_eq!(name, "progress");
    api.assert_fits(&of("progress"), &progress);
    assert_eq!(progress["run_id"], accepted["run_id"]);
    let running = listener
        .status(|status| status["activity"] == "running")
        .await;
    assert_eq!(running["running"]["run_id"], accepted["run_id"]);
    held.release().await;
    let ended = listener.status(|status| status["activity"] == "idle").await;
    assert_eq!(ended["last_run"]["run_id"], accepted["run_id"]);
    assert_eq!(ended["last_run"]["outcome"], "succeeded");
    assert_eq!(ended["meters"]["active"], 1);
}

#[tokio::test]
async fn a_run_of_another_process_is_told_of_too() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    let mut listener = Listener::new(&served).await;
    let (_, status) = listener.next().await;
    assert!(status.get("last_run").is_none());
    let run = site.sync().await.run_id.to_string();
    let told = listener
        .status(|status| status["last_run"]["run_id"] == *run)
        .await;
    assert_eq!(told["last_run"]["outcome"], "no_change");
}

#[tokio::test]
async fn a_remote_that_is_lost_is_told_of() {
    let site = Site::new().await;
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    let served = HttpServer::new(&site.settings().with(Setting::RemoteUrl, nowhere)).await;
    let mut listener = Listener::new(&served).await;
    let (_, status) = listener.next().await;
    assert_eq!(status["connections"]["remote"]["state"], "unknown");
    let dry_run = served
        .request("POST /api/v1/sync")
        .json(&json!({"dry_run": true}));
    assert_eq!(send(dry_run).await.status(), 202);
    let is_lost = |status: &Value| status["connections"]["remote"]["state"] == "failed";
    let told = listener.status(is_lost).await;
    assert_eq!(
        told["connections"]["remote"]["error"]["code"],
        "REMOTE_UNREACHABLE"
    );
}

#[tokio::test]
async fn a_local_database_that_is_lost_and_back_is_told_of_though_nothing_runs() {
    let site = Site::new().await;
    let (line, through) = Proxy::before(&site.pair.local_url).await;
    let served = HttpServer::new(&site.settings().with(Setting::LocalUrl, through)).await;
    let mut listener = Listener::new(&served).await;
    let local = |status: &Value| status["connections"]["local"]["state"].clone();
    let (_, status) = listener.next().await;
    assert_eq!(local(&status), "ok");
    line.set(Fault::Refuse);
    let lost = listener.status(|status| local(status) == "failed").await;
    assert_eq!(lost["meters"], Value::Null);
    line.set(Fault::None);
    listener.status(|status| local(status) == "ok").await;
}

#[tokio::test]
async fn streams_end_at_once_when_the_server_stops() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    let mut listener = Listener::new(&served).await;
    listener.next().await;
    let begun = Instant::now();
    drop(served);
    let end = tokio::time::timeout(PATIENCE, listener.0.next()).await;
    assert_eq!(end, Ok(None));
    assert!(begun.elapsed() < Duration::from_secs(3), "{begun:?}");
}

#[tokio::test]
async fn there_are_so_many_streams_and_room_again_when_one_ends() {
    let served =
        HttpServer::new(&CommandLineSettings::default().with(Setting::Schedule, "off")).await;
    let mut open = Vec::new();
    for _ in 0..100 {
        let response = send(served.request(EVENTS)).await;
        assert_eq!(response.status(), 200);
        open.push(response);
    }
    let refused = send(served.request(EVENTS)).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "30");
    let problem: Value = refused.json().await.expect("JSON");
    assert_eq!(problem["code"], "TOO_MANY_STREAMS");
    open.pop();
    let has_room = async || send(served.request(EVENTS)).await.status() == 200;
    wait::until("there is room again", has_room).await;
}
