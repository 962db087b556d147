//! Runs on the Citus that `METER_SYNC_TEST_CITUS_URL` names: a database on the coordinator that has the extension, with
//! `test` in its name, because the tables of a sync in it are dropped.

use std::io::Write;

use meter_sync::check::{self, Verdict};
use meter_sync::config::Setting;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;
use serde_json::json;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use super::{CONSTRAINTS, REMOTE, TABLES, distribution_findings, runs};
use crate::support::postgres::{connect, pair};
use crate::support::site::{Site, config, finish, mirror, rows};

const URL: &str = "METER_SYNC_TEST_CITUS_URL";

/// There is one database, so one test at a time.
static TURN: Mutex<()> = Mutex::const_new(());

const EMPTY: &[&str] = &[
    "drop schema if exists meter_sync cascade",
    "drop schema if exists site_7 cascade",
    "drop schema if exists site_8 cascade",
    "drop table if exists meter_reading",
    "drop table if exists meter",
    "drop table if exists tenant",
];

/// The URL of the Citus. Without one, says on standard error that nothing was tried.
fn url() -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the settings of tests are no settings of the program"
    )]
    let url = std::env::var(URL).ok();
    if url.is_none() {
        // Not by a macro, whose text is shown only if a test fails.
        let said = writeln!(
            std::io::stderr(),
            "{URL} names no Citus, so nothing was tried on one"
        );
        said.expect("standard error");
    }
    url
}

