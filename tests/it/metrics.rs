//! `/metrics` as Prometheus reads it, of programs over real sites: recorders are of a process, so each test
//! that counts has one of its own.

use std::time::Duration;

use meter_sync::config::Setting;
use reqwest::Client;

use super::support::program::{self, MoreSettings, RunningProgram};
use super::support::proxy::{Fault, Proxy};
use super::support::run_hold::{self, RunHold};
use super::support::scrape::{get, labels, scrape};
use super::support::site::{NOWHERE, Site};
use super::support::wait;

const TRIGGER: &str = "/api/local/meter-sync-trigger";
const FAILURES: &str = "meter_sync_consecutive_failures";
const LAST_SUCCESS: &str = "meter_sync_last_success_timestamp_seconds";
const LAST_RUN: &str = "meter_sync_last_run_timestamp_seconds";
const NEXT_RUN: &str = "meter_sync_next_run_timestamp_seconds";
/// What Prometheus gives a scrape unless told otherwise.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
const METERS: &str = "insert into meter (id, tenant_id, name, active)
    values (1, 7, 'a', true), (2, 7, 'b', true), (3, 7, 'c', false), (4, 8, 'd', true)";

const OUTCOMES: [&str; 7] = [
    "succeeded",
    "no_change",
    "partial",
    "failed",
    "refused",
    "interrupted",
    "dry_run",
];
const TRIGGERS: [&str; 6] = ["schedule", "startup", "mcp", "rest", "page", "cli"];
const ACTIONS: [&str; 4] = ["insert", "update", "deactivate", "reactivate"];

/// The program over a site, and its address.
async fn serve(site: &Site, more: MoreSettings<'_>) -> (RunningProgram, String) {
    RunningProgram::serve(program::over(site, &["serve"], more)).await
}

/// A sync by REST to its end.
async fn sync(address: &str) {
    let asked = Client::new()
        .post(format!("http://{address}{TRIGGER}"))
        .send();
    asked.await.expect("an answer");
}

#[tokio::test]
async fn before_the_first_run_every_count_is_zero_and_what_is_not_known_is_absent() {
    let site = Site::new().await;
    let (_program, address) = serve(&site, &[]).await;
    let response = get(&address).await;
    let format = response.headers()["content-type"].to_str().expect("text");
    assert_eq!(format, "text/plain; version=0.0.4");
    let scrape = scrape(&address).await;
    for outcome in OUTCOMES {
        for trigger in TRIGGERS {
            assert_eq!(scrape.runs(outcome, trigger), 0.0);
        }
    }
    for action in ACTIONS {
        assert_eq!(scrape.changes(action), 0.0);
    }
    for family in [
        "meter_sync_rejected_total",
        "meter_sync_remote_bytes_total",
        FAILURES,
    ] {
        assert_eq!(scrape.value(family), 0.0, "{family}");
    }
    let remote = "meter_sync_database_up{side=\"remote\"}";
    for unknown in [LAST_SUCCESS, LAST_RUN, NEXT_RUN, remote] {
        assert!(!scrape.has(unknown), "{unknown}: {}", scrape.text);
    }
    assert_eq!(scrape.value("meter_sync_database_up{side=\"local\"}"), 1.0);
    assert_eq!(scrape.health(), "never_run");
}

#[tokio::test]
async fn a_run_counts_by_its_end_by_who_asked_and_by_what_it_did() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let (_program, address) = serve(&site, &[]).await;
    sync(&address).await;
    site.on_remote("update meter set name = 'A' where id = 1; update meter set active = true where id = 3; delete from meter where id = 2").await;
    sync(&address).await;
    sync(&address).await;

    let scrape = scrape(&address).await;
    assert_eq!(scrape.runs("succeeded", "rest"), 2.0);
    assert_eq!(scrape.runs("no_change", "rest"), 1.0);
    assert_eq!(scrape.sum("meter_sync_runs_total"), 3.0);
    let changes = ACTIONS.map(|action| scrape.changes(action));
    assert_eq!(changes, [3.0, 1.0, 1.0, 1.0]);
    let log = "select sum(remote_bytes)::bigint from meter_sync.meter_sync_log";
    let bytes: i64 = site
        .local
        .query_one(log, &[])
        .await
        .expect("the log")
        .get(0);
    assert!(bytes > 0);
    assert_eq!(scrape.value("meter_sync_remote_bytes_total"), bytes as f64);
    let durations = "meter_sync_run_duration_seconds_count";
    assert_eq!(
        scrape.value(&format!("{durations}{{outcome=\"succeeded\"}}")),
        2.0
    );
    assert_eq!(scrape.sum(durations), 3.0);

    assert_eq!(scrape.value("meter_sync_meters{state=\"active\"}"), 2.0);
    assert_eq!(scrape.value("meter_sync_meters{state=\"inactive\"}"), 1.0);
    let log = "select extract(epoch from date_trunc('milliseconds', max(finished_at)))::float8
        from meter_sync.meter_sync_log";
    let ended: f64 = site
        .local
        .query_one(log, &[])
        .await
        .expect("the log")
        .get(0);
    assert!((scrape.value(LAST_SUCCESS) - ended).abs() < 0.0015);
    assert_eq!(scrape.value(LAST_RUN), scrape.value(LAST_SUCCESS));
    assert_eq!(scrape.value("meter_sync_database_up{side=\"remote\"}"), 1.0);
    assert_eq!(scrape.value("meter_sync_running"), 0.0);
    assert_eq!(scrape.health(), "paused");
}

