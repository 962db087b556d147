//! `POST /api/v1/verify`: compares all meters of both sides, and changes none.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::{Extension, Json};
use serde_json::json;

use super::MAX_BODY_BYTES;
use super::legacy_endpoints::actor;
use super::requested_mirror::RequestedMirror;
use super::route::{Route, RouteDescription};
use super::sync::arguments;
use crate::arguments::read_body_bytes;
use crate::config::Token;
use crate::http::problem_details::ProblemDetails;
use crate::mirrors::VerifyRequest;
use crate::model::RunTrigger;
use crate::reports::verify_report::VerifyReport;

pub(super) fn route() -> Route {
    let body = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "every_value": {"type": ["boolean", "null"], "default": false,
                "description": "Whether to compare every value, by a dry run, and not only digests of the contents."},
        },
    });
    let operation = RouteDescription::new("verify", "Compare all meters of both sides")
        .described("Changes no meter. Reads all rows on both sides, and answers when that is done; the status then tells the result as `verified`.")
        .body(body)
        .answer(200, "Whether both sides hold the same meters", |generator| {
            generator.subschema_for::<VerifyReport>()
        })
        .problem(400, "The body cannot be used.")
        .problem(409, "A sync is in progress, so not every value can be compared.")
        .problem(415, "The body is not JSON.")
        .problem(500, "The comparison failed here.")
        .problem(502, "The comparison failed on the remote.")
        .problem(503, "The databases or the tenant are not configured.");
    Route::post("/api/v1/verify", verify, operation)
}

async fn verify(
    RequestedMirror { mirror, .. }: RequestedMirror,
    token: Option<Extension<Token>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<VerifyReport>, ProblemDetails> {
    let body = read_body_bytes::read(body, MAX_BODY_BYTES).await?;
    let mut given = arguments(&headers, &body)?;
    let every_value = given.boolean("every_value", false)?;
    given.refuse_unknown()?;
    let request = VerifyRequest {
        every_value,
        trigger: RunTrigger::Rest,
        actor: actor(token.as_deref(), &headers),
    };
    Ok(Json(mirror.verify(&request).await?))
}
