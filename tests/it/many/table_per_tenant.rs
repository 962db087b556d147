//! Sweeps over tenants of which each has a local table of its own.

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::mirrors::{Mirrors, RunRequest};
use meter_sync::model::RunTrigger;
use serde_json::json;

use super::{REMOTE, sweep};
use crate::support::site::{self, Site, rows};

/// A table for the meters of one tenant, without a tenant column.
pub(super) fn table(tenant: u32) -> String {
    format!(
        "create schema site_{tenant};
        create table site_{tenant}.meter (id bigint primary key, name text, active boolean not null default true);"
    )
}

/// A site with so many tenants, from 7 on, each with two remote meters and a local table of its own.
pub(super) async fn site_of(tenants: u32) -> Site {
    let last = 6 + tenants;
    let local = "create table tenant (id bigint primary key, name text)";
    let site = Site::with_schemas(REMOTE, local).await;
    let add = format!(
        "truncate tenant; insert into tenant select n, 'tenant ' || n from generate_series(7, {last}) n"
    );
    site.on_remote(&add).await;
    site.on_local(&add).await;
    let meters = format!(
        "truncate meter; insert into meter select n * 2 + half, n, 'meter', true
        from generate_series(7, {last}) n, generate_series(0, 1) half"
    );
    site.on_remote(&meters).await;
    let tables: String = (7..=last).map(table).collect();
    site.on_local(&tables).await;
    site
}

pub(super) fn of_all(site: &Site) -> CommandLineSettings {
    site.settings()
        .with(Setting::Tenants, "all")
        .with(Setting::LocalTable, "site_{tenant}.meter")
}

/// How many mirrors a sweep finds unchanged, gives a run that succeeds, and gives a run that fails.
pub(super) async fn swept(mirrors: &Mirrors) -> (i64, i64, i64) {
    let report = sweep(mirrors).await.record;
    assert_eq!(report.error, None);
    let counts = report.counts;
    (counts.unchanged, counts.succeeded, counts.failed)
}

#[tokio::test]
async fn unchanged_tables_need_no_run() {
    let site = site_of(3).await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    let record = sweep(&mirrors).await.record;
    assert_eq!((record.counts.unchanged, record.counts.succeeded), (3, 0));
    assert!(record.counts.remote_bytes < 2000, "{record:?}");
    let logged = "select count(*) from meter_sync.meter_sync_log";
    assert_eq!(rows(&site.local, logged).await, json!([{"count": 3}]));
    let checked = "select tenant, local_table, checked_at > now() - interval '1 minute' as is_new
        from meter_sync.meter_sync_mirror order by tenant";
    let expected = json!([
        {"tenant": "7", "local_table": "site_7.meter", "is_new": true},
        {"tenant": "8", "local_table": "site_8.meter", "is_new": true},
        {"tenant": "9", "local_table": "site_9.meter", "is_new": true},
    ]);
    assert_eq!(rows(&site.local, checked).await, expected);
}

#[tokio::test]
async fn each_change_of_a_table_or_of_the_remote_gets_its_tenant_a_run() {
    let site = site_of(4).await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 4, 0));
    for (place, change) in [
        ("remote", "update meter set name = 'new' where id = 14"),
        ("remote", "delete from meter where id = 16"),
        ("remote", "insert into meter values (100, 9, 'added', true)"),
        (
            "local",
            "update site_10.meter set name = 'ours' where id = 20",
        ),
        ("local", "delete from site_9.meter where id = 18"),
        ("local", "vacuum full site_8.meter"),
        (
            "local",
            "alter table site_7.meter alter column name type varchar(80)",
        ),
        (
            "local",
            "create table site_10.other (like site_10.meter including all);
             insert into site_10.other select * from site_10.meter;
             drop table site_10.meter; alter table site_10.other rename to meter",
        ),
    ] {
        match place {
            "remote" => site.on_remote(change).await,
            _ => site.on_local(change).await,
        }
        assert_eq!(swept(&mirrors).await, (3, 1, 0), "{change}");
        assert_eq!(swept(&mirrors).await, (4, 0, 0), "after {change}");
    }
    site.on_remote("update meter set tenant_id = 10 where id = 15")
        .await;
    assert_eq!(
        swept(&mirrors).await,
        (2, 2, 0),
        "two tenants are concerned"
    );
    for tenant in 7..=10 {
        let here =
            format!("select id, name, active from site_{tenant}.meter where active order by id");
        let there =
            format!("select id, name, active from meter where tenant_id = {tenant} order by id");
        assert_eq!(
            rows(&site.local, &here).await,
            rows(&site.remote, &there).await,
            "{tenant}"
        );
    }
}

#[tokio::test]
async fn of_more_tables_than_are_read_at_once_each_change_is_found() {
    let site = site_of(230).await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 230, 0));
    assert_eq!(swept(&mirrors).await, (230, 0, 0));
    site.on_remote("update meter set name = 'new' where id in (14, 212, 214, 472)")
        .await;
    site.on_local(
        "update site_108.meter set name = 'ours'; update site_235.meter set name = 'ours'",
    )
    .await;
    assert_eq!(swept(&mirrors).await, (224, 6, 0));
    let last = "select array_agg(tenant::int order by tenant::int) as tenants
        from meter_sync.meter_sync_log where seq > 230";
    let expected = json!([{"tenants": [7, 106, 107, 108, 235, 236]}]);
    assert_eq!(rows(&site.local, last).await, expected);
    assert_eq!(swept(&mirrors).await, (230, 0, 0));
}

