//! A year of hourly runs in a few minutes, with faults in between: the real program keeps neither memory nor
//! descriptors nor connections, and the local database keeps its size.
//!
//! `TEST_SIZE=60` is the whole year of 8,760 runs; each unit is 146 runs, about six days. At least three windows are measured
//! after the use has settled, so that what grows by little with each run is found, too.

use std::collections::BTreeMap;

use meter_sync::config::Setting;
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::process_resources::{descriptors, memory_kb};
use crate::support::program::{self, RunningProgram};
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{Site, rows};
use crate::support::test_size::size;

const RUNS_A_UNIT: u64 = 146;
/// After so many runs what is used has settled: each meter that changes has done so, and runs were deleted.
const SETTLED: u64 = 130;
/// What is used is measured after so many runs each; one run in twelve has a fault.
const WINDOW: u64 = 24;
/// What grows in so many windows one after the other leaks.
const WINDOWS: usize = 3;
/// Runs with problems are kept four times as long as the log's one day, and one run in twelve is one.
const KEPT_RUNS: i64 = 24 + 2 + 4 * 3;

const METERS: &str = "insert into meter (id, tenant_id, name, notes)
     select n, 7, 'Meter ' || n, repeat('note ', 20) from generate_series(1, 300) n";

/// The clock of the log goes on by an hour, since the runs take seconds.
const HOUR: &str = "update meter_sync.meter_sync_log
     set started_at = started_at - interval '1 hour', finished_at = finished_at - interval '1 hour'
     where not is_pruned";

/// What autovacuum does within six days.
const VACUUM: &str = "vacuum pg_class, pg_attribute, pg_type, pg_depend, pg_index,
     meter_sync.meter_sync_log, meter_sync.meter_sync_change, meter_sync.meter_sync_rejected, meter";

const SIZES: &str = "
    select
        (select count(*) from pg_stat_activity where datname = current_database()) as connections,
        (select sum(pg_total_relation_size(oid)) from pg_class
         where relname in ('pg_class', 'pg_attribute', 'pg_type', 'pg_depend', 'pg_index'))::bigint / 1024 as catalog_kb,
        (select sum(pg_total_relation_size(oid)) from pg_class
         where relnamespace = 'meter_sync'::regnamespace and relkind = 'r')::bigint / 1024 as log_kb,
        pg_total_relation_size('meter') / 1024 as meters_kb,
        (select count(*) from meter_sync.meter_sync_log where not is_pruned) as runs";

/// What the program and the databases hold, by name.
type HeldResources = BTreeMap<String, i64>;

async fn held(program: &RunningProgram, site: &Site) -> HeldResources {
    site.on_local(VACUUM).await;
    let sizes = rows(&site.local, SIZES).await;
    let sizes = sizes[0].as_object().expect("a row").iter();
    let number = |(name, size): (&String, &Value)| (name.clone(), size.as_i64().expect("a number"));
    let mut held: HeldResources = sizes.map(number).collect();
    held.insert("memory_kb".to_owned(), memory_kb(program.pid()));
    held.insert("descriptors".to_owned(), descriptors(program.pid()));
    held
}

/// Nothing has grown since the use had settled, beyond what one run more or less explains.
fn assert_flat(held: &HeldResources, settled: &HeldResources) {
    for (name, now) in held {
        let then = settled[name];
        let most = match name.as_str() {
            "memory_kb" => then + 8 * 1024,
            "descriptors" | "connections" => then + 5,
            "runs" => KEPT_RUNS,
            _ => then * 2 + 256,
        };
        assert!(
            *now <= most,
            "{name}: {now}, at most {most}: {held:?} {settled:?}"
        );
    }
}

