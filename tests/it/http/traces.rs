//! A `traceparent` of a REST request, in the logs.

use meter_sync::config::Setting;
use reqwest::Client;
use reqwest::redirect::Policy;

use crate::support::program::{self, RunningProgram};
use crate::support::site::Site;
use crate::support::{run_hold, wait};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn the_log_lines_of_a_run_tell_the_trace_of_the_request() {
    let site = Site::new().await;
    let json = [(Setting::LogFormat, "json")];
    let (program, address) = RunningProgram::serve(program::over(&site, &["serve"], &json)).await;
    let traced = format!("00-{TRACE}-b7ad6b7169203331-01");
    let malformed = format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase());
    for given in [&traced, &malformed] {
        let request = Client::new()
            .post(format!("http://{address}/api/local/meter-sync-trigger"))
            .header("traceparent", given);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    let traces = program.traces_of_runs(4).await;
    let told = Some(TRACE.to_owned());
    assert_eq!(
        traces,
        [told.clone(), told, None, None],
        "{}",
        program.stderr()
    );
}

#[tokio::test]
async fn whatever_route_asks_for_a_run_gives_it_the_trace() {
    let site = Site::new().await;
    let json = [(Setting::LogFormat, "json")];
    let (program, address) = RunningProgram::serve(program::over(&site, &["serve"], &json)).await;
    let own = format!("http://{address}");
    let client = Client::builder()
        .redirect(Policy::none())
        .build()
        .expect("a client");
    for (path, status) in [("/api/v1/sync", 200), ("/sync", 303)] {
        let request = client
            .post(format!("{own}{path}"))
            .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
            .header("prefer", "wait=30")
            .header("origin", &own);
        let request = match path {
            "/sync" => request
                .header("content-type", "application/x-www-form-urlencoded")
                .body("do=sync"),
            _ => request,
        };
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{path}");
        run_hold::outcomes(&site).await;
    }
    let told = Some(TRACE.to_owned());
    assert_eq!(
        program.traces_of_runs(4).await,
        [told.clone(), told.clone(), told.clone(), told]
    );
}

#[tokio::test]
async fn what_is_logged_of_a_request_tells_its_trace() {
    let settings = [
        (Setting::LogFormat, "json"),
        (Setting::Log, "meter_sync=debug"),
    ];
    let (program, address) = RunningProgram::serve(program::bare(&["serve"], &settings)).await;
    let request = Client::new()
        .get(format!("http://{address}/livez"))
        .header("host", "evil.example")
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
    assert_eq!(request.send().await.expect("an answer").status(), 403);
    // A thread of its own writes the log.
    let logged = || {
        let mut lines = program.log().into_iter();
        lines.find(|line| line["problem"] == "HostNotAllowed")
    };
    let is_logged = async || logged().is_some();
    wait::until("the refusal is logged", is_logged).await;
    let refused = logged().expect("a line");
    assert_eq!(refused["span"]["trace.id"], TRACE, "{refused}");
}
