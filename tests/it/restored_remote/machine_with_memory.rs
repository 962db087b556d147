//! A virtual machine is taken back with its memory: its server process is the same as before.

use std::path::Path;
use std::process::Command;

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::embedded::Server;
use meter_sync::model::RunOutcome;

use super::{fill, on, syncs};
use crate::support::postgres::{Pair, binaries, connect, pair, start_server};
use crate::support::site::{SHARED_LOCAL_SCHEMA, rows, settings};

fn of(server: &Server, local: &Pair, tenant: &str) -> CommandLineSettings {
    settings(&server.url("postgres"), &local.local_url).with(Setting::TenantId, tenant)
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("run cp").success());
}

/// What the start of a server tells is part of a watermark. As the process of such a machine is the same, tenant 7 gets
/// here what the watermark of tenant 8 has, which is stored after the machine was taken back.
#[tokio::test]
async fn what_was_lost_is_told_and_followed() {
    let (pair, binaries) = tokio::join!(pair(), binaries());
    let mut server = start_server(&binaries, "machine").await;
    fill(&server.url("postgres")).await;
    on(
        &connect(&server.url("postgres")).await,
        "insert into meter (id, tenant_id, name) values (100, 8, 'eight')",
    )
    .await;
    let local = connect(&pair.local_url).await;
    on(&local, SHARED_LOCAL_SCHEMA).await;
    for expected in [RunOutcome::Succeeded, RunOutcome::NoChange] {
        assert_eq!(syncs(&of(&server, &pair, "7"), expected).await, None);
    }
    let data = server.directory().join("data");
    let saved = server.directory().join("saved");
    on(&connect(&server.url("postgres")).await, "checkpoint").await;
    server.stop_immediately().await.expect("stop it");
    copy(&data, &saved);
    server.restart().await.expect("start it");
    let newer = "update meter set name = 'newer' where id = 3";
    on(&connect(&server.url("postgres")).await, newer).await;
    let seven = of(&server, &pair, "7");
    assert_eq!(syncs(&seven, RunOutcome::Succeeded).await, None);
    server.stop_immediately().await.expect("stop it");
    std::fs::remove_dir_all(&data).expect("remove it");
    copy(&saved, &data);
    server.restart().await.expect("start it");
    let there = connect(&server.url("postgres")).await;
    for _ in 0..200 {
        on(&there, "select pg_current_xact_id()").await;
    }
    syncs(&of(&server, &pair, "8"), RunOutcome::Succeeded).await;
    on(
        &local,
        "update meter_sync.meter_sync_seen s set basis = o.basis from meter_sync.meter_sync_seen o
         where s.tenant = '7' and o.tenant = '8'",
    )
    .await;
    let warning = syncs(&seven, RunOutcome::Succeeded)
        .await
        .unwrap_or_default();
    assert!(warning.contains("taken back"), "{warning}");
    let name = "select name from meter where id = 3";
    assert_eq!(rows(&local, name).await, rows(&there, name).await);
    assert_eq!(syncs(&seven, RunOutcome::NoChange).await, None);
}