#[tokio::test]
async fn a_run_in_progress_is_told_by_every_process() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let (_program, address) = serve(&site, &[]).await;
    let (_other, elsewhere) = serve(&site, &[]).await;
    let held = RunHold::new(&site).await;
    let meanwhile = async {
        run_hold::running(&site).await;
        for address in [&address, &elsewhere] {
            let scrape = scrape(address).await;
            assert_eq!(scrape.value("meter_sync_running"), 1.0);
            assert_eq!(scrape.sum("meter_sync_runs_total"), 0.0, "it has not ended");
        }
        held.release().await;
    };
    tokio::join!(sync(&address), meanwhile);
    for address in [&address, &elsewhere] {
        assert_eq!(scrape(address).await.value("meter_sync_running"), 0.0);
    }
}

#[tokio::test]
async fn failures_in_a_row_are_counted_from_the_log_until_a_success() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let (_program, address) = serve(&site, &[]).await;
    sync(&address).await;
    let synced_at = scrape(&address).await.value(LAST_SUCCESS);
    site.on_remote("alter table meter rename to mislaid").await;
    // The first few are told from the runs that a status reads, more are counted.
    for failures in 1..=8 {
        sync(&address).await;
        if failures == 2 {
            site.dry_run().await;
        }
        let scrape = scrape(&address).await;
        assert_eq!(scrape.value(FAILURES), f64::from(failures));
        assert_eq!(scrape.runs("failed", "rest"), f64::from(failures));
        assert_eq!(scrape.health(), "failing");
    }
    let failing = scrape(&address).await;
    assert_eq!(failing.value(LAST_SUCCESS), synced_at);
    assert!(failing.value(LAST_RUN) > synced_at);
    assert_eq!(failing.changes("insert"), 3.0);

    let (_other, elsewhere) = serve(&site, &[]).await;
    let elsewhere = scrape(&elsewhere).await;
    assert_eq!(elsewhere.value(FAILURES), 8.0, "the log is everybody's");
    assert_eq!(
        elsewhere.runs("failed", "rest"),
        0.0,
        "a count is of a process"
    );

    site.on_remote("alter table mislaid rename to meter").await;
    sync(&address).await;
    assert_eq!(scrape(&address).await.value(FAILURES), 0.0);
}

#[tokio::test]
async fn failures_without_any_success_are_all_counted() {
    let site = Site::new().await;
    site.on_remote("drop table meter").await;
    let (_program, address) = serve(&site, &[]).await;
    for failures in 1..=7 {
        sync(&address).await;
        assert_eq!(scrape(&address).await.value(FAILURES), f64::from(failures));
    }
}

#[tokio::test]
async fn what_becomes_unknown_disappears_and_comes_back() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let (line, local) = Proxy::before(&site.pair.local_url).await;
    let settings = [
        (Setting::LocalUrl, &*local),
        (Setting::ConnectTimeout, "30s"),
    ];
    let (_program, address) = serve(&site, &settings).await;
    sync(&address).await;
    let known = scrape(&address).await;
    let asked = ["meter_sync_meters", FAILURES];
    assert!(asked.iter().all(|family| known.has(family)));

    for fault in [Fault::Refuse, Fault::Stall] {
        line.set(fault);
        let down = tokio::time::timeout(SCRAPE_TIMEOUT, scrape(&address)).await;
        let down = down.expect("an answer before Prometheus gives up");
        assert_eq!(
            down.value("meter_sync_database_up{side=\"local\"}"),
            0.0,
            "{fault:?}"
        );
        for family in asked {
            assert!(!down.has(family), "{fault:?} {family}");
        }
        assert_eq!(down.health(), "failing", "{fault:?}");
        // What this process itself has seen is still so.
        assert_eq!(down.get(LAST_SUCCESS), known.get(LAST_SUCCESS), "{fault:?}");
        assert_eq!(down.runs("succeeded", "rest"), 1.0, "{fault:?}");
    }

    line.set(Fault::None);
    let is_back = async || scrape(&address).await.has("meter_sync_meters");
    wait::until("the local database is there again", is_back).await;
    let back = scrape(&address).await;
    assert_eq!(back.value("meter_sync_meters{state=\"active\"}"), 2.0);
    assert_eq!(back.value("meter_sync_database_up{side=\"local\"}"), 1.0);
}

