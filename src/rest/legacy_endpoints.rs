//! The two endpoints of the earlier sync program that meter-sync replaces, with the same paths, bodies and HTTP
//! statuses.
//!
//! The earlier program counts only inserted, updated and deleted meters. So these endpoints count a reactivated meter
//! as updated, and a deactivated meter as deleted. A sync that was refused because it would deactivate too many meters
//! answers 502: old clients know a fixed set of statuses, and 502 says that the data from the remote cannot be
//! accepted.

use axum::extract::State;
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::RestState;
use super::requested_mirror::MirrorPathAndToken;
use crate::arguments;
use crate::arguments::bounds::HISTORY;
use crate::config::Token;
use crate::error::{ErrorCode, Failure};
use crate::http::problem_details::http_status;
use crate::mirrors::{RunRequest, RunRequestOutcome};
use crate::model::{ActivityState, Counts, Health, RunOutcome, RunRecord, RunTrigger};
use crate::reports::run_report::{RunReport, RunState};
use crate::reports::status::{Status, StatusQuery};
use crate::reports::tenant_list::{TenantList, TenantsQuery};
use crate::trace_id::TraceId;

/// About the last run that ended, dry runs excluded; null before the first. `updated_count` includes reactivated
/// meters, `deleted_count` counts deactivated meters, and `meter_count` active ones (null if not known).
///
/// With several tenants, `last_sync_at` is when all of them were last known to be in sync, `last_sync_success` says
/// whether all are, and the counts are null.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LocalStatus")]
pub(crate) struct LegacyStatusResponse {
    last_sync_at: Option<DateTime<Utc>>,
    last_sync_success: Option<bool>,
    last_sync_error: Option<String>,
    inserted_count: Option<i64>,
    updated_count: Option<i64>,
    deleted_count: Option<i64>,
    meter_count: Option<i64>,
    is_syncing: bool,
}

/// The answer to a request for a sync; `result` is absent if the sync failed or none ran, `error` if nothing failed.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LocalSync")]
pub(crate) struct LegacySyncResponse {
    success: bool,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<LegacySyncResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
}

/// What a sync did: `updated` includes reactivated meters, `deleted` counts deactivated ones, `timestamp` is its end.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LocalSyncResult")]
struct LegacySyncResult {
    success: bool,
    inserted: i64,
    updated: i64,
    deleted: i64,
    timestamp: Option<DateTime<Utc>>,
}

/// Handles `GET /api/local/meter-sync-status`.
pub(crate) async fn status(
    State(RestState { mirrors, .. }): State<RestState>,
    mirror_request: MirrorPathAndToken,
) -> Result<Json<LegacyStatusResponse>, (StatusCode, Json<LegacySyncResponse>)> {
    let query = StatusQuery {
        // Read as many runs as possible, because the last one that was not a dry run is searched among them.
        history: HISTORY.max(),
        ..StatusQuery::default()
    };
    if mirror_request.is_all(&mirrors) {
        let query = TenantsQuery {
            limit: 1,
            visible: mirror_request.visible(),
            ..TenantsQuery::default()
        };
        return Ok(Json(status_of_all(&mirrors.overview(&query).await)));
    }
    let status = async { mirror_request.find(&mirrors).await?.status(&query).await };
    let status = status.await.map_err(failed)?;
    Ok(Json(status_body(&status)))
}

/// Handles `POST /api/local/meter-sync-trigger`: starts a sync and answers when it has ended. The sync continues if the
/// client disconnects.
pub(crate) async fn trigger(
    State(RestState { mirrors, wait, .. }): State<RestState>,
    mirror_request: MirrorPathAndToken,
    token: Option<Extension<Token>>,
    headers: HeaderMap,
) -> (StatusCode, Json<LegacySyncResponse>) {
    let mut request = RunRequest::new(RunTrigger::Rest);
    request.actor = actor(token.as_deref(), &headers);
    request.trace = TraceId::of_headers(&headers);
    let mirror = match mirror_request.find(&mirrors).await {
        Ok(mirror) => mirror,
        Err(failure) => return failed(failure),
    };
    match mirror.request(request).await {
        Ok(RunRequestOutcome::Started(mut ticket)) => ended(ticket.wait(wait).await),
        Ok(RunRequestOutcome::Finished(report)) => ended(*report),
        Ok(RunRequestOutcome::AlreadyRunning(_)) => already_running(),
        Err(failure) => failed(failure),
    }
}

fn status_body(status: &Status) -> LegacyStatusResponse {
    let is_sync = |run: &&RunRecord| run.finished_at.is_some() && !run.dry_run;
    let last = status.last_run.iter().chain(&status.history).find(is_sync);
    let current = LegacyStatusResponse {
        meter_count: status.meters.map(|meters| meters.active),
        is_syncing: status.activity == ActivityState::Running,
        ..LegacyStatusResponse::default()
    };
    let Some(run) = last else {
        return current;
    };
    LegacyStatusResponse {
        last_sync_at: run.finished_at,
        last_sync_success: run.outcome.map(RunOutcome::is_success),
        last_sync_error: sync_error(run),
        inserted_count: Some(run.counts.inserted),
        updated_count: Some(updated(&run.counts)),
        deleted_count: Some(run.counts.deactivated),
        ..current
    }
}

