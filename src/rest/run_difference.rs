//! `GET /api/v1/runs/{id}/difference`: how the meters differ between the ends of two runs.

use axum::Json;
use axum::http::StatusCode;
use serde_json::json;

use super::query_arguments::{self, QueryArguments, RunIdInPath};
use super::requested_mirror::RequestedMirror;
use super::route::{Route, RouteDescription};
use crate::arguments::bounds::{LISTED_CHANGES, LISTED_CHANGES_LIMIT};
use crate::error::{ErrorCode, Failure};
use crate::http::problem_details::ProblemDetails;
use crate::mirrors::Mirror;
use crate::model::{RunFilter, RunId, RunsQuery};
use crate::reports::run_difference::RunDifference;

pub(super) fn route() -> Route {
    let operation = RouteDescription::new(
        "compareRuns",
        "How the meters differ between the ends of two runs, as the log tells",
    )
    .run()
    .query(
        "compare_with",
        json!({"type": "string", "format": "uuid"}),
        "The other run, before or after this one; the run before this one if left out.",
    )
    .query(
        "limit",
        LISTED_CHANGES_LIMIT.schema(LISTED_CHANGES),
        "How many meters to list at most.",
    )
    .answer(200, "The difference", |generator| {
        generator.subschema_for::<RunDifference>()
    })
    .problem(400, "An argument cannot be used.")
    .problem(409, "One of the runs has not ended.")
    .problem(500, "The local database cannot be asked.")
    .problem(503, "The databases are not configured.");
    Route::get("/api/v1/runs/{id}/difference", compare, operation)
}

/// Returns the run before this one; this one if it is the first.
async fn run_before(mirror: &Mirror, id: RunId) -> Result<RunId, Failure> {
    let query = RunsQuery {
        limit: 1,
        before: Some(id),
        show: RunFilter::All,
    };
    let page = mirror.list(&query).await?.unwrap_or_default();
    Ok(page.runs.first().map_or(id, |run| run.run_id))
}

async fn compare(
    RequestedMirror { mirror, prefix }: RequestedMirror,
    RunIdInPath(id): RunIdInPath,
    QueryArguments(mut given): QueryArguments,
) -> Result<Json<RunDifference>, ProblemDetails> {
    let other = given.run_id("compare_with")?;
    let limit = LISTED_CHANGES_LIMIT.read(&mut given, LISTED_CHANGES)?;
    given.refuse_unknown()?;
    let other = match other {
        Some(other) => other,
        None => run_before(&mirror, id).await?,
    };
    for run in [id, other] {
        if mirror.run(run).await?.is_none() {
            return Err(query_arguments::no_such_run(&prefix, run.to_string()));
        }
    }
    match mirror.compare_runs(id, other, limit).await {
        Err(failure) if failure.code == ErrorCode::ConfigInvalid => {
            let remedy = failure.remedy;
            Err(ProblemDetails::new(
                StatusCode::CONFLICT,
                "RUN_NOT_ENDED",
                failure.message,
                remedy,
            ))
        }
        compared => Ok(Json(compared?)),
    }
}
