//! The health checks for an orchestrator: `/livez` says that the process is alive; `/readyz` says that the remote and
//! the local database are configured and that the local database answers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::error::{ErrorCode, Failure};
use crate::mirrors::Mirrors;

/// The path of [`live`].
pub(crate) const LIVE_PATH: &str = "/livez";
/// The path of [`ready`].
pub(crate) const READY_PATH: &str = "/readyz";

/// The paths of both health checks.
pub(crate) const PATHS: [&str; 2] = [LIVE_PATH, READY_PATH];

/// Always answers 200. Only a process that hangs does not answer.
pub(crate) async fn live() -> &'static str {
    "ok"
}

/// Answers 200 if both databases are configured and the local one answers, else 503 with the reason.
///
/// The remote database is not queried. While it is down, this server can still report the status, so an orchestrator
/// should keep sending requests to this server.
pub(crate) async fn ready(State(mirrors): State<Mirrors>) -> (StatusCode, Json<Value>) {
    match reason(&mirrors).await {
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

async fn reason(mirrors: &Mirrors) -> Option<Failure> {
    if !mirrors.is_configured() {
        let message = "The databases are not configured.";
        return Some(Failure::new(ErrorCode::ConfigMissing, message));
    }
    mirrors.reach_local().await.err()
}
