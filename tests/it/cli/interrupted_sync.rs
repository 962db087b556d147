//! What Ctrl-C does to `sync`, and how runs that did not succeed are logged.

use std::time::Duration;

use meter_sync::config::Setting;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::run;
use crate::support::program::{self, RunningProgram};
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{Site, rows};

/// Starts a sync, interrupts it while it is held, and gives its exit code and what it printed.
async fn interrupted(site: &Site, arguments: &[&str]) -> (i32, String) {
    let (mut running, _input, mut output) =
        RunningProgram::start(program::over(site, arguments, &[]));
    run_hold::running(site).await;
    running.interrupt();
    let code = running.code(Duration::from_secs(10)).await;
    let mut printed = String::new();
    output.read_to_string(&mut printed).await.expect("text");
    (code, printed)
}

#[tokio::test]
async fn an_interrupted_sync_cancels_its_run_and_says_so() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    let held = RunHold::new(&site).await;
    let (code, printed) = interrupted(&site, &["sync"]).await;
    assert_eq!(code, 1, "{printed}");
    for part in [
        "The sync was interrupted",
        "no meter was changed",
        "INTERRUPTED",
        "\nRun ",
    ] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let log = "select outcome, error_code from meter_sync.meter_sync_log";
    assert_eq!(
        rows(&site.local, log).await,
        json!([{"outcome": "interrupted", "error_code": "INTERRUPTED"}])
    );
    let (code, printed) = interrupted(&site, &["sync", "--json"]).await;
    let report: Value = serde_json::from_str(&printed).expect("one object");
    assert_eq!((code, &report["outcome"]), (1, &json!("interrupted")));
    held.release().await;
    let meters = "select count(*)::int as n from meter";
    assert_eq!(rows(&site.local, meters).await, json!([{"n": 0}]));
}

#[tokio::test]
async fn a_sync_that_still_waits_for_its_database_ends_at_once_when_it_is_interrupted() {
    let site = Site::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = silent.local_addr().expect("an address");
    let url = format!("postgres://nobody@{address}/nothing?sslmode=disable");
    let more = [(Setting::LocalUrl, url.as_str())];
    let (mut running, _input, _output) =
        RunningProgram::start(program::over(&site, &["sync"], &more));
    let _connection = silent.accept().await.expect("a connection");
    running.interrupt();
    // It would wait ten seconds for a connection.
    assert_eq!(running.code(Duration::from_secs(5)).await, 1);
    let told = running.stderr();
    assert!(told.contains("The sync was stopped"), "{told}");
    assert!(told.contains("INTERRUPTED"), "{told}");
}

#[tokio::test]
async fn runs_that_did_not_succeed_are_logged_as_warnings_or_errors() {
    let site = Site::new().await;
    let level = async |outcome: &str| {
        let more = [(Setting::LogFormat, "json"), (Setting::Log, "info")];
        let ended = run(&site, &["sync"], &more).await;
        let lines = ended.stderr.lines().map(serde_json::from_str::<Value>);
        let lines: Vec<Value> = lines.map(|line| line.expect("JSON")).collect();
        let of_the_end = lines.iter().find(|line| line["run.outcome"] == outcome);
        let line = of_the_end.unwrap_or_else(|| panic!("{outcome}: {ended:?}"));
        line["level"].as_str().expect("a level").to_owned()
    };
    site.on_remote("insert into meter (id, tenant_id) select n, 7 from generate_series(1, 20) n")
        .await;
    assert_eq!(level("succeeded").await, "INFO");
    assert_eq!(level("no_change").await, "INFO");
    site.on_remote("update meter set name = repeat('x', 81) where id = 1")
        .await;
    assert_eq!(level("partial").await, "WARN");
    site.on_remote("delete from meter where id > 5").await;
    assert_eq!(level("refused").await, "WARN");
    site.on_remote("alter table meter drop column active").await;
    assert_eq!(level("failed").await, "ERROR");
}