/// By how much each may grow in one window while it grows in all of them: what memory allocators, and pages that are not filled
/// yet, explain.
fn assert_no_growth(measured: &[HeldResources]) {
    let Some(last) = measured.last_chunk::<{ WINDOWS + 1 }>() else {
        return;
    };
    for name in last[0].keys() {
        let most = match name.as_str() {
            "memory_kb" => 256,
            "descriptors" | "connections" | "runs" => 0,
            _ => 16,
        };
        let grows = last
            .windows(2)
            .all(|pair| pair[1][name] - pair[0][name] > most);
        assert!(
            !grows,
            "{name} grows by more than {most} in each of {WINDOWS} windows: {last:?}"
        );
    }
}

#[tokio::test]
async fn a_year_of_hourly_runs_with_faults_in_between_leaves_nothing_that_grows() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let (remote, remote_url) = Proxy::before(&site.pair.remote_url).await;
    let (local, local_url) = Proxy::before(&site.pair.local_url).await;
    let settings = [
        (Setting::RemoteUrl, remote_url.as_str()),
        (Setting::LocalUrl, local_url.as_str()),
        (Setting::Schedule, "off"),
        (Setting::KeepRuns, "1d"),
        (Setting::ConnectTimeout, "1s"),
    ];
    let (program, address) = RunningProgram::serve(program::bare(&["serve"], &settings)).await;
    let url = format!("http://{address}/api/local/meter-sync-trigger");
    let client = Client::new();
    let mut measured: Vec<HeldResources> = Vec::new();
    let last = (size() * RUNS_A_UNIT).max(SETTLED + WINDOW * WINDOWS as u64);
    for hour in 1..=last {
        change(&site, hour).await;
        let is_broken = break_a_line(&remote, &local, hour);
        let answer = client.post(&url).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("JSON");
        assert!(is_broken || answer["success"] == true, "{hour}: {answer}");
        remote.set(Fault::None);
        local.set(Fault::None);
        site.on_local(HOUR).await;
        if hour >= SETTLED && (hour - SETTLED).is_multiple_of(WINDOW) {
            let answer = client.post(&url).send().await.expect("an answer");
            assert_eq!(answer.status(), 200);
            let held = held(&program, &site).await;
            println!("{hour}: {held:?}");
            assert_flat(&held, measured.first().unwrap_or(&held));
            measured.push(held);
            assert_no_growth(&measured);
            assert_equal(&site).await;
        }
    }
}

/// Most hours bring nothing, some a few changes, of the same forty meters: the last change of each is kept for ever.
async fn change(site: &Site, hour: u64) {
    let (one, other) = (hour % 20 + 1, hour % 20 + 21);
    if hour.is_multiple_of(3) {
        let change = format!("update meter set name = 'Hour {hour}' where id in ({one}, {other})");
        site.on_remote(&change).await;
    }
    if hour.is_multiple_of(7) {
        let flip = format!("update meter set tenant_id = 15 - tenant_id where id = {one}");
        site.on_remote(&flip).await;
    }
}

/// Breaks one line in every twelfth hour.
fn break_a_line(remote: &Proxy, local: &Proxy, hour: u64) -> bool {
    if hour % 12 != 5 {
        return false;
    }
    match hour / 12 % 4 {
        0 => remote.set(Fault::Refuse),
        1 => remote.set_once(Fault::CutBefore(&["-- read the meters"]), Fault::None),
        2 => local.set_once(Fault::CutBefore(&["-- log the end of a run"]), Fault::None),
        _ => local.set_once(Fault::LoseReply(&["-- take the run lock"]), Fault::None),
    }
    true
}

async fn assert_equal(site: &Site) {
    let remote = "select id::text, name, notes from meter where tenant_id = 7 order by meter.id";
    let local = "select id, name, notes from meter where active order by id::bigint";
    assert_eq!(
        rows(&site.local, local).await,
        rows(&site.remote, remote).await
    );
    let unfinished = "select id from meter_sync.meter_sync_log where outcome is null";
    assert_eq!(rows(&site.local, unfinished).await, json!([]));
}
