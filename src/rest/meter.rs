//! `GET /api/v1/meters/{key}`: a meter's local row, and what each run changed in it. With `at`, also how it was then.
//!
//! The key is split at its commas before it is percent-decoded, because commas separate the values of a key of several
//! columns, and a comma within a value is written `%2C`.

use axum::Json;
use axum::http::{StatusCode, Uri};
use serde_json::json;

use super::query_arguments::QueryArguments;
use super::requested_mirror::{MirrorPathPrefix, RequestedMirror};
use super::route::{Route, RouteDescription};
use crate::arguments::past_time::{self, PAST_TIME};
use crate::arguments::shorten;
use crate::history::parse_meter_key::MeterKeyText;
use crate::http::problem_details::ProblemDetails;
use crate::reports::meter_report::MeterReport;

/// The part of the path between the prefix (`/api/v1` or, for example, `/api/v1/tenants/7`) and the key.
const METERS: &str = "/meters/";

pub(super) fn route() -> Route {
    let key = json!({"type": "string", "minLength": 1});
    let operation = RouteDescription::new("getMeter", "A meter's local row, and what each run changed of it")
        .query("at", json!({"type": "string", "pattern": PAST_TIME}), "How long ago, such as `24h` or `7d`, or a past time such as `2026-01-31T08:00:00Z`: also says how the meter was then.")
        .path("key", key, "The meter's key. The values of a key of several columns stand in the order of the key with commas between; a comma within a value is written `%2C`.")
        .answer(200, "The meter", |generator| generator.subschema_for::<MeterReport>())
        .problem(400, "An argument cannot be used.")
        .problem(404, "Neither the local table nor the log has such a meter.")
        .problem(500, "The local database cannot be asked, or lacks the table.")
        .problem(503, "The databases or the tenant are not configured.");
    Route::get("/api/v1/meters/{key}", answer, operation)
}

async fn answer(
    RequestedMirror { mirror, .. }: RequestedMirror,
    QueryArguments(mut given): QueryArguments,
    uri: Uri,
) -> Result<Json<MeterReport>, ProblemDetails> {
    let at = past_time::read(&mut given, "at", mirror.now())?;
    given.refuse_unknown()?;
    let (_, path) = MirrorPathPrefix::split(&uri);
    let part = path.strip_prefix(METERS).unwrap_or_default();
    let meter = match MeterKeyText::parse(part) {
        Some(key) => mirror.meter(&key, at).await?,
        None => None,
    };
    meter.map(Json).ok_or_else(|| no_such_meter(part))
}

fn no_such_meter(part: &str) -> ProblemDetails {
    let detail = format!("There is no meter {} here.", shorten(part));
    let remedy = "Give the values of the key's columns in their order, percent-encoded, with commas between.";
    ProblemDetails::new(StatusCode::NOT_FOUND, "METER_NOT_FOUND", detail, remedy)
}
