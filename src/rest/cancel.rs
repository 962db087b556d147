//! `POST /api/v1/runs/{id}/cancel`: cancels a run of this process. The run is rolled back and changes nothing, unless
//! it is already committing.

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{AppendHeaders, IntoResponse, Response};

use super::query_arguments::{self, RunIdInPath};
use super::requested_mirror::RequestedMirror;
use super::route::{Route, RouteDescription};
use crate::error::{ErrorCode, Failure};
use crate::http::problem_details::ProblemDetails;

pub(super) fn route() -> Route {
    let operation = RouteDescription::new("cancelRun", "End a run before its end")
        .described("The run is undone as a whole and ends as `interrupted`. Only the process that runs it can end it.")
        .run()
        .content(202, "The run is being undone.", None)
        .with("Location", "The run.")
        .problem(409, "The run is over, or another process runs it.")
        .problem(500, "The local database cannot be asked.")
        .problem(503, "The databases are not configured.");
    Route::post("/api/v1/runs/{id}/cancel", cancel, operation)
}

async fn cancel(
    RequestedMirror { mirror, prefix }: RequestedMirror,
    RunIdInPath(id): RunIdInPath,
) -> Result<Response, ProblemDetails> {
    if mirror.is_read_only() {
        let message = "This meter-sync was started read-only and ends no sync.";
        return Err(Failure::new(ErrorCode::ReadOnly, message).into());
    }
    if mirror.cancel(id) {
        let location = AppendHeaders([(LOCATION, prefix.run(id))]);
        return Ok((StatusCode::ACCEPTED, location).into_response());
    }
    let Some(run) = mirror.run(id).await? else {
        return Err(query_arguments::no_such_run(&prefix, id.to_string()));
    };
    let (code, detail, remedy) = match run.run.outcome {
        Some(outcome) => (
            "RUN_OVER",
            format!("Run {id} has ended already: {outcome}."),
            "Nothing needs to be ended.",
        ),
        None => (
            "RUN_ELSEWHERE",
            format!("Run {id} is not a run of this process."),
            "Ask the process that runs it; if that is gone, the next sync marks the run interrupted.",
        ),
    };
    Err(ProblemDetails::new(StatusCode::CONFLICT, code, detail, remedy).about(id, prefix.run(id)))
}
