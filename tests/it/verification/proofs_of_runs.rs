//! What each run shows of both sides, and how the status tells it.

use meter_sync::config::Setting;
use meter_sync::engine::RowsToCompare;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{ProofMethod, RunOutcome, RunTrigger};
use serde_json::json;

use super::{REMEMBER_AS_EQUAL, in_sync, verified_by};
use crate::support::site::{Site, finish, mirror, rows};

const PROVED: &str =
    "select outcome, proved from meter_sync.meter_sync_log order by seq desc limit 1";

#[tokio::test]
async fn a_run_is_verified_by_what_it_compared() {
    let site = in_sync().await;
    assert_eq!(verified_by(&site).await, Some(ProofMethod::EveryValue));
    let unchanged = site.sync().await;
    let proof = site.status().await.verified.expect("a proof");
    assert_eq!(proof.by, ProofMethod::Versions);
    assert_eq!(Some(proof.at), unchanged.finished_at);
    assert_eq!((proof.meters, proof.digest), (20, None));
    site.on_remote(
        "update meter set name = 'new' where id = 5; delete from meter where id = 6; insert into meter (id, tenant_id) values (50, 7), (51, 7)",
    )
    .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    let proof = site.status().await.verified.expect("a proof");
    assert_eq!((proof.by, proof.meters), (ProofMethod::Versions, 21));
    site.dry_run().await;
    assert_eq!(
        rows(&site.local, PROVED).await,
        json!([{"outcome": "dry_run", "proved": null}])
    );
    let every_value = RunRequest {
        compare: RowsToCompare::Everything,
        ..RunRequest::new(RunTrigger::Cli)
    };
    finish(&site.mirror, every_value).await;
    assert_eq!(verified_by(&site).await, Some(ProofMethod::EveryValue));
    // Somebody else has written here, so that versions prove nothing.
    site.on_local("update meter set name = name").await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
    assert_eq!(verified_by(&site).await, Some(ProofMethod::Contents));
}

#[tokio::test]
async fn a_run_that_rejects_a_row_proves_nothing() {
    let site = in_sync().await;
    site.sync().await;
    let before = site.status().await.verified;
    let long = "update meter set name = repeat('x', 100) where id = 5";
    site.on_remote(long).await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Partial));
    assert_eq!(site.status().await.verified, before);
    assert_eq!(
        rows(&site.local, PROVED).await,
        json!([{"outcome": "partial", "proved": null}])
    );
}

#[tokio::test]
async fn a_view_is_verified_by_contents() {
    let mut site = in_sync().await;
    site.on_remote("create view seen as select * from meter")
        .await;
    site.reconfigure(&site.settings().with(Setting::RemoteTable, "seen"));
    site.sync().await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::NoChange));
    assert_eq!(verified_by(&site).await, Some(ProofMethod::Contents));
}

/// A mirror whose runs are each followed by a comparison.
fn compared(site: &Site) -> meter_sync::mirrors::Mirror {
    mirror(&site.settings().with(Setting::FullCompare, "0s"))
}

#[tokio::test]
async fn the_comparison_after_a_run_stores_the_digests_of_both_sides() {
    let site = in_sync().await;
    let run = finish(&compared(&site), RunRequest::new(RunTrigger::Cli)).await;
    let status = site.status().await;
    let proof = status.verified.expect("a proof");
    assert_eq!(
        (proof.by, Some(proof.at)),
        (ProofMethod::Contents, run.finished_at)
    );
    assert_eq!(status.verified_at, run.finished_at);
    assert_eq!(proof.digest.map(|digest| digest.len()), Some(32));
    let stored = "select remote_meters, local_meters, remote_digest = local_digest as is_same, are_equal, is_unexplained
        from meter_sync.meter_sync_proof";
    let expected = json!([{"remote_meters": 20, "local_meters": 20, "is_same": true, "are_equal": true, "is_unexplained": false}]);
    assert_eq!(rows(&site.local, stored).await, expected);
}

#[tokio::test]
async fn a_digest_that_differs_after_a_run_alarms() {
    let site = in_sync().await;
    site.on_local("update meter set name = 'mine' where id = '5'")
        .await;
    site.on_local(REMEMBER_AS_EQUAL).await;
    let run = finish(&compared(&site), RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    let status = site.status().await;
    assert_eq!(status.is_difference_unexplained, Some(true));
    assert!(
        status.next_step.contains("run `meter-sync verify`"),
        "{status:#?}"
    );
    let log =
        "select reason is not null as corrects, updated, proved from meter_sync.meter_sync_log
        order by seq desc limit 2";
    assert_eq!(
        rows(&site.local, log).await,
        json!([
            {"corrects": true, "updated": 1, "proved": "contents"},
            {"corrects": false, "updated": 0, "proved": null}
        ])
    );
    finish(&compared(&site), RunRequest::new(RunTrigger::Cli)).await;
    let status = site.status().await;
    assert_eq!(status.is_difference_unexplained, Some(false));
    assert_eq!(status.warnings, Vec::<String>::new());
}
