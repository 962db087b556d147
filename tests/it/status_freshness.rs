//! How fresh a status is: it shows what others have just changed, though an unchanged database is not asked twice.

use std::time::Duration;

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::machine_clock;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{ActivityState, RunOutcome, RunTrigger};
use meter_sync::reports::status::{MeterCounts, Status, StatusQuery};

use tokio_postgres::Client;

use super::support::postgres::{binaries, connect, start_pair, start_server};
use super::support::proxy::{Fault, Proxy};
use super::support::run_hold::RunHold;
use super::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, Site, finish, mirror, rows, settings};
use super::support::wait;

async fn status(site: &Site) -> Status {
    let query = StatusQuery::default();
    site.mirror.status(&query).await.expect("a status")
}

fn counts(active: i64, inactive: i64) -> Option<MeterCounts> {
    Some(MeterCounts {
        active,
        inactive,
        counted_at: None,
    })
}

/// A site with two meters, whose status has been asked for.
async fn synced() -> Site {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'a'), (2, 7, 'b')")
        .await;
    site.sync().await;
    assert_eq!(status(&site).await.meters, counts(2, 0));
    assert_eq!(status(&site).await.meters, counts(2, 0));
    site
}

#[tokio::test]
async fn what_others_commit_is_told_by_the_next_status() {
    let site = synced().await;
    site.on_local("update meter set active = false where id = '1'")
        .await;
    assert_eq!(status(&site).await.meters, counts(1, 1));
    site.on_local("update tenant set name = 'Acme and sons'")
        .await;
    let tenant = status(&site).await.tenant.expect("a tenant");
    assert_eq!(tenant.name.as_deref(), Some("Acme and sons"));
    site.on_local("alter table meter rename column active to in_use")
        .await;
    let told = status(&site).await;
    assert_eq!(told.meters, None);
    let lacking = "The local table meter has no column active.";
    assert_eq!(told.warnings, [lacking]);
    site.on_local("alter table meter rename column in_use to active")
        .await;
    assert_eq!(status(&site).await.meters, counts(1, 1));
    site.on_local("create schema mine; create table mine.meter (active boolean)")
        .await;
    assert_eq!(status(&site).await.meters, counts(1, 1));
    site.on_local("drop table meter cascade").await;
    let told = status(&site).await;
    assert_eq!(told.meters, None);
    assert!(told.warnings[0].contains("does not exist"), "{told:#?}");
}

#[tokio::test]
async fn what_others_are_about_to_commit_is_told_once_they_have() {
    let site = synced().await;
    let mut others = Vec::new();
    for id in 1..=2 {
        let other = connect(&site.pair.local_url).await;
        let begun = format!("begin; savepoint a; delete from meter where id = '{id}'");
        other.batch_execute(&begun).await.expect("a deletion");
        others.push(other);
    }
    // one that ends in between moves the end of the snapshot, and leaves the two before it
    site.on_local("update tenant set name = 'Acme'").await;
    assert_eq!(status(&site).await.meters, counts(2, 0));
    assert_eq!(status(&site).await.meters, counts(2, 0));
    for left in [1, 0] {
        let other = others.pop().expect("one more");
        other.batch_execute("commit").await.expect("a commit");
        assert_eq!(status(&site).await.meters, counts(left, 0));
    }
}

/// Waits until what the other connections did is counted, which is when they close.
async fn no_connections_but(local: &Client) {
    let connections =
        "select count(*)::int as n from pg_stat_activity where datname = current_database()
         and backend_type = 'client backend' and pid <> pg_backend_pid()";
    let closed = async || rows(local, connections).await[0]["n"] == 0;
    wait::until("the connections are closed", closed).await;
}

/// On servers of its own: what other tests write is a change, too.
#[tokio::test]
async fn an_unchanged_database_is_not_asked_twice() {
    let (remote_server, local_server) = start_pair().await;
    let urls = [remote_server.url("postgres"), local_server.url("postgres")];
    let [remote, local] = [connect(&urls[0]).await, connect(&urls[1]).await];
    remote.batch_execute(REMOTE_SCHEMA).await.expect("tables");
    local.batch_execute(LOCAL_SCHEMA).await.expect("tables");
    let runs = mirror(&settings(&urls[0], &urls[1]));
    let run = finish(&runs, RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    // only a status that asks ends with a rollback, and its connection tells of it when it closes
    let rolled_back =
        "select xact_rollback from pg_stat_database where datname = current_database()";
    for _ in 0..20 {
        runs.status(&StatusQuery::default())
            .await
            .expect("a status");
    }
    drop(runs);
    no_connections_but(&local).await;
    let told = rows(&local, rolled_back).await;
    let told = told[0]["xact_rollback"].as_i64().expect("a number");
    assert!(told < 10, "{told} transactions were rolled back");
}

const MANY: i64 = 300_000;

/// With rows that are quick to make.
const LEAN_SCHEMA: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme');
    create table meter (id bigint primary key, name text, active boolean not null default true);
    create table meter_reading (meter_id bigint not null references meter, value double precision)";

/// A site of which many meters are counted, and none of them yet.
async fn large() -> Site {
    let site = Site::with_schemas(REMOTE_SCHEMA, LEAN_SCHEMA).await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'a'), (2, 7, 'b')")
        .await;
    site.sync().await;
    let others = "insert into meter (id, active) select -n, false from generate_series(1, ";
    site.on_local(&format!("{others}{MANY}) n")).await;
    site
}

