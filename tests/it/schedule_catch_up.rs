//! How late a slot is made up that passed while no process ran.

use std::time::Duration;

use chrono_tz::Tz;
use meter_sync::config::Schedule;
use meter_sync::schedule::{self, SlotTiming};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::site::{Site, mirrors, rows};

#[tokio::test]
async fn a_slot_that_passed_too_long_ago_is_not_made_up() {
    let site = Site::new().await;
    site.sync().await;
    // The last slot was on New Year's Day.
    let mirrors = mirrors(&site.settings());
    let stop = CancellationToken::new();
    let line = Schedule::parse("0 0 1 1 *", Tz::UTC).expect("a schedule");
    let delays = SlotTiming {
        catch_up: Some(Duration::ZERO),
        ..SlotTiming::new(Duration::ZERO, None)
    };
    let slots = schedule::run(line, delays, mirrors, stop.clone());
    let _ended = tokio::time::timeout(Duration::from_secs(1), slots).await;
    let slots = "select from meter_sync.meter_sync_slot";
    assert_eq!(rows(&site.local, slots).await, json!([]));
    assert_eq!(site.status().await.history.len(), 1);
}
