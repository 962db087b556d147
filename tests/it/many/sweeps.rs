//! Sweeps: what they find unchanged, what they run, and what they leave in the log.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirrors, RunRequest, SlotClaimOutcome};
use meter_sync::model::{Health, RunTrigger};
use meter_sync::reports::status::StatusQuery;
use meter_sync::reports::tenant_list::TenantsQuery;
use serde_json::json;

use super::{LOCAL, REMOTE, loaded, many_tenants, of_all, sweep, three_tenants};
use crate::support::site::{self, Site, rows};

pub(super) const RUNS: &str =
    "select tenant, outcome from meter_sync.meter_sync_log order by tenant, seq";

#[tokio::test]
async fn a_first_sweep_loads_every_tenant_and_the_next_finds_all_unchanged_without_a_run() {
    let site = three_tenants().await;
    let mirrors = loaded(&site).await;
    let equal = "select tenant_id, count(*) from meter group by 1 order by 1";
    assert_eq!(
        rows(&site.local, equal).await,
        rows(&site.remote, equal).await
    );
    let before = rows(&site.local, RUNS).await;
    let again = sweep(&mirrors).await.record;
    assert_eq!(again.error, None);
    assert_eq!((again.counts.mirrors, again.counts.unchanged), (3, 3));
    assert_eq!(rows(&site.local, RUNS).await, before, "no run is logged");
    let logged = "select mirrors, unchanged, succeeded, failed, finished_at is not null as ended
        from meter_sync.meter_sync_sweep order by seq";
    let expected = json!([
        {"mirrors": 3, "unchanged": 0, "succeeded": 3, "failed": 0, "ended": true},
        {"mirrors": 3, "unchanged": 3, "succeeded": 0, "failed": 0, "ended": true},
    ]);
    assert_eq!(rows(&site.local, logged).await, expected);
    let checked = "select tenant, checked_at > now() - interval '1 minute' as is_new
        from meter_sync.meter_sync_mirror order by tenant";
    let expected = json!([
        {"tenant": "7", "is_new": true}, {"tenant": "8", "is_new": true}, {"tenant": "9", "is_new": true},
    ]);
    assert_eq!(rows(&site.local, checked).await, expected);
}

#[tokio::test]
async fn an_unchanged_sweep_reads_a_few_bytes_and_writes_no_meter() {
    let site = three_tenants().await;
    let mirrors = loaded(&site).await;
    let place = "select ctid::text, xmin::text from meter order by id";
    let before = rows(&site.local, place).await;
    let again = sweep(&mirrors).await.record;
    assert!(again.counts.remote_bytes < 2000, "{again:?}");
    assert_eq!(rows(&site.local, place).await, before);
}

#[tokio::test]
async fn only_tenants_that_differ_on_either_side_get_a_run() {
    let site = three_tenants().await;
    let mirrors = loaded(&site).await;
    site.on_remote(
        "update meter set name = 'new' where id = (select min(id) from meter where tenant_id = 8)",
    )
    .await;
    site.on_local("delete from meter where id = (select min(id) from meter where tenant_id = 9)")
        .await;
    let report = sweep(&mirrors).await.record;
    assert_eq!((report.counts.unchanged, report.counts.succeeded), (1, 2));
    let last = "select tenant, outcome, inserted, updated from meter_sync.meter_sync_log where seq > 3 order by tenant";
    let expected = json!([
        {"tenant": "8", "outcome": "succeeded", "inserted": 0, "updated": 1},
        {"tenant": "9", "outcome": "succeeded", "inserted": 1, "updated": 0},
    ]);
    assert_eq!(rows(&site.local, last).await, expected);
    let after = sweep(&mirrors).await.record;
    assert_eq!(after.counts.unchanged, 3);
}