/// The active meters and the others, however long ago they were counted.
fn told(status: &Status) -> Option<(i64, i64)> {
    status.meters.map(|meters| (meters.active, meters.inactive))
}

#[tokio::test]
async fn many_meters_are_not_counted_for_each_status_though_others_write() {
    let site = large().await;
    let query = StatusQuery::default();
    let at_once = (0..20).map(|_| site.mirror.status(&query));
    for status in futures_util::future::join_all(at_once).await {
        assert_eq!(told(&status.expect("a status")), Some((2, MANY)));
    }
    for reading in 1..=20 {
        site.on_local(&format!(
            "insert into meter_reading (meter_id, value) values ('1', {reading})"
        ))
        .await;
        assert_eq!(told(&status(&site).await), Some((2, MANY)));
    }
    let before = machine_clock::now();
    let counted_at = status(&site).await.meters.and_then(|m| m.counted_at);
    assert!(counted_at.is_none_or(|at| at < before), "{counted_at:?}");
    let Site {
        local,
        mirror,
        pair,
        ..
    } = site;
    drop(mirror);
    no_connections_but(&local).await;
    let read = "select seq_tup_read from pg_stat_user_tables where relname = 'meter'";
    let read = rows(&local, read).await[0]["seq_tup_read"].as_i64();
    let counts = read.expect("a number") / MANY;
    // A count holds for a hundred times as long as it took, which is longer than all of the above.
    assert!((1..=5).contains(&counts), "counted {counts} times");
    drop(pair);
}

#[tokio::test]
async fn nobody_waits_for_a_count_that_is_made_while_the_last_is_told() {
    let site = large().await;
    // The first look at a row takes longer than any later one.
    site.on_local("vacuum meter").await;
    assert_eq!(status(&site).await.meters, counts(2, MANY));
    // Whoever counts now stands still.
    site.on_local("begin; lock table meter in access exclusive mode")
        .await;
    let other = connect(&site.pair.local_url).await;
    let counting = "select from pg_stat_activity where application_name = 'meter-sync count' and wait_event_type = 'Lock'";
    let is_counting = async || {
        assert_eq!(told(&status(&site).await), Some((2, MANY)));
        !other
            .query(counting, &[])
            .await
            .expect("sessions")
            .is_empty()
    };
    wait::until("a count is made anew", is_counting).await;
    let meanwhile = status(&site).await.meters.expect("a count");
    assert!(meanwhile.counted_at.is_some(), "{meanwhile:?}");
    site.on_local("update meter set active = false where id = 1; commit")
        .await;
    let is_told = async || told(&status(&site).await) == Some((1, MANY + 1));
    wait::until("the new count is told", is_told).await;
}

#[tokio::test]
async fn many_meters_are_counted_anew_after_a_run_of_any_process() {
    let site = large().await;
    assert_eq!(status(&site).await.meters, counts(2, MANY));
    // a run that fails is soon over, and has ended all the same
    site.on_remote("alter table meter rename to gone").await;
    for (id, process) in (1..).zip([site.mirror.clone(), mirror(&site.settings())]) {
        let others = format!("update meter set active = false where id = {id}");
        site.on_local(&others).await;
        let old = status(&site).await.meters.expect("a count");
        let is_told = old.active == 2 - id || old.counted_at.is_some();
        assert!(is_told, "an old count says that it is one: {old:?}");
        let run = finish(&process, RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(RunOutcome::Failed));
        assert_eq!(status(&site).await.meters, counts(2 - id, MANY + id));
    }
}

#[tokio::test]
async fn runs_are_heard_of_though_the_meters_cannot_be_counted() {
    let mut site = synced().await;
    let role = format!("countless_{}", std::process::id());
    site.on_local(&format!(
        "create role {role} login; grant usage on schema meter_sync to {role}; grant select on tenant to {role};
         grant select on all tables in schema meter_sync to {role}"
    ))
    .await;
    let writer = site.mirror.clone();
    let url = site
        .pair
        .local_url
        .replace("postgres@", &format!("{role}@"));
    site.reconfigure(&site.settings().with(Setting::LocalUrl, &url));
    let mut events = site.mirror.events();
    let run = finish(&writer, RunRequest::new(RunTrigger::Cli)).await;
    let heard = tokio::time::timeout(Duration::from_secs(30), events.next()).await;
    let heard = heard.expect("it is heard of");
    assert!(
        heard.iter().any(|event| event.run_id == run.run_id),
        "{heard:?}"
    );
    let local = status(&site).await.connections.local;
    site.on_local(&format!("drop owned by {role}; drop role {role}"))
        .await;
    assert_eq!(
        local.error.map(|error| error.code),
        Some(ErrorCode::LocalAuth)
    );
}

