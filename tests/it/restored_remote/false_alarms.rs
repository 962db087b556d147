//! What happens in normal operation is not taken for a restore.

use meter_sync::config::Setting;
use meter_sync::model::RunOutcome;

use super::{METERS, fill, new_server, on, synced, syncs};
use crate::support::postgres::{binaries, connect, pair, start_server};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, settings};
use crate::support::standby::Cluster;

#[tokio::test]
async fn a_meter_that_came_and_went() {
    let site = synced().await;
    let strict = site.settings().with(Setting::Brake, "strict");
    site.on_remote("insert into meter (id, tenant_id, name) values (31, 7, 'new')")
        .await;
    assert_eq!(syncs(&strict, RunOutcome::Succeeded).await, None);
    site.on_remote("delete from meter where id = 31").await;
    // The watermark is not valid any more, as after a restart.
    site.on_local("vacuum full meter").await;
    assert_eq!(syncs(&strict, RunOutcome::Succeeded).await, None);
    site.on_local("vacuum full meter").await;
    assert_eq!(syncs(&strict, RunOutcome::NoChange).await, None);
}

#[tokio::test]
async fn a_standby_that_lags() {
    let (local, cluster) = tokio::join!(pair(), Cluster::start());
    let primary = cluster.on_primary().await;
    on(&primary, REMOTE_SCHEMA).await;
    on(&primary, METERS).await;
    on(&connect(&local.local_url).await, LOCAL_SCHEMA).await;
    let of = |url: &str| settings(url, &local.local_url).with(Setting::Brake, "strict");
    let there = of(&cluster.primary.url("postgres"));
    let standby = of(&cluster.standby.url("postgres"));
    assert_eq!(syncs(&there, RunOutcome::Succeeded).await, None);
    cluster.cut_the_stream().await;
    on(&primary, "update meter set name = 'newer' where id = 3").await;
    assert_eq!(syncs(&there, RunOutcome::Succeeded).await, None);
    // It is told, and not refused.
    let warning = syncs(&standby, RunOutcome::Succeeded)
        .await
        .unwrap_or_default();
    assert!(warning.contains("is a standby"), "{warning}");
    assert_eq!(syncs(&there, RunOutcome::Succeeded).await, None);
}

#[tokio::test]
async fn a_trigger_that_the_remote_table_gets() {
    let site = synced().await;
    let strict = site.settings().with(Setting::Brake, "strict");
    site.on_remote(
        "create function stamp() returns trigger language plpgsql as $$ begin return new; end $$;
         create trigger stamp before update on meter for each row execute function stamp()",
    )
    .await;
    // The watermark is not valid any more, as after a restart.
    site.on_local("vacuum full meter").await;
    site.on_remote("update meter set name = 'x' where id = 1")
        .await;
    assert_eq!(syncs(&strict, RunOutcome::Succeeded).await, None);
}

#[tokio::test]
async fn a_view_that_is_made_anew() {
    let site = synced().await;
    let view = "create view shown as select * from meter";
    site.on_remote(view).await;
    let strict = site.settings().with(Setting::RemoteTable, "shown");
    let strict = strict.with(Setting::Brake, "strict");
    assert_eq!(syncs(&strict, RunOutcome::NoChange).await, None);
    site.on_remote(&format!(
        "drop view shown; {view}; update meter set name = 'x' where id = 1"
    ))
    .await;
    assert_eq!(syncs(&strict, RunOutcome::Succeeded).await, None);
}

#[tokio::test]
async fn a_crash_right_after_a_run() {
    let (local, binaries) = tokio::join!(pair(), binaries());
    let mut server = start_server(&binaries, "crashed").await;
    fill(&server.url("postgres")).await;
    on(&connect(&local.local_url).await, LOCAL_SCHEMA).await;
    let strict = settings(&server.url("postgres"), &local.local_url);
    let strict = strict.with(Setting::Brake, "strict");
    let there = connect(&server.url("postgres")).await;
    // What was rolled back need not be on disk, and its numbers are given out again.
    for _ in 0..5 {
        on(&there, "begin; update meter set name = 'no'; rollback").await;
    }
    assert_eq!(syncs(&strict, RunOutcome::Succeeded).await, None);
    server.stop_immediately().await.expect("stop it");
    server.restart().await.expect("start it");
    assert_eq!(syncs(&strict, RunOutcome::NoChange).await, None);
}

#[tokio::test]
async fn a_promoted_standby_of_another_server_that_has_done_less() {
    let (local, first) = tokio::join!(pair(), new_server("first"));
    let (_home, first) = first;
    fill(&first.url("postgres")).await;
    let busy = connect(&first.url("postgres")).await;
    on(
        &busy,
        "create table more as select n from generate_series(1, 300000) n",
    )
    .await;
    on(&connect(&local.local_url).await, LOCAL_SCHEMA).await;
    let of = |url: &str| settings(url, &local.local_url);
    let there = of(&first.url("postgres"));
    assert_eq!(syncs(&there, RunOutcome::Succeeded).await, None);
    let mut cluster = Cluster::start().await;
    fill(&cluster.primary.url("postgres")).await;
    cluster.catch_up().await;
    let standby = of(&cluster.standby.url("postgres"));
    let warning = syncs(&standby, RunOutcome::NoChange)
        .await
        .unwrap_or_default();
    assert!(warning.contains("another database server"), "{warning}");
    cluster.fail_over().await;
    assert_eq!(syncs(&standby, RunOutcome::NoChange).await, None);
}