/// Puts the status of several tenants into the body that is made for one tenant. Success is `false` if any tenant is
/// failing, stale, never synced or not configured, or if the local database does not answer. Success is `None` instead
/// if the local database answers and no tenant has been synced yet.
fn status_of_all(status: &Status) -> LegacyStatusResponse {
    let tenants = status.tenants.as_ref();
    let count = |healths: &[Health]| -> i64 {
        let of = |tenants: &TenantList| {
            healths
                .iter()
                .map(|health| tenants.by_health.of(*health))
                .sum()
        };
        tenants.map_or(0, of)
    };
    let total = tenants.map_or(0, |tenants| tenants.total);
    let behind = count(&[
        Health::Failing,
        Health::Stale,
        Health::NeverRun,
        Health::NotConfigured,
    ]);
    let is_known = status.connections.local.error.is_none();
    let has_run = total > count(&[Health::NeverRun, Health::NotConfigured]);
    let is_in_sync = is_known && behind == 0;
    LegacyStatusResponse {
        last_sync_at: status.last_success_at,
        last_sync_success: (has_run || !is_known).then_some(is_in_sync),
        last_sync_error: (!is_in_sync && (has_run || !is_known)).then(|| status.summary.clone()),
        is_syncing: status.activity == ActivityState::Running,
        ..LegacyStatusResponse::default()
    }
}

fn sync_error(run: &RunRecord) -> Option<String> {
    let told = run.error.as_ref().map(|failure| failure.message.clone());
    told.or_else(|| (run.outcome == Some(RunOutcome::Partial)).then(|| rejected_rows(&run.counts)))
}

fn ended(report: RunReport) -> (StatusCode, Json<LegacySyncResponse>) {
    use RunOutcome::{DryRun, Failed, Interrupted, NoChange, Partial, Refused, Succeeded, Unknown};
    let message = match (report.state, report.outcome) {
        (RunState::AlreadyRunning, _) => return already_running(),
        (RunState::Running, _) | (RunState::Finished, None) => return failed(overdue(&report)),
        (RunState::Finished, Some(Succeeded | NoChange | DryRun)) => report.summary.clone(),
        (RunState::Finished, Some(Partial)) => {
            format!("Meter sync finished, but {}", rejected_rows(&report.counts))
        }
        (RunState::Finished, Some(Failed | Refused | Interrupted | Unknown)) => {
            return failed(failure_of(report));
        }
    };
    let result = LegacySyncResult {
        success: report.outcome.is_some_and(RunOutcome::is_success),
        inserted: report.counts.inserted,
        updated: updated(&report.counts),
        deleted: report.counts.deactivated,
        timestamp: report.finished_at,
    };
    let body = LegacySyncResponse {
        success: true,
        message,
        result: Some(result),
        error: None,
    };
    (StatusCode::OK, Json(body))
}

fn already_running() -> (StatusCode, Json<LegacySyncResponse>) {
    let body = LegacySyncResponse {
        success: false,
        message: "Meter sync is already in progress".to_owned(),
        result: None,
        error: None,
    };
    (StatusCode::CONFLICT, Json(body))
}

fn failed(failure: Failure) -> (StatusCode, Json<LegacySyncResponse>) {
    let status = http_status(failure.code);
    let body = LegacySyncResponse {
        success: false,
        message: failure.message.clone(),
        result: None,
        error: Some(failure),
    };
    (status, Json(body))
}

/// Returns why a run did not succeed: the error of its report, or else an `Internal` failure with its summary.
pub(crate) fn failure_of(report: RunReport) -> Failure {
    report.error.unwrap_or_else(|| {
        Failure::new(ErrorCode::Internal, report.summary).with_remedy(report.next_step)
    })
}

fn overdue(report: &RunReport) -> Failure {
    let message = format!("Run {} goes on beyond its time limit.", report.run_id);
    Failure::new(ErrorCode::Internal, message)
}

fn updated(counts: &Counts) -> i64 {
    counts.updated + counts.reactivated
}

fn rejected_rows(counts: &Counts) -> String {
    match counts.rejected {
        1 => "1 row was rejected; the status tool shows which and why.".to_owned(),
        rows => format!("{rows} rows were rejected; the status tool shows which and why."),
    }
}

