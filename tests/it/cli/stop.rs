//! What a server logs when it is stopped.

use meter_sync::config::Setting;
use meter_sync::shutdown::DRAIN;
use serde_json::Value;

use crate::support::program::{self, MoreSettings, RunningProgram};
use crate::support::site::Site;

const AS_JSON: MoreSettings<'_> = &[(Setting::LogFormat, "json")];

/// The lines of the log about the stop, with their levels; the log ends with the last of them.
fn told_of_stop(running: &RunningProgram) -> Vec<(String, String)> {
    let text = |line: &Value, field: &str| line[field].as_str().expect(field).to_owned();
    let lines = running.log().into_iter();
    let lines = lines.map(|line| (text(&line, "level"), text(&line, "message")));
    let lines: Vec<_> = lines.collect();
    let told = lines
        .iter()
        .filter(|(_, message)| message.starts_with("stopp"));
    let told: Vec<_> = told.cloned().collect();
    assert_eq!(told.last(), lines.last(), "{lines:?}");
    told
}

fn stopped_cleanly() -> Vec<(String, String)> {
    let stopping = format!(
        "stopping: runs and open requests have {}s to end",
        DRAIN.as_secs()
    );
    let lines = [stopping, "stopped".to_owned()];
    lines.map(|line| ("INFO".to_owned(), line)).into()
}

#[tokio::test]
async fn a_server_that_is_terminated_logs_when_it_begins_to_stop_and_when_it_has_stopped() {
    let site = Site::new().await;
    let (mut running, _address) =
        RunningProgram::serve(program::over(&site, &["serve"], AS_JSON)).await;
    running.terminate();
    assert_eq!(running.code(2 * DRAIN).await, 0, "{}", running.stderr());
    assert_eq!(told_of_stop(&running), stopped_cleanly());
}

#[tokio::test]
async fn a_server_on_standard_input_logs_its_end_whoever_stops_it() {
    let site = Site::new().await;
    let (mut left, input, _output) =
        RunningProgram::start(program::over(&site, &["stdio"], AS_JSON));
    drop(input);
    assert_eq!(left.code(2 * DRAIN).await, 0, "{}", left.stderr());
    assert_eq!(told_of_stop(&left), stopped_cleanly());
    let mut command = program::over(&site, &["stdio"], AS_JSON);
    command.env(Setting::Schedule.env(), "@hourly");
    let (mut stopped, _input, _output) = RunningProgram::start(command);
    stopped.told("sync started").await;
    stopped.terminate();
    assert_eq!(stopped.code(2 * DRAIN).await, 0, "{}", stopped.stderr());
    assert_eq!(told_of_stop(&stopped), stopped_cleanly());
}
