//! Health checks for an orchestrator: alive, and ready to sync.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Shared;
use crate::error::{ErrorCode, Failure};
use crate::runs::Runs;

/// Where [`live`] answers.
pub(super) const LIVE_PATH: &str = "/livez";
/// Where [`ready`] answers.
pub(super) const READY_PATH: &str = "/readyz";

/// Both.
pub(super) const PATHS: [&str; 2] = [LIVE_PATH, READY_PATH];

/// 200 for as long as the process answers at all.
pub(super) async fn live() -> &'static str {
    "ok"
}

/// 200 when both databases are set and the local one answers, else 503 with the reason.
///
/// The remote does not count: it being down is no reason to take traffic away from a server that
/// still tells the status.
pub(super) async fn ready(State(Shared { runs, .. }): State<Shared>) -> (StatusCode, Json<Value>) {
    match reason(&runs).await {
        None => (StatusCode::OK, Json(json!({"ready": true}))),
        Some(failure) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({
                "ready": false,
                "code": failure.code,
                "reason": failure.message,
                "remedy": failure.remedy,
            })),
        ),
    }
}

async fn reason(runs: &Runs) -> Option<Failure> {
    if !runs.is_configured() {
        let message = "The databases are not configured.";
        return Some(Failure::new(ErrorCode::ConfigMissing, message));
    }
    runs.reach_local().await.err()
}
