//! The standby is promoted without our last commits: an asynchronous failover.

use std::time::Duration;

use meter_sync::config::Setting;
use meter_sync::mirrors::{Mirrors, RunEventFeed, RunRequest};
use meter_sync::model::{RunId, RunOutcome, RunRecord, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use meter_sync::reports::status::StatusQuery;
use meter_sync::reports::tenant_list::{TenantSummary, TenantsQuery};
use serde_json::json;

use super::{HERE, Site, THERE, outcomes, run};
use crate::support::postgres::{connect, pair};
use crate::support::site::{self, REMOTE_SCHEMA, SHARED_LOCAL_SCHEMA, finish, rows, settings};
use crate::support::standby::Cluster;

/// Takes as many numbers of runs as it needs, so that the runs after a failover get lower ones.
const NUMBERS: &str = "select nextval(pg_get_serial_sequence('meter_sync.meter_sync_log', 'seq')) from generate_series(1, 100)";

/// Waits until the end of the run is told.
async fn is_told(events: &mut RunEventFeed, run: &RunReport) {
    let told = async {
        let is_end = |event: &RunRecord| event.run_id == run.run_id && event.outcome == run.outcome;
        while !events.next().await.iter().any(is_end) {}
    };
    let told = tokio::time::timeout(Duration::from_secs(10), told).await;
    assert!(told.is_ok(), "nothing is told of {run:#?}");
}

#[tokio::test]
async fn commits_that_a_failover_loses_are_made_again() {
    let mut site = Site::with_local_standby().await;
    let first = site.syncs(RunOutcome::Succeeded).await;
    site.syncs(RunOutcome::NoChange).await;
    let status = async |mirror: &meter_sync::mirrors::Mirror| {
        let status = mirror.status(&StatusQuery::default()).await;
        status.expect("a status")
    };
    let kept = status(&site.mirror).await;
    site.cluster.cut_the_stream().await;
    run(&site.cluster.on_primary().await, NUMBERS).await;
    run(
        &site.remote,
        "update meter set name = 'new' where id <= 5; delete from meter where id = 50",
    )
    .await;
    let mut events = site.mirror.events();
    let lost = site.syncs(RunOutcome::Succeeded).await;
    is_told(&mut events, &lost).await;
    site.syncs(RunOutcome::NoChange).await;
    let shown = status(&site.mirror).await;
    assert_eq!(shown.meters.expect("counts").active, 49);
    site.cluster.fail_over().await;

    let promoted = site.cluster.on_standby().await;
    let shown = status(&site.mirror).await;
    assert_eq!(shown.meters.expect("counts").active, 50, "they are back");
    assert_eq!(shown.last_success_at, kept.last_success_at);
    let last = shown.last_run.expect("a run").run_id;
    assert_eq!(
        Some(last),
        kept.last_run.map(|run| run.run_id),
        "not {lost:?}"
    );
    assert_ne!(last, first.run_id);

    let another = site::mirror(&settings(&site.urls[0], &site.urls[1]));
    let again = finish(&another, RunRequest::new(RunTrigger::Cli)).await;
    is_told(&mut events, &again).await;
    assert_eq!(again.counts.updated, 5, "{again:#?}");
    assert_eq!(again.counts.deactivated, 1);
    assert_eq!(rows(&promoted, HERE).await, rows(&site.remote, THERE).await);
    site.syncs(RunOutcome::NoChange).await;
    let expected = ["succeeded", "no_change", "succeeded", "no_change"];
    assert_eq!(outcomes(&promoted).await, expected);
}

/// The states of all tenants, in the order of their ids.
async fn states(mirrors: &Mirrors) -> Vec<TenantSummary> {
    // so that nothing published before is used
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let status = mirrors.overview(&TenantsQuery::default()).await;
    let mut list = status.tenants.expect("tenants").list;
    list.sort_by(|one, other| one.tenant_id.cmp(&other.tenant_id));
    list
}

fn last_run(state: &TenantSummary) -> RunId {
    state.last_run.as_ref().expect("a run").run_id
}

#[tokio::test]
async fn runs_that_a_failover_loses_are_forgotten_and_later_ones_are_seen() {
    let (other, mut cluster) = tokio::join!(pair(), Cluster::start());
    let remote = connect(&other.remote_url).await;
    run(&remote, REMOTE_SCHEMA).await;
    let load = "insert into meter (id, tenant_id, name) select n, 7 + n % 3, 'one' from generate_series(1, 30) n";
    run(&remote, load).await;
    let primary = cluster.on_primary().await;
    run(&primary, SHARED_LOCAL_SCHEMA).await;
    let settings = settings(&other.remote_url, &cluster.url("read-write"));
    let settings = settings.with(Setting::Tenants, "all");
    let mirrors = site::mirrors(&settings);
    let sweep = async || {
        let report = mirrors
            .sweep(&RunRequest::new(RunTrigger::Cli), |_, _| {})
            .await;
        report.expect("a sweep").record.counts
    };
    assert_eq!(sweep().await.succeeded, 3);
    let kept = states(&mirrors).await;
    cluster.cut_the_stream().await;

    run(&primary, NUMBERS).await;
    run(
        &remote,
        "update meter set name = 'two' where tenant_id <> 9",
    )
    .await;
    assert_eq!(sweep().await.succeeded, 2);
    let lost = states(&mirrors).await;
    assert_ne!(last_run(&lost[0]), last_run(&kept[0]));
    cluster.fail_over().await;

    let shown = states(&mirrors).await;
    for (shown, kept) in shown.iter().zip(&kept) {
        assert_eq!(last_run(shown), last_run(kept));
        assert_eq!(shown.last_success_at, kept.last_success_at);
    }
    let of_another = site::mirrors(&settings);
    let seven = of_another.find(Some("7")).await.expect("a tenant");
    let new = finish(&seven, RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(new.outcome, Some(RunOutcome::Succeeded), "{new:#?}");
    let shown = states(&mirrors).await;
    assert_eq!(last_run(&shown[0]), new.run_id, "it is seen");
    let swept = sweep().await;
    // The watermarks of the old server prove nothing to the new one, so the other two get a run.
    assert_eq!((swept.succeeded, swept.unchanged), (2, 1), "{swept:?}");
    let names = "select name, count(*)::integer as n from meter group by name order by name";
    assert_eq!(
        rows(&cluster.on_standby().await, names).await,
        json!([{"name": "one", "n": 10}, {"name": "two", "n": 20}])
    );
}
