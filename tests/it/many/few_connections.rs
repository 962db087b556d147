//! Many tenants behind a real `PgBouncer` in transaction mode that has two connections to each database.

use std::time::Duration;

use meter_sync::config::Setting;
use meter_sync::mirrors::state::tenant_list::TenantsQuery;
use serde_json::json;
use tokio_postgres::Client;

use super::three_tenants;
use crate::support::pgbouncer::PgBouncer;
use crate::support::program::{self, RunningProgram};
use crate::support::site::{self, Site, rows};
use crate::support::wait;

const TENANTS: i64 = 20;

/// Nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(90);

async fn twenty_tenants() -> Site {
    let site = three_tenants().await;
    let tenants = format!(
        "truncate tenant; insert into tenant select n, 'tenant ' || n from generate_series(101, {}) n",
        100 + TENANTS
    );
    site.on_remote(&tenants).await;
    site.on_local(&tenants).await;
    site.on_remote(&format!(
        "truncate meter; insert into meter select n, 101 + n % {TENANTS}, 'one', true from generate_series(1, 200) n"
    ))
    .await;
    site
}

/// How many connections of others the database has.
async fn connections(database: &Client) -> i64 {
    let counted = "select count(*) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'";
    let row = database.query_one(counted, &[]).await;
    row.expect("count them").get(0)
}

/// Waits until both sides are equal. Meanwhile statuses are asked for, and all of them are answered.
async fn become_equal(site: &Site, pooler: &PgBouncer) {
    let mirrors = site::mirrors(&pooler.settings().with(Setting::Tenants, "all"));
    let meters = "select id, tenant_id, name from meter where active order by id";
    let is_equal = async || {
        let status = mirrors.overview(&TenantsQuery::default()).await;
        let tenants = status.tenants.as_ref().map(|tenants| tenants.total);
        assert_eq!(tenants, Some(TENANTS), "{status:?}");
        assert_eq!(status.connections.local.error, None);
        assert!(connections(&site.local).await <= 2);
        assert!(connections(&site.remote).await <= 2);
        rows(&site.local, meters).await == rows(&site.remote, meters).await
    };
    wait::until_within(PATIENCE, "both sides are equal", is_equal).await;
}

/// Waits until the sweeps that are under way have ended, and one more.
async fn another_sweep(site: &Site) {
    let sweeps = "select count(*)::integer as n from meter_sync.meter_sync_sweep where finished_at is not null";
    let number = async || rows(&site.local, sweeps).await[0]["n"].as_i64();
    let before = number().await;
    let is_swept = async || number().await > before.map(|before| before + 1);
    wait::until_within(PATIENCE, "another sweep has ended", is_swept).await;
}

#[tokio::test]
async fn two_processes_keep_many_tenants_behind_poolers_with_two_connections() {
    let site = twenty_tenants().await;
    let urls = [&*site.pair.remote_url, &*site.pair.local_url];
    let pooler = PgBouncer::between(urls, "default_pool_size = 2").await;
    let more = [
        (Setting::RemoteUrl, &*pooler.remote_url),
        (Setting::LocalUrl, &*pooler.local_url),
        (Setting::Tenants, "all"),
        (Setting::Workers, "4"),
        (Setting::Schedule, "*/3 * * * * *"),
    ];
    let serve = || RunningProgram::serve(program::over(&site, &["serve"], &more));
    let ((one, _), (other, _)) = tokio::join!(serve(), serve());
    become_equal(&site, &pooler).await;
    another_sweep(&site).await;
    let runs = "select count(*)::integer as n from meter_sync.meter_sync_log";
    assert_eq!(rows(&site.local, runs).await, json!([{"n": TENANTS}]));
    for name in ["two", "three"] {
        site.on_remote(&format!("update meter set name = '{name}'"))
            .await;
        become_equal(&site, &pooler).await;
    }
    another_sweep(&site).await;

    let failed = "select outcome, error_code, error_message from meter_sync.meter_sync_log
        where outcome is distinct from 'succeeded' and outcome is distinct from 'no_change'";
    assert_eq!(rows(&site.local, failed).await, json!([]));
    let failed = "select error_code, failed from meter_sync.meter_sync_sweep where error_code is not null or failed > 0";
    assert_eq!(rows(&site.local, failed).await, json!([]));
    for program in [one, other] {
        let told = program.whole_stderr().await;
        assert!(told.contains("sync started"), "it took no part: {told}");
        assert!(!told.contains("error.code"), "{told}");
    }
}