#[tokio::test]
async fn a_local_standby_is_called_one() {
    let mut server = start_server(&binaries().await, "standby").await;
    let signal = server.directory().join("data/standby.signal");
    std::fs::write(&signal, "").expect("a file");
    server.stop_immediately().await.expect("stopped");
    server.restart().await.expect("a standby");
    let url = server.url("postgres");
    let status = mirror(&settings("postgres://nobody@127.0.0.1:1/none", &url))
        .status(&StatusQuery::default())
        .await
        .expect("a status");
    let error = status.connections.local.error.expect("an error");
    assert_eq!(error.code, ErrorCode::LocalUnreachable, "{error:?}");
    assert!(error.message.contains("standby"), "{error:?}");
    assert!(error.remedy.contains("METER_SYNC_LOCAL_URL"), "{error:?}");
}

#[tokio::test]
async fn a_database_that_does_not_tell_the_moment_is_asked_each_time() {
    let mut site = synced().await;
    let role = format!("momentless_{}", std::process::id());
    site.on_local(&format!(
        "create role {role} login; grant usage on schema meter_sync to {role};
         grant select on meter, tenant to {role};
         grant select on all tables in schema meter_sync to {role};
         revoke execute on function pg_current_wal_insert_lsn() from public"
    ))
    .await;
    let url = site
        .pair
        .local_url
        .replace("postgres@", &format!("{role}@"));
    site.reconfigure(&site.settings().with(Setting::LocalUrl, &url));
    let (first, second) = (status(&site).await, status(&site).await);
    site.on_local("update meter set active = false where id = '1'")
        .await;
    let third = status(&site).await;
    site.on_local(&format!("drop owned by {role}; drop role {role}"))
        .await;
    assert_eq!(first.connections.local.error, None);
    assert_eq!((first.meters, second.meters), (counts(2, 0), counts(2, 0)));
    assert_eq!(third.meters, counts(1, 1));
}

#[tokio::test]
async fn a_success_behind_many_failures_is_told_however_few_runs_are_listed() {
    let site = synced().await;
    let succeeded = status(&site).await.last_success_at.expect("a success");
    site.on_remote("alter table meter rename to gone").await;
    for _ in 0..7 {
        assert_eq!(site.sync().await.outcome, Some(RunOutcome::Failed));
    }
    for history in [0, 1, 5, 50] {
        let query = StatusQuery {
            history,
            ..StatusQuery::default()
        };
        let told = site.mirror.status(&query).await.expect("a status");
        assert_eq!(told.history.len(), (history as usize).min(8));
        assert_eq!(told.last_success_at, Some(succeeded), "{history}");
        let last = told.last_run.and_then(|run| run.outcome);
        assert_eq!(last, Some(RunOutcome::Failed), "{history}");
    }
}

/// A status is read in several statements. Between any two of them a run may end.
#[tokio::test]
async fn a_run_that_ends_while_a_status_is_read_is_in_it() {
    for point in [&["-- read the running run"], &["-- list runs"]] {
        let site = Site::new().await;
        site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'a')")
            .await;
        let held = RunHold::new(&site).await;
        let (line, url) = Proxy::before(&site.pair.local_url).await;
        let other = mirror(&settings(&site.pair.remote_url, &url));
        let read = async {
            let is_running = async || status(&site).await.activity == ActivityState::Running;
            wait::until("the run is in progress", is_running).await;
            line.set(Fault::StallAt(point));
            let query = StatusQuery::default();
            tokio::join!(other.status(&query), end_run(&site, held, &line)).0
        };
        let (_run, status) = tokio::join!(site.sync(), read);
        let status = status.expect("a status");
        let last = status.last_run.and_then(|run| run.outcome);
        assert_eq!(last, Some(RunOutcome::Succeeded), "{point:?}");
        assert_eq!(status.activity, ActivityState::Idle, "{point:?}");
    }
}

/// Once the line has stalled, ends the only run and lets the line go on.
async fn end_run(site: &Site, held: RunHold, line: &Proxy) {
    wait::until("the line has stalled", async || line.struck() > 0).await;
    held.release().await;
    let has_ended = async || status_of_log(site).await == "succeeded";
    wait::until("the run has ended", has_ended).await;
    line.go_on();
}

/// The outcome of the only run.
async fn status_of_log(site: &Site) -> String {
    let outcome = "select coalesce(outcome, 'running') as outcome from meter_sync.meter_sync_log";
    let found = rows(&site.local, outcome).await;
    found[0]["outcome"].as_str().unwrap_or_default().to_owned()
}
