//! Pausing the syncs of a mirror, and resuming them. Until a pause ends, no run changes the meters.

mod many;
mod schedule;
mod surfaces;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirror, RunRequest};
use meter_sync::model::{Health, Pause, PauseRequest, RunOutcome, RunTrigger};
use serde_json::json;

use crate::support::postgres::connect;
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{Site, rows};
use crate::support::wait;

/// A site with one meter, in sync, and a second meter on the remote since.
async fn with_a_change() -> Site {
    let site = Site::new().await;
    let insert = "insert into meter (id, tenant_id, name) values";
    site.on_remote(&format!("{insert} (1, 7, 'Main')")).await;
    site.sync().await;
    site.on_remote(&format!("{insert} (2, 7, 'Hall')")).await;
    site
}

async fn pause(mirror: &Mirror, until: Option<DateTime<Utc>>) -> Pause {
    let request = PauseRequest {
        by: Some("ann".to_owned()),
        reason: "meters are being swapped".to_owned(),
        until,
    };
    mirror.pause(&request).await.expect("a pause")
}

async fn meters(site: &Site) -> usize {
    let all = rows(&site.local, "select id from meter").await;
    all.as_array().expect("rows").len()
}

#[tokio::test]
async fn a_paused_mirror_syncs_only_after_it_is_resumed() {
    let site = with_a_change().await;
    let paused = pause(&site.mirror, None).await;
    let request = RunRequest::new(RunTrigger::Cli);
    let refused = site.mirror.request(request).await.expect_err("a refusal");
    assert_eq!(refused.code, ErrorCode::Paused);
    assert_eq!(
        refused.message,
        "Syncs of these meters are paused, by ann: meters are being swapped."
    );
    assert_eq!(site.dry_run().await.counts.inserted, 1);
    assert_eq!(meters(&site).await, 1);
    let status = site.status().await;
    assert_eq!(
        (status.health, status.paused),
        (Health::Paused, Some(paused))
    );
    assert!(status.summary.contains("Checked at"), "{}", status.summary);
    assert!(status.summary.contains("1 inserted"), "{}", status.summary);
    // Refusals leave no run behind, so none of them counts as the last one.
    assert_eq!(status.history.len(), 2, "{:?}", status.history);
    let was_paused = site.mirror.resume(None).await.expect("an answer");
    assert!(was_paused.is_some());
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    assert_eq!(site.status().await.paused, None);
    assert_eq!(site.mirror.resume(None).await, Ok(None));
}

#[tokio::test]
async fn a_pause_ends_by_itself() {
    let site = with_a_change().await;
    let until = site.mirror.now() + TimeDelta::seconds(2);
    pause(&site.mirror, Some(until)).await;
    assert_eq!(site.status().await.health, Health::Paused);
    let request = RunRequest::new(RunTrigger::Cli);
    assert!(site.mirror.request(request).await.is_err());
    let is_over = async || site.status().await.paused.is_none();
    wait::until("the pause is over", is_over).await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    assert_eq!(meters(&site).await, 2);
}

#[tokio::test]
async fn a_second_pause_replaces_the_first() {
    let site = with_a_change().await;
    let soon = site.mirror.now() + TimeDelta::hours(1);
    pause(&site.mirror, Some(soon)).await;
    let second = PauseRequest {
        by: None,
        reason: "until the audit".to_owned(),
        until: None,
    };
    let second = site.mirror.pause(&second).await.expect("a pause");
    assert_eq!(site.status().await.paused, Some(second));
}

#[tokio::test]
async fn a_run_in_progress_goes_on_when_the_mirror_is_paused() {
    let site = with_a_change().await;
    let held = RunHold::new(&site).await;
    let (run, ()) = tokio::join!(site.sync(), async {
        run_hold::running(&site).await;
        pause(&site.mirror, None).await;
        held.release().await;
    });
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded));
    assert_eq!(site.status().await.health, Health::Paused);
}

#[tokio::test]
async fn a_failure_before_a_pause_shows_again_after_it() {
    let site = with_a_change().await;
    site.on_remote("alter table meter rename to meter_then")
        .await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Failed));
    pause(&site.mirror, None).await;
    assert_eq!(site.status().await.health, Health::Paused);
    site.mirror.resume(None).await.expect("an answer");
    assert_eq!(site.status().await.health, Health::Failing);
}

#[tokio::test]
async fn a_status_needs_no_table_of_pauses() {
    let site = with_a_change().await;
    site.on_local("drop table meter_sync.meter_sync_pause")
        .await;
    let status = site.status().await;
    assert_eq!((status.paused, status.warnings), (None, Vec::new()));
}

#[tokio::test]
async fn a_check_that_failed_is_told_with_what_to_do() {
    let site = with_a_change().await;
    pause(&site.mirror, None).await;
    site.dry_run().await;
    site.on_remote("alter table meter rename to meter_then")
        .await;
    site.dry_run().await;
    let status = site.status().await;
    assert_eq!(status.health, Health::Paused);
    assert!(
        status.summary.contains("The sync failed: "),
        "{}",
        status.summary
    );
    assert!(
        status.next_step.contains("METER_SYNC_REMOTE_TABLE"),
        "{}",
        status.next_step
    );
}

#[tokio::test]
async fn no_run_starts_unseen_while_a_mirror_is_being_paused() {
    let site = with_a_change().await;
    // A run that is being started holds this lock until its row is in the log.
    let starting = connect(&site.pair.local_url).await;
    let lock = "begin; lock table meter_sync.meter_sync_log in share mode";
    starting.batch_execute(lock).await.expect("a lock");
    let blocked = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    let is_blocked = async || rows(&site.local, blocked).await != json!([]);
    let (run, paused) = tokio::join!(site.sync(), async {
        wait::until("a run is being started", is_blocked).await;
        let release = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            starting.batch_execute("commit").await.expect("unlock");
        };
        tokio::join!(pause(&site.mirror, None), release).0
    });
    assert!(run.started_at < paused.since, "{run:?} {paused:?}");
}
