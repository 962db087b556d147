//! Many tenants behind a real `PgBouncer` in transaction mode that has two connections to each database.

use std::time::Duration;

use meter_sync::config::Setting;
use meter_sync::reports::tenant_list::TenantsQuery;
use serde_json::json;
use tokio_postgres::Client;

use super::three_tenants;
use crate::support::pgbouncer::PgBouncer;
use crate::support::program::{self, RunningProgram};
use crate::support::site::{self, Site, rows};
use crate::support::wait;

/// So many that a sweep of them lasts longer than a second process needs to notice it.
const TENANTS: i64 = 60;

/// Nothing here takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(90);

async fn sixty_tenants() -> Site {
    let site = three_tenants().await;
    let tenants = format!(
        "truncate tenant; insert into tenant select n, 'tenant ' || n from generate_series(101, {}) n",
        100 + TENANTS
    );
    site.on_remote(&tenants).await;
    site.on_local(&tenants).await;
    site.on_remote(&format!(
        "truncate meter; insert into meter select n, 101 + n % {TENANTS}, 'one', true from generate_series(1, 600) n"
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

/// The schedule of every hour whose next slot is that far away, so that no sweep is still under way when it comes.
fn schedule_in(wait: chrono::Duration) -> String {
    let slot = meter_sync::machine_clock::now() + wait;
    slot.format("%-S %-M * * * *").to_string()
}

#[tokio::test]
async fn two_processes_keep_many_tenants_behind_poolers_with_two_connections() {
    let site = sixty_tenants().await;
    let urls = [&*site.pair.remote_url, &*site.pair.local_url];
    let pooler = PgBouncer::between(urls, "default_pool_size = 2").await;
    let schedule = schedule_in(chrono::Duration::seconds(40));
    let more = [
        (Setting::RemoteUrl, &*pooler.remote_url),
        (Setting::LocalUrl, &*pooler.local_url),
        (Setting::Tenants, "all"),
        (Setting::Workers, "4"),
        (Setting::Schedule, &schedule),
        (Setting::Jitter, "0s"),
    ];
    let serve = || RunningProgram::serve(program::over(&site, &["serve"], &more));
    let ((one, _), (other, _)) = tokio::join!(serve(), serve());
    become_equal(&site, &pooler).await;
    let open = "select from meter_sync.meter_sync_sweep where finished_at is null";
    let has_ended = async || rows(&site.local, open).await == json!([]);
    wait::until("the first sweep has ended", has_ended).await;
    let unchanged = program::run(program::over(&site, &["sync", "--json"], &more)).await;
    assert_eq!(unchanged.code, 0, "{unchanged:?}");

    site.on_remote("update meter set name = 'two'").await;
    let sweeps = "select count(*) from meter_sync.meter_sync_sweep";
    let has_begun = async || rows(&site.local, sweeps).await == json!([{"count": 3}]);
    wait::until_within(PATIENCE, "the sweep of the slot has begun", has_begun).await;
    become_equal(&site, &pooler).await;
    wait::until("the sweep of the slot has ended", has_ended).await;
    let runs =
        "select outcome, count(*)::integer as n from meter_sync.meter_sync_log group by outcome";
    assert_eq!(
        rows(&site.local, runs).await,
        json!([{"outcome": "succeeded", "n": 2 * TENANTS}])
    );
    let sweeps = "select unchanged::integer, succeeded::integer, failed::integer, error_code
        from meter_sync.meter_sync_sweep order by seq";
    let of = |unchanged, succeeded| json!({"unchanged": unchanged, "succeeded": succeeded, "failed": 0, "error_code": null});
    assert_eq!(
        rows(&site.local, sweeps).await,
        json!([of(0, TENANTS), of(TENANTS, 0), of(0, TENANTS)])
    );
    for program in [one, other] {
        let told = program.whole_stderr().await;
        assert!(told.contains("sync started"), "it took no part: {told}");
        assert!(!told.contains("error.code"), "{told}");
    }
}