/// Returns who requested a run: the token's name, or else the start of the `User-Agent` header; `None` without both.
pub(crate) fn actor(token: Option<&Token>, headers: &HeaderMap) -> Option<String> {
    if let Some(name) = token.and_then(|token| token.name.as_ref()) {
        return Some(name.clone());
    }
    let agent = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(arguments::actor(agent))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(outcome: &str, error: Option<Value>) -> RunReport {
        let mut report = json!({
            "run_id": "0190c2f1-7a00-7000-8000-000000000001",
            "state": "finished",
            "outcome": outcome,
            "dry_run": false,
            "counts": {"inserted": 1, "updated": 2, "deactivated": 3, "reactivated": 4,
                "unchanged": 5, "rejected": 6},
            "changes": [], "changes_total": 10, "truncated": true,
            "started_at": "2026-11-01T10:00:00Z", "finished_at": "2026-11-01T10:00:01Z",
            "duration_ms": 1000, "remote_bytes": 100,
            "summary": "10 meters changed.", "next_step": "Nothing.", "now": "2026-11-01T10:00:02Z",
        });
        if let Some(error) = error {
            report["error"] = error;
        }
        serde_json::from_value(report).expect("a report")
    }

    fn answer(report: RunReport) -> (u16, Value) {
        let (status, Json(body)) = ended(report);
        (status.as_u16(), serde_json::to_value(body).expect("JSON"))
    }

    #[test]
    fn a_sync_that_succeeded_is_answered_in_the_old_shape() {
        let expected = json!({
            "success": true,
            "message": "10 meters changed.",
            "result": {"success": true, "inserted": 1, "updated": 6, "deleted": 3,
                "timestamp": "2026-11-01T10:00:01Z"},
        });
        assert_eq!(answer(report("succeeded", None)), (200, expected));
    }

    #[test]
    fn a_partial_sync_is_answered_with_success_but_a_result_without() {
        let (status, body) = answer(report("partial", None));
        assert_eq!(status, 200);
        assert_eq!(body["success"], true);
        assert_eq!(body["result"]["success"], false);
        let message = body["message"].as_str().expect("a message");
        assert!(message.contains("6 rows were rejected"), "{message}");
    }

    #[test]
    fn a_failed_sync_is_answered_by_the_side_that_failed() {
        for (code, status) in [
            ("REMOTE_AUTH", 502),
            ("SOURCE_EMPTY_REFUSED", 502),
            ("LOCAL_UNREACHABLE", 500),
            ("TENANT_NOT_CONFIGURED", 503),
        ] {
            let error = json!({"code": code, "message": "It failed.", "remedy": "Mend it."});
            let expected = json!({"success": false, "message": "It failed.", "error": error});
            assert_eq!(answer(report("failed", Some(error))), (status, expected));
        }
    }

    #[test]
    fn a_second_sync_is_answered_with_409_and_nothing_else() {
        let running = RunReport {
            state: RunState::AlreadyRunning,
            outcome: None,
            ..report("succeeded", None)
        };
        let expected = json!({"success": false, "message": "Meter sync is already in progress"});
        assert_eq!(answer(running), (409, expected));
    }

    fn run(dry_run: bool, outcome: &str, inserted: i64) -> Value {
        json!({
            "run_id": "0190c2f1-7a00-7000-8000-000000000001", "trigger": "rest",
            "dry_run": dry_run, "outcome": outcome,
            "started_at": "2026-11-01T10:00:00Z", "finished_at": "2026-11-01T10:00:01Z",
            "counts": {"inserted": inserted, "updated": 2, "deactivated": 3, "reactivated": 4,
                "unchanged": 5, "rejected": 6},
            "remote_bytes": 100, "changes_truncated": false,
        })
    }

    fn body(last_run: Option<Value>, history: &[Value]) -> Value {
        let mut status = json!({
            "health": "never_run", "activity": "running", "summary": "", "next_step": "", "now": "2026-11-01T10:00:02Z",
            "schedule": {"line": "off", "timezone": "UTC"},
            "meters": {"active": 7, "inactive": 1},
            "connections": {"remote": {"state": "unknown"}, "local": {"state": "ok"}},
            "history": history, "warnings": [],
        });
        if let Some(run) = last_run {
            status["last_run"] = run;
        }
        let status: Status = serde_json::from_value(status).expect("a status");
        serde_json::to_value(status_body(&status)).expect("JSON")
    }

    #[test]
    fn before_any_run_the_status_holds_nulls() {
        let expected = json!({
            "last_sync_at": null, "last_sync_success": null, "last_sync_error": null,
            "inserted_count": null, "updated_count": null, "deleted_count": null,
            "meter_count": 7, "is_syncing": true,
        });
        assert_eq!(body(None, &[]), expected);
    }

    #[test]
    fn a_dry_run_does_not_count_as_the_last_sync() {
        let dry = run(true, "dry_run", 9);
        let expected = json!({
            "last_sync_at": "2026-11-01T10:00:01Z", "last_sync_success": true,
            "last_sync_error": null,
            "inserted_count": 1, "updated_count": 6, "deleted_count": 3,
            "meter_count": 7, "is_syncing": true,
        });
        let history = [dry.clone(), run(false, "succeeded", 1)];
        assert_eq!(body(Some(dry), &history), expected);
    }

    #[test]
    fn a_partial_sync_shows_as_unsuccessful_with_its_reason() {
        let body = body(Some(run(false, "partial", 1)), &[]);
        assert_eq!(body["last_sync_success"], false);
        let error = body["last_sync_error"].as_str().expect("an error");
        assert!(error.starts_with("6 rows were rejected"), "{error}");
    }
}