#[tokio::test]
async fn pools_show_what_they_hold_and_nothing_is_said_of_a_database_that_is_not_set() {
    let site = Site::new().await;
    let (_program, address) = serve(&site, &[]).await;
    let first = scrape(&address).await;
    let pool = |side: &str, state: &str| {
        format!("meter_sync_pool_connections{{side=\"{side}\",state=\"{state}\"}}")
    };
    assert_eq!(first.value(&pool("local", "idle")), 1.0, "the scrape's own");
    assert_eq!(first.value(&pool("local", "in_use")), 0.0);
    assert_eq!(first.value(&pool("local", "max")), 6.0);
    assert_eq!(first.value(&pool("remote", "idle")), 0.0);
    assert_eq!(first.value(&pool("remote", "max")), 2.0);

    let (_bare, address) = RunningProgram::serve(program::bare(&["serve"], &[])).await;
    let bare = scrape(&address).await;
    for family in [
        "meter_sync_pool_connections",
        "meter_sync_database_up",
        FAILURES,
        NEXT_RUN,
    ] {
        assert!(!bare.has(family), "{family}: {}", bare.text);
    }
    assert_eq!(bare.health(), "not_configured");
}

#[tokio::test]
async fn a_run_that_cannot_begin_counts_as_failed() {
    let settings = [
        (Setting::RemoteUrl, &*format!("{NOWHERE}_else")),
        (Setting::LocalUrl, NOWHERE),
        (Setting::Schedule, "off"),
    ];
    let (_program, address) = RunningProgram::serve(program::bare(&["serve"], &settings)).await;
    sync(&address).await;
    let scrape = scrape(&address).await;
    assert_eq!(scrape.runs("failed", "rest"), 1.0);
    assert!(scrape.has(LAST_RUN), "this process knows of it");
    assert!(!scrape.has(FAILURES), "and what others did is not known");
}

#[tokio::test]
async fn the_next_run_is_told_while_there_is_a_schedule() {
    let site = Site::new().await;
    let yearly = [(Setting::Schedule, "0 0 1 1 *")];
    let (_program, address) = serve(&site, &yearly).await;
    let next = scrape(&address).await.value(NEXT_RUN);
    let sql = "select extract(epoch from date_trunc('year', now() at time zone 'UTC') + interval '1 year')::float8";
    let expected: f64 = site.local.query_one(sql, &[]).await.expect("a year").get(0);
    assert_eq!(next, expected);
}

fn closed_set(label: &str) -> &'static [&'static str] {
    match label {
        "outcome" => &OUTCOMES,
        "trigger" => &TRIGGERS,
        "action" => &ACTIONS,
        "state" => &["active", "inactive", "idle", "in_use", "max"],
        "side" => &["remote", "local"],
        "health" => &[
            "not_configured",
            "never_run",
            "ok",
            "late",
            "failing",
            "stale",
            "paused",
        ],
        "version" => &[env!("CARGO_PKG_VERSION")],
        "le" => &[
            "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "15", "60", "180",
            "450", "900", "+Inf",
        ],
        other => panic!("no such label: {other}"),
    }
}

#[tokio::test]
async fn a_label_is_one_of_a_closed_set_whatever_users_and_databases_say() {
    let site = Site::new().await;
    let hostile = r#"x"} 1
meter_sync_running 1 # {evil=\"label\"}"#;
    site.on_remote(&format!(
        "insert into meter (id, tenant_id, name) values (1, 7, $q${hostile}$q$)"
    ))
    .await;
    site.on_local(&format!(
        "update tenant set name = $q${hostile}$q$; comment on table meter is $q${hostile}$q$"
    ))
    .await;
    let (_program, address) = serve(&site, &[]).await;
    let asked = Client::new()
        .post(format!("http://{address}{TRIGGER}"))
        .header("user-agent", r#"evil"} 1 {evil="label""#)
        .header("traceparent", r#"evil"} 1 {evil="label""#);
    asked.send().await.expect("an answer");
    site.on_remote(&format!(
        "alter table meter rename column name to \"{}\"",
        hostile.replace('"', "\"\"")
    ))
    .await;
    sync(&address).await;

    let scrape = scrape(&address).await;
    assert_eq!(scrape.sum("meter_sync_runs_total"), 2.0);
    for series in scrape.series.keys() {
        for (label, value) in labels(series) {
            assert!(closed_set(label).contains(&value), "{series}");
        }
    }
    assert!(!scrape.text.contains("evil"), "{}", scrape.text);
}

#[tokio::test]
async fn a_token_that_may_read_may_scrape_and_none_may_not() {
    let site = Site::new().await;
    let tokens = "read:0123456789abcdef";
    let (_program, address) = serve(&site, &[(Setting::Tokens, tokens)]).await;
    assert_eq!(get(&address).await.status(), 401);
    let request = Client::new().get(format!("http://{address}/metrics"));
    let response = request
        .bearer_auth("0123456789abcdef")
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(
        response
            .text()
            .await
            .expect("text")
            .contains("meter_sync_health")
    );
}
