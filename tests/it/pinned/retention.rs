//! What the log keeps of old runs, and what not.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use serde_json::{Value, json};

use super::site;
use crate::support::site::{Site, rows};
use crate::support::wait;

async fn with_meters() -> Site {
    let mut site = site("name text", "").await;
    let settings = site.settings().with(Setting::KeepRuns, "10d");
    site.reconfigure(&settings);
    site.on_remote("insert into meter values (1, 7, 'a', true), (2, 7, 'a', true)")
        .await;
    site.sync().await;
    site
}

/// Makes all runs so far as old as that.
async fn age(site: &Site, by: &str) {
    site.on_local(&format!(
        "update meter_sync.meter_sync_log set started_at = started_at - interval '{by}', finished_at = finished_at - interval '{by}'"
    ))
    .await;
}

/// The changes in the log: of which key, what, and which name came of it.
async fn changes(site: &Site) -> Value {
    let changes = "select (c.key->>'id') || ' ' || c.action || ' ' || coalesce(c.after->>'name', '-') as change
        from meter_sync.meter_sync_change c join meter_sync.meter_sync_log g on g.id = c.run_id order by g.seq, c.n";
    let changes = rows(&site.local, changes).await;
    changes
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["change"].clone())
        .collect()
}

async fn outcomes(site: &Site) -> Value {
    let outcomes = "select array_agg(outcome order by seq) as o from meter_sync.meter_sync_log";
    rows(&site.local, outcomes).await[0]["o"].clone()
}

/// A run; what is old is pruned behind it.
async fn sync_and_prune(site: &Site, expected: RunOutcome, left: Value) {
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(expected), "{run:#?}");
    wait::until("the log is pruned", async || outcomes(site).await == left).await;
}

#[tokio::test]
async fn old_runs_go_and_each_meters_last_change_stays() {
    let site = with_meters().await;
    site.on_remote("update meter set name = 'b' where id = 1")
        .await;
    site.sync().await;
    site.sync().await;
    site.dry_run().await;
    age(&site, "11 days").await;
    // Of the first two runs something is kept.
    let left = json!(["succeeded", "succeeded", "no_change"]);
    sync_and_prune(&site, RunOutcome::NoChange, left).await;
    assert_eq!(changes(&site).await, json!(["2 insert a", "1 update b"]));
    let truncated =
        "select array_agg(changes_truncated order by seq) as t from meter_sync.meter_sync_log";
    assert_eq!(
        rows(&site.local, truncated).await,
        json!([{"t": [true, false, false]}])
    );

    site.on_remote("update meter set name = 'c'").await;
    site.sync().await;
    age(&site, "11 days").await;
    // What was kept is no meter's last change any longer.
    let left = json!(["succeeded", "no_change"]);
    sync_and_prune(&site, RunOutcome::NoChange, left).await;
    assert_eq!(changes(&site).await, json!(["1 update c", "2 update c"]));
    let meter = site.meter("1").await;
    assert_eq!(meter.changes.len(), 1);
}

#[tokio::test]
async fn runs_with_problems_are_kept_four_times_as_long_and_the_last_success_for_ever() {
    let site = with_meters().await;
    site.sync().await;
    site.on_remote("alter table meter rename to elsewhere")
        .await;
    site.sync().await;
    age(&site, "39 days").await;
    let left = json!(["succeeded", "no_change", "failed", "failed"]);
    sync_and_prune(&site, RunOutcome::Failed, left).await;
    age(&site, "2 days").await;
    let left = json!(["succeeded", "no_change", "failed", "failed"]);
    sync_and_prune(&site, RunOutcome::Failed, left).await;
    let status = site.status().await;
    assert!(status.last_success_at.is_some(), "{status:#?}");
}

#[tokio::test]
async fn a_site_that_only_plans_keeps_no_more_of_it() {
    let site = with_meters().await;
    site.on_remote("update meter set name = 'b'").await;
    site.dry_run().await;
    site.dry_run().await;
    age(&site, "11 days").await;
    site.dry_run().await;
    wait::until("the log is pruned", async || {
        outcomes(&site).await == json!(["succeeded", "dry_run"])
    })
    .await;
}