#[tokio::test]
async fn of_many_tenants_each_change_is_found_wherever_it_stands_in_the_order() {
    let site = Site::with_schemas(REMOTE, LOCAL).await;
    let add = "insert into tenant select n, 'tenant ' || n from generate_series(100, 299) n";
    site.on_remote(add).await;
    site.on_local(add).await;
    site.on_remote(
        "insert into meter select 1000 + n, n, 'one', true from generate_series(100, 299) n",
    )
    .await;
    let mirrors = site::mirrors(&of_all(&site));
    assert_eq!(sweep(&mirrors).await.record.counts.succeeded, 203);
    for tenants in [
        vec![7],
        vec![299],
        vec![100, 128, 129, 160, 161, 299],
        vec![131, 132],
    ] {
        let list = tenants.iter().map(ToString::to_string).collect::<Vec<_>>();
        let change = format!(
            "update meter set name = name || '!' where tenant_id in ({})",
            list.join(",")
        );
        site.on_remote(&change).await;
        let report = sweep(&mirrors).await.record;
        let changed = i64::try_from(tenants.len()).expect("few");
        assert_eq!(report.counts.succeeded, changed, "{tenants:?} {report:?}");
        assert_eq!(report.counts.unchanged, 203 - changed);
    }
    let meters = "select id, tenant_id, name from meter order by id";
    assert_eq!(
        rows(&site.local, meters).await,
        rows(&site.remote, meters).await
    );
}

#[tokio::test]
async fn a_meter_that_passes_from_one_tenant_to_another_is_found_in_both() {
    let site = three_tenants().await;
    let mirrors = loaded(&site).await;
    site.on_remote(
        "update meter set tenant_id = 9 where id = (select min(id) from meter where tenant_id = 7)",
    )
    .await;
    let report = sweep(&mirrors).await;
    assert_eq!(report.record.counts.unchanged, 1, "{report:?}");
}

#[tokio::test]
async fn a_tenant_whose_last_run_did_not_succeed_gets_a_run_each_time() {
    let site = three_tenants().await;
    let mirrors = loaded(&site).await;
    // The brake holds tenant 8 back: all its meters are gone.
    site.on_remote("delete from meter where tenant_id = 8")
        .await;
    for _ in 0..2 {
        let report = sweep(&mirrors).await;
        let codes: Vec<ErrorCode> = report.failed.iter().map(|(_, code)| *code).collect();
        assert_eq!(codes, [ErrorCode::SourceEmptyRefused]);
        assert_eq!(report.record.counts.unchanged, 2);
    }
    let held = "select tenant, count(*) from meter_sync.meter_sync_log where outcome = 'refused' group by 1";
    assert_eq!(
        rows(&site.local, held).await,
        json!([{"tenant": "8", "count": 2}])
    );
    let active = "select count(*) from meter where tenant_id = 8 and active";
    assert_eq!(rows(&site.local, active).await, json!([{"count": 100}]));
}

#[tokio::test]
async fn contents_that_are_due_for_a_comparison_get_a_run() {
    let site = three_tenants().await;
    let settings = of_all(&site).with(Setting::FullCompare, "0s");
    let mirrors = site::mirrors(&settings);
    sweep(&mirrors).await;
    let again = sweep(&mirrors).await.record;
    assert_eq!((again.counts.unchanged, again.counts.succeeded), (0, 3));
}

#[tokio::test]
async fn where_versions_prove_nothing_contents_are_compared() {
    let site = three_tenants().await;
    site.on_remote("create view meters as select * from meter")
        .await;
    // A view has no row versions. Here a tenant has meters that are gone from the remote.
    let mirrors = site::mirrors(&of_all(&site).with(Setting::RemoteTable, "meters"));
    sweep(&mirrors).await;
    site.on_remote("delete from meter where id in (select id from meter where tenant_id = 7 order by id limit 3)")
        .await;
    assert_eq!(sweep(&mirrors).await.record.counts.unchanged, 2);
    assert_eq!(sweep(&mirrors).await.record.counts.unchanged, 3);
    site.on_remote(
        "update meter set name = 'x' where id = (select max(id) from meter where tenant_id = 9)",
    )
    .await;
    site.on_local(
        "update meter set name = 'y' where id = (select max(id) from meter where tenant_id = 8)",
    )
    .await;
    let report = sweep(&mirrors).await.record;
    assert_eq!((report.counts.unchanged, report.counts.succeeded), (1, 2));
    let meters = "select id, name, active from meter where active order by id";
    assert_eq!(
        rows(&site.local, meters).await,
        rows(&site.remote, meters).await
    );
}

