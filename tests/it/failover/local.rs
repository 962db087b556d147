//! The local primary dies or is demoted, and its standby is promoted.

use meter_sync::model::RunOutcome;
use serde_json::json;

use super::{HERE, Site, THERE, of_program, outcomes, run};
use crate::support::pgbouncer::PgBouncer;
use crate::support::program::{self, RunningProgram};
use crate::support::site::rows;
use crate::support::standby::{demote, url_of};
use crate::support::wait;

/// A run that updates meters waits at the lock of the test, which ends with the server.
const HELD: &str = "
    create function held() returns trigger language plpgsql as $$
    begin perform pg_advisory_xact_lock_shared(4711); return null; end $$;
    create trigger held before update on meter for each statement execute function held()";

/// The program on a schedule of seconds keeps the site, and its primary dies while a run writes.
#[tokio::test]
async fn a_primary_that_dies_in_mid_apply_loses_only_the_run_in_flight_which_is_repeated() {
    let mut site = Site::with_local_standby().await;
    let primary = site.cluster.on_primary().await;
    run(&primary, HELD).await;
    let command = program::bare(&["serve"], &of_program(&site.urls));
    let (program, _address) = RunningProgram::serve(command).await;
    let is_loaded = async || rows(&primary, HERE).await == rows(&site.remote, THERE).await;
    wait::until("the meters are loaded", is_loaded).await;
    run(
        &primary,
        "insert into meter_reading (meter_id, value) values ('1', 4.5)",
    )
    .await;

    run(&primary, "select pg_advisory_lock(4711)").await;
    run(
        &site.remote,
        "update meter set name = name || '!' where id <= 10",
    )
    .await;
    let waiting =
        "select from pg_locks where locktype = 'advisory' and objid = 4711 and not granted";
    let is_writing = async || rows(&primary, waiting).await != json!([]);
    wait::until("a run writes", is_writing).await;
    site.cluster.catch_up().await;
    let before = outcomes(&primary).await;
    assert_eq!(before.last(), Some(&json!(null)), "{before:?}");
    site.cluster.fail_over().await;

    let promoted = site.cluster.on_standby().await;
    let is_repeated = async || {
        let is_equal = rows(&promoted, HERE).await == rows(&site.remote, THERE).await;
        is_equal && outcomes(&promoted).await.last() == Some(&json!("no_change"))
    };
    wait::until("the run is repeated", is_repeated).await;
    drop(program);
    let after = outcomes(&promoted).await;
    let lost = &after[before.len() - 1];
    assert!(
        *lost == json!("failed") || *lost == json!("interrupted"),
        "{after:?}"
    );
    assert_eq!(after[..before.len() - 1], before[..before.len() - 1]);
    let repeated = after[before.len()..].iter();
    let repeated: Vec<_> = repeated
        .filter(|outcome| **outcome == "succeeded")
        .collect();
    assert_eq!(repeated.len(), 1, "{after:?}");
    let kept = "select
        (select count(*)::integer from meter_reading) as readings,
        (select count(*)::integer from meter_sync.meter_sync_change where action = 'insert') as inserts,
        (select count(*)::integer from meter_sync.meter_sync_change where action = 'update') as updates";
    assert_eq!(
        rows(&promoted, kept).await,
        json!([{"readings": 1, "inserts": 50, "updates": 10}])
    );
}

/// A pooler in front of each server keeps our connections when the server behind it is started as a standby.
#[tokio::test]
async fn pooled_connections_to_a_demoted_primary_are_dropped() {
    let mut site = Site::with_local_standby().await;
    let remote = site.urls[0].clone();
    let there = PgBouncer::between([&remote, &site.cluster.primary.url("postgres")], "").await;
    let other = PgBouncer::between([&remote, &site.cluster.standby.url("postgres")], "").await;
    site.urls[1] = url_of([there.port, other.port], "local", "read-write");
    site.start_anew();
    site.syncs(RunOutcome::Succeeded).await;
    site.syncs(RunOutcome::NoChange).await;
    site.cluster.catch_up().await;

    demote(&mut site.cluster.primary).await;
    site.cluster.promote().await;
    run(&site.remote, "update meter set name = 'new' where id = 3").await;
    site.syncs(RunOutcome::Succeeded).await;
    let promoted = site.cluster.on_standby().await;
    assert_eq!(rows(&promoted, HERE).await, rows(&site.remote, THERE).await);
}

/// What takes a primary out of service may leave its connections open and only forbid writes.
#[tokio::test]
async fn pooled_connections_to_a_primary_that_takes_no_writes_any_more_are_dropped() {
    let site = Site::with_local_standby().await;
    site.syncs(RunOutcome::Succeeded).await;
    site.cluster.cut_the_stream().await;
    let fenced = site.cluster.on_primary().await;
    for sql in [
        "alter system set default_transaction_read_only = on",
        "select pg_reload_conf()",
    ] {
        run(&fenced, sql).await;
    }
    let is_fenced = async || {
        let shown = rows(
            &fenced,
            "select current_setting('transaction_read_only') as v",
        )
        .await;
        shown == json!([{"v": "on"}])
    };
    wait::until("it takes no writes", is_fenced).await;
    site.cluster.promote().await;
    let before = rows(&fenced, HERE).await;
    run(&site.remote, "update meter set name = 'new' where id = 3").await;
    site.syncs(RunOutcome::Succeeded).await;
    assert_eq!(rows(&fenced, HERE).await, before, "it is left alone");
    let promoted = site.cluster.on_standby().await;
    assert_eq!(rows(&promoted, HERE).await, rows(&site.remote, THERE).await);
}