async fn each(client: &Client, statements: &[&str]) {
    for sql in statements {
        client
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

/// A site whose local database is the Citus, empty but for `tables`.
async fn site(url: String, tables: &[&str]) -> Site {
    let local = connect(&url).await;
    let database: String = local
        .query_one("select current_database()::text", &[])
        .await
        .unwrap()
        .get(0);
    assert!(
        database.contains("test"),
        "the tables of database {database} would be dropped: {URL} must name one with `test` in its name"
    );
    each(&local, EMPTY).await;
    each(&local, tables).await;
    let mut pair = pair().await;
    pair.local_url = url;
    Site::on_pair(pair, REMOTE, "select").await
}

#[tokio::test]
async fn runs_of_every_kind_work_on_a_table_distributed_by_tenant() {
    let Some(url) = url() else {
        return;
    };
    let _turn = TURN.lock().await;
    let mut site = site(url, TABLES).await;
    each(
        &site.local,
        &[
            "select create_distributed_table('meter', 'tenant_id')",
            "select create_distributed_table('meter_reading', 'tenant_id', colocate_with => 'meter')",
        ],
    )
    .await;
    each(&site.local, CONSTRAINTS).await;
    runs::of_every_kind(&mut site).await;
    distribution_findings::all_is_well(&site).await;
}

#[tokio::test]
async fn a_sweep_and_its_runs_work_on_tables_in_distributed_schemas() {
    let Some(url) = url() else {
        return;
    };
    let _turn = TURN.lock().await;
    let tables = [
        "create table tenant (id bigint primary key)",
        "insert into tenant values (7), (8)",
        "set citus.enable_schema_based_sharding = on",
        "create schema site_7",
        "create schema site_8",
        "create table site_7.meter (id bigint primary key, name text, serial_number text unique, active boolean not null default true)",
        "create table site_8.meter (id bigint primary key, name text, serial_number text unique, active boolean not null default true)",
    ];
    let site = site(url, &tables).await;
    runs::of_distributed_schemas(&site).await;
}

/// With the number of a shard, these names are too long, so Citus shortens them.
const LONG_NAMES: &[&str] = &[
    "alter table meter add constraint no_two_meters_of_an_organisation_have_the_same_name_here_or unique (tenant_id, name)",
    "alter table meter add constraint each_meter_refers_to_a_meter_of_the_same_organisation_as foreign key (tenant_id, parent)
        references meter (tenant_id, id)",
];

/// Why a run rejects a row, which is to be the only one.
async fn reason_of_one(site: &Site) -> String {
    let run = site.sync().await;
    assert_eq!(run.counts.rejected, 1, "{run:#?}");
    let mut rejected = site.status().await.rejected.unwrap_or_default();
    let row = rejected.pop().expect("a rejected row");
    assert!(rejected.is_empty(), "{rejected:?}");
    row.reason
}

#[tokio::test]
async fn a_row_that_a_shard_refuses_is_told_with_its_constraint_and_without_its_values() {
    let Some(url) = url() else {
        return;
    };
    let _turn = TURN.lock().await;
    let mut site = site(url, TABLES).await;
    let distribute = "select create_distributed_table('meter', 'tenant_id')";
    each(&site.local, &[distribute]).await;
    each(&site.local, LONG_NAMES).await;
    let not_null = "alter table meter alter column name set not null";
    each(&site.local, &[not_null]).await;
    let settings = site.settings().with(Setting::TenantId, "7");
    site.reconfigure(&settings.with(Setting::Key, "id"));
    site.sync().await;
    for (id, values, reason) in [
        (
            101,
            "'meter 10', 'SN-101', null, 502",
            "is taken by meter 10, which is active (unique index no_two_meters_of_an_organisation_have_the_same_name_here_or)",
        ),
        (
            102,
            "'orphan', 'SN-102', 999, 502",
            "no such row in table meter (foreign key each_meter_refers_to_a_meter_of_the_same_organisation_as)",
        ),
        (
            103,
            "'no port', 'SN-103', null, 0",
            "port \"0\": breaks constraint meter_port_check: CHECK ((port > 0))",
        ),
        (
            104,
            "null, 'SN-104', null, 502",
            "name is null, which the local table does not allow",
        ),
    ] {
        site.on_remote(&format!("insert into meter values ({id}, 7, {values})"))
            .await;
        let told = reason_of_one(&site).await;
        assert!(told.contains(reason), "{told}");
        assert!(!told.contains("SN-103"), "{told}");
        site.on_remote(&format!("delete from meter where id = {id}"))
            .await;
    }
    // Of an update, Citus passes the SQLSTATE on.
    for (set, reason) in [
        (
            "port = 0",
            "port \"0\": breaks constraint meter_port_check: CHECK ((port > 0))",
        ),
        (
            "name = null, port = 502",
            "name is null, which the local table does not allow",
        ),
    ] {
        site.on_remote(&format!("update meter set {set} where id = 10"))
            .await;
        assert_eq!(reason_of_one(&site).await, reason);
    }
}

#[tokio::test]
async fn a_meter_that_a_trigger_of_a_shard_skips_is_rejected_and_not_counted_as_inserted() {
    let Some(url) = url() else {
        return;
    };
    let _turn = TURN.lock().await;
    let mut site = site(url, TABLES).await;
    let skip = [
        "select create_distributed_table('meter', 'tenant_id')",
        "alter table meter add constraint meter_parent foreign key (tenant_id, parent) references meter (tenant_id, id)",
        "create or replace function skip_shut_ports() returns trigger language plpgsql
         as 'begin if new.port = 99 then return null; end if; return new; end'",
        "set citus.enable_unsafe_triggers = on",
        "create trigger skip before insert on meter for each row execute function skip_shut_ports()",
    ];
    each(&site.local, &skip).await;
    let settings = site.settings().with(Setting::TenantId, "7");
    site.reconfigure(&settings.with(Setting::Key, "id"));
    site.on_remote("insert into meter values (101, 7, 'shut', 'SN-101', null, 99), (102, 7, 'open', 'SN-102', 102, 98)")
        .await;
    for unchanged in [0, 21] {
        let run = site.sync().await;
        let found = [
            run.counts.inserted,
            run.counts.unchanged,
            run.counts.rejected,
        ];
        assert_eq!(found, [21 - unchanged, unchanged, 1], "{run:#?}");
    }
}

#[tokio::test]
async fn the_schema_of_the_sync_tables_stays_on_the_coordinator_whatever_the_database_sets() {
    let Some(url) = url() else {
        return;
    };
    let _turn = TURN.lock().await;
    let site = site(url, TABLES).await;
    let settings = site.settings().with(Setting::TenantId, "7");
    let settings = settings.with(Setting::Key, "id");
    let mirror = mirror(&settings);
    for sharding in ["on", "off"] {
        site.on_local(&format!(
            "do $$ begin execute format('alter database %I set citus.enable_schema_based_sharding = {sharding}', current_database()); end $$"
        ))
        .await;
        let run = finish(&mirror, RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.error, None, "{run:#?}");
        let distributed = rows(&site.local, "select schema_name::text from citus_schemas").await;
        assert_eq!(distributed, json!([]));
    }
    site.on_local("drop schema meter_sync cascade").await;
    let distribute = [
        "set citus.enable_schema_based_sharding = on",
        "create schema meter_sync",
    ];
    each(&site.local, &distribute).await;
    let run = finish(&mirror, RunRequest::new(RunTrigger::Cli)).await;
    let failure = run.error.expect("an error");
    let told = "distributes the schema meter_sync";
    assert!(failure.message.contains(told), "{failure:?}");
    let findings = check::run(&config(&settings)).await;
    let failed = findings.iter().any(|finding| {
        matches!(&finding.verdict, Verdict::Failed(failure) if failure.message.contains(told))
    });
    assert!(failed, "{findings:#?}");
}
