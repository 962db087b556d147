//! What an assistant's calls count as at `/metrics`.

use serde_json::json;

use super::client::Assistant;
use super::{METERS, TRIGGER};
use crate::support::program::{self, RunningProgram};
use crate::support::scrape::scrape;
use crate::support::site::Site;

#[tokio::test]
async fn a_dry_run_counts_as_a_run_and_its_changes_do_not() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let (_program, address) = RunningProgram::serve(program::over(&site, &["serve"], &[])).await;
    let assistant = Assistant::at(&address, None).await;
    let dry = assistant.ask(TRIGGER, json!({"dry_run": true})).await;
    assert_eq!(dry["counts"]["inserted"], 3, "{dry}");

    let after = scrape(&address).await;
    assert_eq!(after.runs("dry_run", "mcp"), 1.0);
    assert_eq!(after.sum("meter_sync_runs_total"), 1.0);
    assert_eq!(after.sum("meter_sync_changes_total"), 0.0);
    assert!(after.value("meter_sync_remote_bytes_total") > 0.0);
    assert_eq!(after.value("meter_sync_consecutive_failures"), 0.0);
    assert!(!after.has("meter_sync_last_success_timestamp_seconds"));
    assert!(!after.has("meter_sync_last_run_timestamp_seconds"));

    assistant.ask(TRIGGER, json!({})).await;
    let synced = scrape(&address).await;
    assert_eq!(synced.runs("succeeded", "mcp"), 1.0);
    assert_eq!(synced.changes("insert"), 3.0);
}
