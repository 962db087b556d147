//! `POST /api/v1/runs/{id}/cancel`: cancels a run of any process. The run is rolled back and changes nothing, unless it
//! is already committing.

use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{AppendHeaders, IntoResponse, Response};

use super::query_arguments::{self, RunIdInPath};
use super::requested_mirror::RequestedMirror;
use super::route::{Route, RouteDescription};
use crate::http::problem_details::ProblemDetails;
use crate::mirrors::run::cancel_run::CancelOutcome;

pub(super) fn route() -> Route {
    let operation = RouteDescription::new("cancelRun", "Cancel a run")
        .described("The run is undone as a whole and ends as `interrupted`. If another process runs it, it ends some seconds later.")
        .run()
        .content(202, "The run is being undone.", None)
        .with("Location", "The run.")
        .problem(409, "The run is over, or its process has died.")
        .problem(500, "The local database does not answer.")
        .problem(503, "The databases are not configured.");
    Route::post("/api/v1/runs/{id}/cancel", cancel, operation)
}

async fn cancel(
    RequestedMirror { mirror, prefix }: RequestedMirror,
    RunIdInPath(id): RunIdInPath,
) -> Result<Response, ProblemDetails> {
    let (code, detail, remedy) = match mirror.cancel(id).await? {
        CancelOutcome::Accepted => {
            let location = AppendHeaders([(LOCATION, prefix.run(id))]);
            return Ok((StatusCode::ACCEPTED, location).into_response());
        }
        CancelOutcome::Unknown => {
            return Err(query_arguments::no_such_run(&prefix, id.to_string()));
        }
        CancelOutcome::Over(outcome) => (
            "RUN_OVER",
            format!("Run {id} has ended already: {outcome}."),
            "Nothing needs to be ended.",
        ),
        CancelOutcome::Dead => (
            "RUN_DEAD",
            format!("Run {id} is not in progress: its process has died."),
            "Nothing needs to be ended; the next sync marks the run interrupted.",
        ),
    };
    Err(ProblemDetails::new(StatusCode::CONFLICT, code, detail, remedy).about(id, prefix.run(id)))
}
