//! How many sets of held-back meters are kept, and what of them can be approved.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::{RunId, RunOutcome};
use serde_json::json;

use super::brake::{active_meters, approve, held, is_held, site};
use crate::support::site::{Site, rows};

/// So many sets are kept at most.
const SETS: i64 = 10;

async fn sets(site: &Site) -> serde_json::Value {
    let kept = "select count(distinct run_id) from meter_sync.meter_sync_held";
    rows(&site.local, kept).await[0]["count"].clone()
}

/// Whether the page asks a person to decide about a run.
async fn awaits_decision(site: &Site, run: RunId) -> bool {
    let detail = site.mirror.run(run).await.expect("an answer");
    detail.expect("a run").awaits_decision
}

#[tokio::test]
async fn meters_that_are_held_each_hour_are_kept_once_and_any_of_the_runs_can_be_approved() {
    for approved in 0..3 {
        let site = site("boolean").await;
        site.on_remote("delete from meter where id <= 40").await;
        let mut runs = Vec::new();
        for _ in 0..3 {
            let (run, _) = held(&site, ErrorCode::MassDeactivationRefused).await;
            runs.push(run.run_id);
        }
        assert_eq!(sets(&site).await, 1);
        for run in &runs {
            assert!(awaits_decision(&site, *run).await);
        }
        let run = approve(&site, runs[approved]).await;
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        assert_eq!(active_meters(&site).await, json!(60));
        assert!(!awaits_decision(&site, runs[approved]).await);
    }
}

#[tokio::test]
async fn of_sets_that_differ_the_last_ones_are_kept_and_an_older_one_is_asked_about_anew() {
    let site = site("boolean").await;
    site.on_remote("delete from meter where id <= 40").await;
    let mut runs = Vec::new();
    for gone in 0..=SETS {
        assert_eq!(
            sets(&site).await,
            gone,
            "those of the last hour are all kept"
        );
        site.on_remote(&format!("delete from meter where id = {}", 41 + gone))
            .await;
        if gone == SETS {
            site.on_local(
                "update meter_sync.meter_sync_log set started_at = started_at - interval '2 hours'",
            )
            .await;
        }
        let (run, _) = held(&site, ErrorCode::MassDeactivationRefused).await;
        runs.push(run.run_id);
    }
    assert_eq!(sets(&site).await, SETS);
    assert!(!awaits_decision(&site, runs[0]).await);
    assert!(awaits_decision(&site, runs[1]).await);
    let refused = approve(&site, runs[0]).await;
    is_held(&refused, ErrorCode::ApprovalOutdated);
    let error = refused.error.expect("an error");
    assert!(error.message.contains("no longer kept"), "{error:#?}");
    assert!(error.remedy.contains("approves this run"), "{error:#?}");
    // What a run showed of which the set is kept counts, but does not cover what went since.
    let refused = approve(&site, runs[2]).await;
    let message = refused.error.expect("an error").message;
    assert!(message.contains("does not cover 8 of them"), "{message}");
    let approved = approve(&site, refused.run_id).await;
    assert_eq!(
        approved.outcome,
        Some(RunOutcome::Succeeded),
        "{approved:#?}"
    );
}

#[tokio::test]
async fn what_was_held_before_a_sync_is_not_approved_by_the_same_meters_held_after_it() {
    let site = site("boolean").await;
    let delete = "delete from meter where id <= 40";
    site.on_remote(delete).await;
    let (before, _) = held(&site, ErrorCode::MassDeactivationRefused).await;
    site.on_remote("insert into meter select n, 7, 'back', true from generate_series(1, 40) n")
        .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    site.on_remote(delete).await;
    held(&site, ErrorCode::MassDeactivationRefused).await;
    assert!(!awaits_decision(&site, before.run_id).await);
    let refused = approve(&site, before.run_id).await;
    is_held(&refused, ErrorCode::ApprovalOutdated);
    assert_eq!(active_meters(&site).await, json!(100));
}

/// Two organisations in one table, whose meters have the same keys.
#[tokio::test]
async fn what_was_held_of_one_organisation_approves_nothing_of_another() {
    let columns =
        "id bigint, tenant_id bigint, name text, active boolean, primary key (tenant_id, id)";
    let remote = format!(
        "create table meter ({columns});
         insert into meter select n, t, 'Meter ' || n, true from generate_series(1, 100) n, generate_series(7, 8) t"
    );
    let local = format!(
        "create table tenant (id bigint primary key); insert into tenant values (7), (8); create table meter ({columns})"
    );
    let mut site = Site::with_schemas(&remote, &local).await;
    let mut held = Vec::new();
    for tenant in ["8", "7"] {
        let of_tenant = site
            .settings()
            .with(Setting::TenantId, tenant)
            .with(Setting::Key, "id");
        site.reconfigure(&of_tenant);
        let first = site.sync().await;
        assert_eq!(first.outcome, Some(RunOutcome::Succeeded), "{first:#?}");
        let delete = format!("delete from meter where id <= 40 and tenant_id = {tenant}");
        site.on_remote(&delete).await;
        let run = site.sync().await;
        is_held(&run, ErrorCode::MassDeactivationRefused);
        held.push(run.run_id);
    }
    let refused = approve(&site, held[0]).await;
    is_held(&refused, ErrorCode::ApprovalOutdated);
    assert_eq!(active_meters(&site).await, json!(200));
    let approved = approve(&site, held[1]).await;
    assert_eq!(
        approved.outcome,
        Some(RunOutcome::Succeeded),
        "{approved:#?}"
    );
    assert_eq!(active_meters(&site).await, json!(160));
}
