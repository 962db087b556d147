//! What the schedule does while a mirror is paused: dry runs, one for each slot.

use std::time::Duration;

use chrono_tz::Tz;
use meter_sync::config::Schedule;
use meter_sync::model::{Health, RunOutcome};
use meter_sync::schedule::{self, SlotTiming};
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{meters, pause, with_a_change};
use crate::support::run_hold;
use crate::support::site::{Site, mirrors, rows};
use crate::support::wait;

const QUICK: SlotTiming = SlotTiming {
    jitter: Duration::ZERO,
    first_retry: Duration::from_millis(50),
    catch_up: None,
};

/// Starts the loop of a process; it ends when the guard is dropped.
fn start(site: &Site, line: &str) -> DropGuard {
    let stop = CancellationToken::new();
    let line = Schedule::parse(line, Tz::UTC).expect("a schedule");
    let slots = schedule::run(line, QUICK, mirrors(&site.settings()), stop.clone());
    #[expect(clippy::disallowed_methods, reason = "the guard ends it")]
    tokio::spawn(slots);
    stop.drop_guard()
}

const DRY_RUNS: &str =
    "select reason from meter_sync.meter_sync_log where dry_run and trigger = 'startup'";

#[tokio::test]
async fn a_slot_of_a_paused_mirror_is_one_dry_run_whatever_the_number_of_processes() {
    let site = with_a_change().await;
    pause(&site.mirror, None).await;
    let once_a_year = "0 0 1 1 *";
    let loops: Vec<_> = (0..3).map(|_| start(&site, once_a_year)).collect();
    let reason = json!([{"reason": "paused by ann: meters are being swapped"}]);
    let is_there = async || rows(&site.local, DRY_RUNS).await == reason;
    wait::until("the slot had its dry run", is_there).await;
    run_hold::outcomes(&site).await;
    drop(loops);
    // A process that starts in the same slot finds it served, even when the claim has expired.
    site.on_local("update meter_sync.meter_sync_slot set claimed_at = '-infinity'")
        .await;
    let late = start(&site, once_a_year);
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(late);
    assert_eq!(rows(&site.local, DRY_RUNS).await, reason);
    assert_eq!(meters(&site).await, 1);
    let status = site.status().await;
    assert_eq!(status.health, Health::Paused);
    assert!(status.summary.contains("1 inserted"), "{}", status.summary);
}

#[tokio::test]
async fn the_schedule_syncs_again_after_the_pause() {
    let site = with_a_change().await;
    pause(&site.mirror, None).await;
    let _loop = start(&site, "* * * * * *");
    let has_dry_run = async || {
        let status = site.status().await;
        status.summary.contains("1 inserted")
    };
    wait::until("a dry run has ended", has_dry_run).await;
    assert_eq!(meters(&site).await, 1);
    site.mirror.resume(None).await.expect("an answer");
    let is_synced = async || meters(&site).await == 2;
    wait::until("a run has synced", is_synced).await;
    let status = site.status().await;
    let last = status.last_run.and_then(|run| run.outcome);
    assert!(
        matches!(last, Some(RunOutcome::Succeeded | RunOutcome::NoChange)),
        "{last:?}"
    );
}