#[tokio::test]
async fn without_watermarks_many_tenants_are_compared_by_contents() {
    let site = many_tenants().await;
    let mirrors = site::mirrors(&of_all(&site));
    sweep(&mirrors).await;
    site.on_local("delete from meter_sync.meter_sync_seen")
        .await;
    site.on_remote("update meter set name = 'new' where tenant_id = 120")
        .await;
    let report = sweep(&mirrors).await.record;
    assert_eq!((report.counts.unchanged, report.counts.succeeded), (42, 1));
}

#[tokio::test]
async fn a_mirror_found_unchanged_is_as_fresh_as_the_sweep() {
    let site = three_tenants().await;
    let settings = of_all(&site).with(Setting::Schedule, "0 * * * *");
    let mirrors = site::mirrors(&settings);
    sweep(&mirrors).await;
    site.on_local(
        "update meter_sync.meter_sync_log set started_at = started_at - interval '5 hours',
        finished_at = finished_at - interval '5 hours'",
    )
    .await;
    let health = async |mirrors: &Mirrors| {
        let mirror = mirrors.find(Some("8")).await.expect("tenant 8");
        let status = mirror
            .status(&StatusQuery::default())
            .await
            .expect("a status");
        let overview = mirrors.overview(&TenantsQuery::default()).await;
        assert_eq!(overview.health, status.health);
        status.health
    };
    let fresh = site::mirrors(&settings);
    assert_eq!(health(&fresh).await, Health::Stale);
    assert_eq!(sweep(&fresh).await.record.counts.unchanged, 3);
    assert_eq!(health(&fresh).await, Health::Ok);
}

