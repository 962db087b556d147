//! One of several mirrors is paused: the others are synced as before.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirrors, RunRequest};
use meter_sync::model::{Health, RunTrigger};
use meter_sync::reports::tenant_list::TenantsQuery;
use serde_json::json;

use super::pause;
use crate::support::site::{Site, mirrors, rows};

const METERS: &str = "insert into meter (id, tenant_id, name) values (1, 7, 'a'), (2, 8, 'b')";
const MORE: &str = "insert into meter (id, tenant_id, name) values (3, 7, 'c'), (4, 8, 'd')";

/// The mirrors of the tenants 7 and 8, in sync; since then each has one more meter on the remote, and that of tenant 7
/// is paused.
async fn with_one_paused() -> (Site, Mirrors) {
    let site = Site::shared().await;
    let settings = site.settings().with(Setting::Tenants, "7,8");
    let settings = settings.with(Setting::Schedule, "0 0 1 1 *");
    let mirrors = mirrors(&settings);
    site.on_remote(METERS).await;
    sweep(&mirrors).await;
    let paused = mirrors.find(Some("7")).await.expect("a mirror");
    pause(&paused, None).await;
    site.on_remote(MORE).await;
    (site, mirrors)
}

/// Sweeps as a person does, and returns which runs were refused.
async fn sweep(mirrors: &Mirrors) -> Vec<(String, ErrorCode)> {
    let request = RunRequest::new(RunTrigger::Cli);
    let report = mirrors.sweep(&request, |_, _| {}).await.expect("a sweep");
    let failed = report.failed.into_iter();
    failed
        .map(|(known, code)| (known.id.as_str().to_owned(), code))
        .collect()
}

async fn ids(site: &Site) -> serde_json::Value {
    rows(&site.local, "select id from meter order by id").await
}

#[tokio::test]
async fn a_sweep_syncs_all_mirrors_but_the_paused_one() {
    let (site, mirrors) = with_one_paused().await;
    let refused = sweep(&mirrors).await;
    assert_eq!(refused, [("7".to_owned(), ErrorCode::Paused)]);
    assert_eq!(ids(&site).await, json!([{"id": 1}, {"id": 2}, {"id": 4}]));
}

#[tokio::test]
async fn a_scheduled_sweep_makes_a_dry_run_of_the_paused_mirror() {
    let (site, mirrors) = with_one_paused().await;
    let report = mirrors.sweep_with_others(RunTrigger::Schedule).await;
    let report = report.expect("a sweep");
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!(ids(&site).await, json!([{"id": 1}, {"id": 2}, {"id": 4}]));
    let of_seven = "select dry_run, inserted from meter_sync.meter_sync_log where tenant = '7' and trigger = 'schedule'";
    let dry_run = json!([{"dry_run": true, "inserted": 1}]);
    assert_eq!(rows(&site.local, of_seven).await, dry_run);
}

#[tokio::test]
async fn the_status_of_all_tells_which_are_paused() {
    let (_site, mirrors) = with_one_paused().await;
    sweep(&mirrors).await;
    let query = TenantsQuery::default();
    let status = mirrors.overview(&query).await;
    assert_eq!(status.summary, "1 of 2 tenants are in sync; 1 paused.");
    let tenants = status.tenants.expect("tenants");
    let paused = tenants.list.iter().find(|tenant| tenant.tenant_id == "7");
    let paused = paused.expect("tenant 7");
    assert_eq!(paused.health, Health::Paused);
    let by = paused.paused.as_ref().and_then(|pause| pause.by.as_deref());
    assert_eq!(by, Some("ann"));
    let seven = mirrors.find(Some("7")).await.expect("a mirror");
    seven.resume(None).await.expect("an answer");
    assert_eq!(sweep(&mirrors).await, []);
    let status = mirrors.overview(&query).await;
    assert!(
        status.summary.starts_with("All 2 tenants"),
        "{}",
        status.summary
    );
}
