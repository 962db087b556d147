//! Requests with the same idempotency key.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};

use super::site;
use crate::support::site::{finish, mirror};

fn keyed(dry_run: bool) -> RunRequest {
    RunRequest {
        dry_run,
        idempotency_key: Some("a".to_owned()),
        ..RunRequest::new(RunTrigger::Mcp)
    }
}

#[tokio::test]
async fn a_preview_does_not_answer_for_the_sync_of_the_same_key() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    let preview = finish(&site.mirror, keyed(true)).await;
    assert_eq!(preview.outcome, Some(RunOutcome::DryRun), "{preview:#?}");
    let sync = finish(&site.mirror, keyed(false)).await;
    assert_eq!(sync.outcome, Some(RunOutcome::Succeeded), "{sync:#?}");
    for (dry_run, first) in [(true, preview.run_id), (false, sync.run_id)] {
        let again = finish(&site.mirror, keyed(dry_run)).await;
        assert_eq!(again.run_id, first, "{again:#?}");
    }
}

#[tokio::test]
async fn a_failure_that_may_pass_is_tried_again_by_the_same_key() {
    let site = site("name text", "").await;
    let nowhere = site
        .settings()
        .with(Setting::RemoteUrl, "postgres://127.0.0.1:1/nowhere");
    let failed = finish(&mirror(&nowhere), keyed(false)).await;
    let code = failed.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::RemoteUnreachable), "{failed:#?}");
    let again = finish(&site.mirror, keyed(false)).await;
    assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
}