#[tokio::test]
async fn a_sweep_of_dry_runs_marks_no_table() {
    let site = site_of(3).await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    let request = RunRequest {
        dry_run: true,
        ..RunRequest::new(RunTrigger::Cli)
    };
    let dry = mirrors.sweep(&request, |_, _| {}).await.expect("a sweep");
    assert_eq!(dry.record.counts.unchanged, 3);
    let marked = "select count(*) from meter_sync.meter_sync_mirror";
    assert_eq!(rows(&site.local, marked).await, json!([{"count": 0}]));
}

#[tokio::test]
async fn of_a_table_with_a_tenant_column_only_the_tenants_rows_count() {
    let site = site_of(3).await;
    for tenant in 7..=9 {
        let add = format!(
            "alter table site_{tenant}.meter add column tenant_id bigint;
             insert into site_{tenant}.meter values (1000, 'other', true, 1)"
        );
        site.on_local(&add).await;
    }
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    site.on_local("update site_8.meter set name = 'another' where tenant_id = 1")
        .await;
    assert_eq!(swept(&mirrors).await, (3, 0, 0));
    site.on_local("update site_8.meter set name = 'another' where tenant_id = 8 and id = 16")
        .await;
    assert_eq!(swept(&mirrors).await, (2, 1, 0));
}

#[tokio::test]
async fn a_column_that_the_remote_drops_gets_every_table_a_run() {
    let site = site_of(3).await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    site.on_remote("alter table meter drop column name").await;
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    let drifted = "select count(*) from meter_sync.meter_sync_column where drift is not null";
    assert_eq!(rows(&site.local, drifted).await, json!([{"count": 3}]));
    assert_eq!(swept(&mirrors).await, (3, 0, 0));
}

const MARKS: &str =
    "select tenant, local_table, basis, remote_rows, remote_sum, local_rows, local_sum
    from meter_sync.meter_sync_seen order by tenant";

#[tokio::test]
async fn without_watermarks_many_tables_are_compared_by_contents_and_get_new_ones() {
    let site = site_of(40).await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 40, 0));
    // A meter that is gone from the remote. Contents are equal only with its tombstone, versions without it, too.
    site.on_remote("delete from meter where id = 14").await;
    assert_eq!(swept(&mirrors).await, (39, 1, 0));
    let marks = rows(&site.local, MARKS).await;
    let forget = "delete from meter_sync.meter_sync_seen";
    site.on_local(forget).await;
    assert_eq!(swept(&mirrors).await, (40, 0, 0), "by contents");
    assert_eq!(
        rows(&site.local, MARKS).await,
        marks,
        "as the runs left them"
    );
    site.on_local("delete from meter_sync.meter_sync_gone")
        .await;
    assert_eq!(swept(&mirrors).await, (40, 0, 0), "by versions");
    site.on_local(forget).await;
    site.on_remote("update meter set name = 'new' where id = 16")
        .await;
    site.on_local("update site_9.meter set name = 'ours' where id = 18")
        .await;
    assert_eq!(swept(&mirrors).await, (37, 3, 0), "one lacks its tombstone");
    site.on_local("update site_10.meter set name = 'ours' where id = 20")
        .await;
    assert_eq!(swept(&mirrors).await, (39, 1, 0));
}

#[tokio::test]
async fn a_view_is_compared_with_many_tables_by_contents() {
    let site = site_of(40).await;
    site.on_remote(
        "create view meters as select id::integer, tenant_id::text, name, active from meter",
    )
    .await;
    let settings = of_all(&site).with(Setting::RemoteTable, "meters");
    let mirrors = site::mirrors(&settings);
    assert_eq!(swept(&mirrors).await, (0, 40, 0));
    assert_eq!(swept(&mirrors).await, (40, 0, 0));
    site.on_remote("update meter set name = 'new' where id = 16")
        .await;
    site.on_local("update site_9.meter set name = 'ours' where id = 18")
        .await;
    assert_eq!(swept(&mirrors).await, (38, 2, 0));
    assert_eq!(swept(&mirrors).await, (40, 0, 0));
}

#[tokio::test]
async fn tables_of_different_columns_are_compared_by_contents() {
    let site = site_of(40).await;
    for tenant in 7..=20 {
        let change = format!(
            "alter table site_{tenant}.meter alter column id type varchar(40), alter column name type varchar(80)"
        );
        site.on_local(&change).await;
    }
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(swept(&mirrors).await, (0, 40, 0));
    site.on_local("delete from meter_sync.meter_sync_seen")
        .await;
    site.on_remote("update meter set name = 'new' where id in (16, 90)")
        .await;
    assert_eq!(swept(&mirrors).await, (38, 2, 0));
}

#[tokio::test]
async fn a_few_tables_in_which_versions_prove_nothing_are_compared_by_contents() {
    let site = site_of(3).await;
    site.on_remote("create view meters as select * from meter")
        .await;
    let mirrors = site::mirrors(&of_all(&site).with(Setting::RemoteTable, "meters"));
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    assert_eq!(swept(&mirrors).await, (3, 0, 0));
}

#[tokio::test]
async fn tenants_whose_ids_are_one_value_on_the_remote_hide_no_change_of_each_other() {
    let site = site_of(3).await;
    site.on_remote("alter table meter alter column tenant_id type numeric")
        .await;
    site.on_local("create schema \"site_7.0\"").await;
    site.on_local(
        "create table \"site_7.0\".meter (id bigint primary key, name text, active boolean not null default true)",
    )
    .await;
    let mirrors = site::mirrors(&of_all(&site).with(Setting::Tenants, "7,7.0,8"));
    assert_eq!(swept(&mirrors).await, (0, 3, 0));
    assert_eq!(swept(&mirrors).await, (3, 0, 0));
    site.on_remote("update meter set name = 'new' where id = 14")
        .await;
    assert_eq!(swept(&mirrors).await, (1, 2, 0));
}
