//! A `traceparent` of a REST request, in the logs.

use meter_sync::config::Setting;
use reqwest::Client;

use crate::support::program::{self, Running};
use crate::support::site::Site;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn the_log_lines_of_a_run_tell_the_trace_of_the_request() {
    let site = Site::new().await;
    let json = [(Setting::LogFormat, "json")];
    let (program, address) = Running::serve(program::over(&site, &["serve"], &json)).await;
    let traced = format!("00-{TRACE}-b7ad6b7169203331-01");
    let malformed = format!("00-{}-b7ad6b7169203331-01", TRACE.to_uppercase());
    for given in [&traced, &malformed] {
        let request = Client::new()
            .post(format!("http://{address}/api/local/meter-sync-trigger"))
            .header("traceparent", given);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    let traces = program.traces_of_runs();
    let told = Some(TRACE.to_owned());
    assert_eq!(
        traces,
        [told.clone(), told, None, None],
        "{}",
        program.stderr()
    );
}

#[tokio::test]
async fn what_is_logged_of_a_request_tells_its_trace() {
    let settings = [
        (Setting::LogFormat, "json"),
        (Setting::Log, "meter_sync=debug"),
    ];
    let (program, address) = Running::serve(program::bare(&["serve"], &settings)).await;
    let request = Client::new()
        .get(format!("http://{address}/livez"))
        .header("host", "evil.example")
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
    assert_eq!(request.send().await.expect("an answer").status(), 403);
    let refused = program
        .log()
        .into_iter()
        .find(|line| line["problem"] == "HostNotAllowed");
    let refused = refused.unwrap_or_else(|| panic!("{}", program.stderr()));
    assert_eq!(refused["span"]["trace.id"], TRACE, "{refused}");
}
