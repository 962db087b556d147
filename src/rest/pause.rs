//! `POST /api/v1/pause` and `POST /api/v1/resume`: pause the syncs of the meters, and end the pause.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use serde_json::json;

use super::MAX_BODY_BYTES;
use super::legacy_endpoints::actor;
use super::query_arguments::bad_request;
use super::requested_mirror::RequestedMirror;
use super::route::{Route, RouteDescription};
use super::sync::arguments;
use crate::arguments::bounds::REASON_CHARS;
use crate::arguments::future_time::{self, FUTURE_TIME};
use crate::arguments::read_body_bytes;
use crate::config::Token;
use crate::http::problem_details::ProblemDetails;
use crate::model::{Pause, PauseRequest};

/// A text that is not blank: it has a character that is neither white space nor a control character.
const NOT_BLANK: &str = "[^\\s\\x00-\\x1f\\x7f-\\x9f]";

pub(super) fn route() -> Route {
    let body = json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["reason"],
        "properties": {
            "reason": {"type": "string", "maxLength": REASON_CHARS, "pattern": NOT_BLANK,
                "description": "Why the syncs are paused, in a few words; shown with the pause."},
            "until": {"type": ["string", "null"], "pattern": FUTURE_TIME,
                "description": "When the pause ends by itself: a length of time from now such as `4h` or `7d`, or a time in the future such as `2036-01-31T08:00:00Z`. Without it, somebody must resume."},
        },
    });
    let operation = RouteDescription::new("pauseSyncs", "Pause the syncs of the meters")
        .described("While they are paused, no sync changes the meters, and scheduled runs are dry runs. A sync in progress goes on to its end. Replaces a pause that there is.")
        .required_body(body)
        .answer(200, "The syncs are paused.", |generator| generator.subschema_for::<Pause>())
        .problem(400, "The body cannot be used.")
        .problem(415, "The body is not JSON.")
        .problem(500, "The local database does not answer.")
        .problem(503, "The databases or the tenant are not configured.");
    Route::post("/api/v1/pause", pause, operation)
}

pub(super) fn resume_route() -> Route {
    let operation = RouteDescription::new("resumeSyncs", "End the pause of the syncs")
        .described("Does nothing if the syncs are not paused. The next scheduled run syncs again.")
        .content(204, "The syncs are not paused.", None)
        .problem(500, "The local database does not answer.")
        .problem(503, "The databases or the tenant are not configured.");
    Route::post("/api/v1/resume", resume, operation)
}

async fn pause(
    RequestedMirror { mirror, .. }: RequestedMirror,
    token: Option<Extension<Token>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Pause>, ProblemDetails> {
    let body = read_body_bytes::read(body, MAX_BODY_BYTES).await?;
    let mut given = arguments(&headers, &body)?;
    let reason = given.text("reason", REASON_CHARS)?;
    let until = future_time::read(&mut given, "until", mirror.now())?;
    given.refuse_unknown()?;
    let request = PauseRequest {
        by: actor(token.as_deref(), &headers),
        reason: reason.ok_or_else(|| bad_request("`reason` must say why the syncs are paused."))?,
        until,
    };
    Ok(Json(mirror.pause(&request).await?))
}

async fn resume(
    RequestedMirror { mirror, .. }: RequestedMirror,
    token: Option<Extension<Token>>,
    headers: HeaderMap,
) -> Result<StatusCode, ProblemDetails> {
    let by = actor(token.as_deref(), &headers);
    mirror.resume(by.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
