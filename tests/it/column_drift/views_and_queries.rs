//! Drift where the remote is a view or a query, or is made anew.

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};

use super::{quiet, same_schema, synced, told_by_check, warned};
use crate::support::postgres::connect;
use crate::support::site::{Site, finish, mirror, settings};

async fn reading(site: &mut Site, setting: Setting, value: &str) -> CommandLineSettings {
    let settings = site.settings().with(setting, value);
    site.reconfigure(&settings);
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    assert_eq!(run.warning, None, "{run:#?}");
    settings
}

#[tokio::test]
async fn a_view_that_loses_or_renames_a_column_has_drifted() {
    let mut site = synced().await;
    site.on_remote("create view shown as select * from meter")
        .await;
    let settings = reading(&mut site, Setting::RemoteTable, "shown").await;
    site.on_remote("alter view shown rename column notes to remarks")
        .await;
    warned(&site, &["notes is called remarks now"]).await;
    site.on_remote(
        "drop view shown; create view shown as select id, tenant_id, name, port::bigint as port, active from meter",
    )
    .await;
    warned(
        &site,
        &["notes is gone", "port is bigint now and was integer"],
    )
    .await;
    site.on_remote("drop view shown; create view shown as select * from meter")
        .await;
    quiet(&site, &settings).await;
}

#[tokio::test]
async fn a_query_whose_table_loses_a_column_has_drifted() {
    let mut site = synced().await;
    let settings = reading(&mut site, Setting::RemoteQuery, "select * from meter").await;
    site.on_remote(
        "alter table meter rename column notes to remarks; alter table meter alter column port type bigint",
    )
    .await;
    warned(
        &site,
        &["notes is gone (dropped or renamed)", "port is bigint now"],
    )
    .await;
    assert_eq!(told_by_check(&settings).await.len(), 2);
    site.on_remote(
        "alter table meter rename column remarks to notes; alter table meter alter column port type integer",
    )
    .await;
    quiet(&site, &settings).await;
}

#[tokio::test]
async fn another_query_is_the_sites_own_act() {
    let mut site = synced().await;
    reading(&mut site, Setting::RemoteQuery, "select * from meter").await;
    site.on_remote("alter table meter rename column notes to remarks")
        .await;
    warned(&site, &["notes is gone"]).await;
    let mended = "select *, remarks as notes from meter";
    let settings = site.settings().with(Setting::RemoteQuery, mended);
    site.reconfigure(&settings);
    quiet(&site, &settings).await;
    let fewer = "select id, tenant_id, name, port::text as port, active from meter";
    let settings = site.settings().with(Setting::RemoteQuery, fewer);
    site.reconfigure(&settings);
    let run = warned(&site, &["No longer synced", "notes"]).await;
    assert!(!run.warning.unwrap().contains("port"));
    quiet(&site, &settings).await;
}

#[tokio::test]
async fn a_table_made_anew_with_the_same_columns_has_not_drifted() {
    let site = synced().await;
    site.on_remote(
        "create table fresh (like meter including all); alter table fresh drop column notes, add column notes text;
         insert into fresh (id, tenant_id, name, port, notes, active) select id, tenant_id, name, port, notes, active from meter;
         drop table meter; alter table fresh rename to meter",
    )
    .await;
    quiet(&site, &site.settings()).await;
    // A number means nothing in another table.
    site.on_remote(
        "create table fresh (like meter); alter table fresh drop column notes;
         insert into fresh (id, tenant_id, name, port, active) select id, tenant_id, name, port, active from meter;
         drop table meter; alter table fresh rename to meter",
    )
    .await;
    warned(&site, &["notes is gone (dropped or renamed)"]).await;
}

#[tokio::test]
async fn a_new_name_that_the_local_database_cannot_store_is_told_all_the_same() {
    let site = synced().await;
    let (server, name) = site.pair.local_url.rsplit_once('/').expect("a name");
    let latin = format!("latin_{name}");
    for statement in [
        format!("drop database if exists {latin}"),
        format!("create database {latin} encoding 'LATIN1' locale 'C' template template0"),
    ] {
        site.on_local(&statement).await;
    }
    let url = format!("{server}/{latin}");
    let local = connect(&url).await;
    local.batch_execute(&same_schema()).await.expect("tables");
    let reader = mirror(&settings(&site.pair.remote_url, &url));
    let sync = async || finish(&reader, RunRequest::new(RunTrigger::Cli)).await;
    sync().await;
    site.on_remote("alter table meter rename column notes to \"\u{5099}\u{6ce8}\"")
        .await;
    for _ in 0..2 {
        let run = sync().await;
        assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
        let warning = run.warning.expect("a warning");
        assert!(
            warning.contains("notes is called \"\\u{5099}\\u{6ce8}\" now"),
            "{warning}"
        );
    }
    drop((reader, local));
    site.on_local(&format!("drop database {latin} with (force)"))
        .await;
}
