//! The streams of events of all tenants and of one.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use meter_sync::config::Setting;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;
use serde_json::{Value, json};

use super::{of_three, site, sync};
use crate::http::v1::api_client::ApiClient;
use crate::support::event_stream::events;
use crate::support::http_server::send;
use crate::support::site::mirrors;

const PATIENCE: Duration = Duration::from_secs(30);

type RunEvents = Pin<Box<dyn Stream<Item = (String, String)> + Send>>;

async fn listen(api: &ApiClient, path: &str, token: &str) -> RunEvents {
    let request = api
        .served
        .request(&format!("GET {path}"))
        .bearer_auth(token);
    Box::pin(events(send(request).await))
}

/// The next event of a name, and what was skipped.
async fn next(events: &mut RunEvents, name: &str) -> Value {
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await;
        let (found, data) = event.expect("in time").expect("an event");
        if found == name {
            return serde_json::from_str(&data).expect("JSON");
        }
    }
}

#[tokio::test]
async fn the_stream_of_all_tells_when_a_tenant_changes_and_the_stream_of_one_of_its_runs() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    let mut all = listen(&api, "/api/v1/events", "none set").await;
    let mut of_seven = listen(&api, "/api/v1/tenants/7/events", "none set").await;
    let first = next(&mut all, "status").await;
    assert_eq!(first["tenants"]["by_health"]["never_run"], 3);
    assert_eq!(next(&mut of_seven, "status").await["tenant"]["id"], "7");
    let run = sync(&api, "7").await;
    loop {
        let status = next(&mut all, "status").await;
        if status["tenants"]["by_health"]["never_run"] == 2 {
            break;
        }
    }
    loop {
        let status = next(&mut of_seven, "status").await;
        if status["last_run"]["run_id"] == json!(run) {
            break;
        }
    }
}

#[tokio::test]
async fn a_stream_is_silent_about_tenants_that_the_token_does_not_count_for() {
    let site = site().await;
    let tokens = "read:ann@7:0123456789abcdef,trigger:fedcba9876543210";
    let api = ApiClient::with(
        &of_three(&site).with(Setting::Tokens, tokens),
        "fedcba9876543210",
    )
    .await;
    let mut events = listen(&api, "/api/v1/events", "0123456789abcdef").await;
    assert_eq!(next(&mut events, "status").await["tenants"]["total"], 1);
    sync(&api, "8").await;
    sync(&api, "7").await;
    let status = next(&mut events, "status").await;
    assert_eq!(status["tenants"]["list"][0]["tenant_id"], "7");
    assert_eq!(status["tenants"]["total"], 1);
    assert!(
        status["tenants"]["list"][0]["last_run"].is_object(),
        "only tenant 7 is told of: {status:#}"
    );
}

/// The status of a stream is read again after a minute in any case, which is longer than the test waits.
#[tokio::test]
async fn the_stream_of_a_tenant_tells_that_a_sweep_of_another_process_found_it_unchanged() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    sync(&api, "7").await;
    let mut of_seven = listen(&api, "/api/v1/tenants/7/events", "none set").await;
    let first = next(&mut of_seven, "status").await;
    assert!(first["last_run"].is_object(), "{first:#}");
    assert!(first["checked_at"].is_null(), "{first:#}");
    let request = RunRequest::new(RunTrigger::Cli);
    let swept = mirrors(&of_three(&site)).sweep(&request, |_, _| {}).await;
    assert_eq!(swept.expect("a sweep").record.counts.unchanged, 1);
    while next(&mut of_seven, "status").await["checked_at"].is_null() {}
}