#[tokio::test]
async fn rejected_rows_go_with_their_runs_and_other_tables_are_left_alone() {
    let site = with_meters().await;
    site.on_local("alter table meter add check (name <> 'bad')")
        .await;
    site.on_remote("insert into meter values (3, 7, 'bad', true)")
        .await;
    let partial = site.sync().await;
    assert_eq!(partial.outcome, Some(RunOutcome::Partial), "{partial:#?}");
    site.on_remote("delete from meter where id = 3").await;
    site.sync().await;
    site.on_local(
        "insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at, finished_at, outcome)
         select gen_random_uuid(), '8', local_table, trigger, started_at, finished_at, 'no_change' from meter_sync.meter_sync_log limit 1",
    )
    .await;
    age(&site, "41 days").await;
    site.sync().await;
    let left = "select (select count(*) from meter_sync.meter_sync_rejected) as rejected,
        (select count(*) from meter_sync.meter_sync_log where outcome = 'partial') as partial,
        (select count(*) from meter_sync.meter_sync_log where tenant = '8') as others";
    let expected = json!([{"rejected": 0, "partial": 0, "others": 1}]);
    wait::until("the log is pruned", async || {
        rows(&site.local, left).await == expected
    })
    .await;
}

#[tokio::test]
async fn a_log_of_many_old_runs_is_pruned_step_by_step() {
    let site = with_meters().await;
    site.on_local(
        "insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at, finished_at, outcome)
         select gen_random_uuid(), l.tenant, l.local_table, 'schedule', now() - n * interval '1 hour', now() - n * interval '1 hour', 'no_change'
         from meter_sync.meter_sync_log l, generate_series(300, 800) n",
    )
    .await;
    site.sync().await;
    let left = "select count(*) as n from meter_sync.meter_sync_log";
    wait::until("the log is pruned", async || {
        rows(&site.local, left).await == json!([{"n": 2}])
    })
    .await;
}

#[tokio::test]
async fn runs_of_many_changes_are_pruned_in_transactions_of_their_own() {
    let site = with_meters().await;
    site.on_local(
        "create table pruned (xid bigint, n bigint);
         create function count_pruned() returns trigger language plpgsql as
         $$ begin insert into public.pruned select txid_current(), count(*) from gone; return null; end $$;
         create trigger count_pruned after delete on meter_sync.meter_sync_change
         referencing old table as gone for each statement execute function count_pruned();
         insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, dry_run, started_at, finished_at, outcome, inserted)
         select gen_random_uuid(), l.tenant, l.local_table, 'cli', true, now() - n * interval '20 days', now(), 'dry_run', 3000
         from meter_sync.meter_sync_log l, generate_series(1, 4) n;
         insert into meter_sync.meter_sync_change (run_id, n, action, key, before, after)
         select l.id, n, 'insert', jsonb_build_object('id', n), '{}', '{}'
         from meter_sync.meter_sync_log l, generate_series(1, 3000) n where l.dry_run",
    )
    .await;
    site.sync().await;
    let left = "select count(*) as n from meter_sync.meter_sync_log where dry_run";
    wait::until("the log is pruned", async || {
        rows(&site.local, left).await == json!([{"n": 0}])
    })
    .await;
    let steps = "select max(s.n) as most, sum(s.n) as all from (select xid, sum(n) as n from pruned group by xid) s";
    let expected = json!([{"most": 3000, "all": 12_000}]);
    assert_eq!(rows(&site.local, steps).await, expected);
}

#[tokio::test]
async fn runs_that_fail_as_the_tenant_is_not_known_go_as_well() {
    let mut site = Site::new().await;
    site.on_local("insert into tenant values (8, 'Byte')").await;
    let settings = site.settings().with(Setting::KeepRuns, "10d");
    site.reconfigure(&settings);
    for _ in 0..2 {
        let run = site.sync().await;
        let code = run.error.map(|error| error.code);
        assert_eq!(code, Some(ErrorCode::TenantNotConfigured));
    }
    age(&site, "41 days").await;
    sync_and_prune(&site, RunOutcome::Failed, json!(["failed"])).await;
}

#[tokio::test]
async fn the_last_run_that_compared_all_rows_is_kept() {
    let mut site = with_meters().await;
    let settings = site.settings().with(Setting::KeepRuns, "10d");
    site.reconfigure(&settings.with(Setting::FullCompare, "31d"));
    site.on_local("update meter_sync.meter_sync_log set compared = 'nothing'")
        .await;
    let comparing = site.sync().await;
    wait::until("the contents are compared", async || {
        site.status().await.verified_at.is_some()
    })
    .await;
    site.sync().await;
    age(&site, "20 days").await;
    let left = json!(["succeeded", "no_change", "no_change"]);
    sync_and_prune(&site, RunOutcome::NoChange, left).await;
    let kept = site.mirror.run(comparing.run_id).await.expect("an answer");
    assert!(kept.is_some());
}