#[tokio::test]
async fn one_process_sweeps_a_slot_and_another_takes_it_over_when_the_first_is_gone() {
    let site = three_tenants().await;
    let (one, other) = (site::mirrors(&of_all(&site)), site::mirrors(&of_all(&site)));
    let slot = one.now();
    assert_eq!(
        one.claim_sweep(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(
        other.claim_sweep(slot, false).await,
        Ok(SlotClaimOutcome::Pending)
    );
    assert_eq!(
        one.claim_sweep(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    site.on_local(
        "update meter_sync.meter_sync_slot set claimed_at = claimed_at - interval '31 seconds'",
    )
    .await;
    assert_eq!(
        other.claim_sweep(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(
        one.claim_sweep(slot, true).await,
        Ok(SlotClaimOutcome::Pending)
    );
    sweep(&other).await;
    assert_eq!(
        one.claim_sweep(slot, false).await,
        Ok(SlotClaimOutcome::Served)
    );
    assert_eq!(
        other.claim_sweep(slot, false).await,
        Ok(SlotClaimOutcome::Served)
    );
    assert_eq!(
        other.claim_sweep(slot, true).await,
        Ok(SlotClaimOutcome::Ours)
    );
}

#[tokio::test]
async fn a_sweep_of_dry_runs_needs_no_tables_of_ours_and_notes_nothing() {
    let site = three_tenants().await;
    let mirrors = site::mirrors(&of_all(&site));
    let dry = async || {
        let request = RunRequest {
            dry_run: true,
            ..RunRequest::new(RunTrigger::Cli)
        };
        let swept = mirrors.sweep(&request, |_, _| {}).await.expect("a sweep");
        swept.record.counts
    };
    let first = dry().await;
    assert_eq!((first.unchanged, first.succeeded), (0, 3), "{first:?}");
    assert_eq!(
        rows(&site.local, "select count(*) from meter").await,
        json!([{"count": 0}])
    );
    sweep(&mirrors).await;
    assert_eq!(dry().await.unchanged, 3);
    let noted = "select (select count(*) from meter_sync.meter_sync_mirror) as checks,
        (select count(*) from meter_sync.meter_sync_sweep) as sweeps";
    assert_eq!(
        rows(&site.local, noted).await,
        json!([{"checks": 0, "sweeps": 1}])
    );
}

#[tokio::test]
async fn the_tenant_that_is_longest_behind_goes_first() {
    let site = three_tenants().await;
    let settings = of_all(&site).with(Setting::Workers, "1");
    let mirrors = site::mirrors(&settings);
    sweep(&mirrors).await;
    site.on_local("update meter_sync.meter_sync_log set finished_at = finished_at - case tenant when '9' then interval '3 hours' when '7' then interval '2 hours' else interval '1 hour' end, started_at = started_at - interval '4 hours'")
        .await;
    site.on_remote("update meter set name = name || '!'").await;
    let fresh = site::mirrors(&settings);
    sweep(&fresh).await;
    let order = "select string_agg(tenant, ' ' order by seq) as tenants from meter_sync.meter_sync_log where seq > 3";
    assert_eq!(
        rows(&site.local, order).await,
        json!([{"tenants": "9 7 8"}])
    );
}

#[tokio::test]
async fn a_column_that_the_remote_renames_is_no_reason_to_call_tenants_unchanged() {
    let site = three_tenants().await;
    site.on_remote("create view meters as select * from meter")
        .await;
    let settings = of_all(&site).with(Setting::RemoteTable, "meters");
    let mirrors = site::mirrors(&settings);
    sweep(&mirrors).await;
    assert_eq!(sweep(&mirrors).await.record.counts.unchanged, 3);
    site.on_remote("alter view meters rename column name to label")
        .await;
    let counts = sweep(&mirrors).await.record.counts;
    assert_eq!(
        (counts.unchanged, counts.succeeded),
        (0, 3),
        "each run tells of the drift"
    );
    let drifted = "select count(*) from meter_sync.meter_sync_column where drift is not null";
    assert_eq!(rows(&site.local, drifted).await, json!([{"count": 3}]));
    assert_eq!(sweep(&mirrors).await.record.counts.unchanged, 3);
}

#[tokio::test]
async fn processes_that_keep_other_tenants_sweep_apart() {
    let site = three_tenants().await;
    let settings = |ids| site.settings().with(Setting::Tenants, ids);
    let (one, other) = (
        site::mirrors(&settings("7,8")),
        site::mirrors(&settings("9")),
    );
    let slot = one.now();
    assert_eq!(
        one.claim_sweep(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    sweep(&one).await;
    assert_eq!(
        other.claim_sweep(slot, false).await,
        Ok(SlotClaimOutcome::Ours)
    );
    assert_eq!(sweep(&other).await.record.counts.mirrors, 1);
    let last = async |mirrors: &Mirrors| {
        let status = mirrors.overview(&TenantsQuery::default()).await;
        let last = status.tenants.and_then(|tenants| tenants.last_sweep);
        last.map(|sweep| sweep.counts.mirrors)
    };
    assert_eq!((last(&one).await, last(&other).await), (Some(2), Some(1)));
}

#[tokio::test]
async fn a_look_that_a_wrong_clock_dated_ahead_is_replaced_by_the_next() {
    let site = three_tenants().await;
    let settings = of_all(&site).with(Setting::Schedule, "0 * * * *");
    let mirrors = site::mirrors(&settings);
    sweep(&mirrors).await;
    sweep(&mirrors).await;
    site.on_local(
        "update meter_sync.meter_sync_mirror set checked_at = checked_at + interval '3 days'",
    )
    .await;
    let fresh = site::mirrors(&settings);
    let health = |mirrors: &Mirrors| {
        let mirrors = mirrors.clone();
        async move { mirrors.overview(&TenantsQuery::default()).await.health }
    };
    assert_eq!(health(&fresh).await, Health::Ok, "the last runs are fresh");
    sweep(&fresh).await;
    let ahead = "select count(*) from meter_sync.meter_sync_mirror where checked_at > now()";
    assert_eq!(rows(&site.local, ahead).await, json!([{"count": 0}]));
    assert_eq!(health(&fresh).await, Health::Ok);
}
