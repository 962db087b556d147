//! `GET /api/v1/runs/{id}/changes`: lists the changes of a run in pages, in the order in which they were made.

use axum::Json;
use axum::http::header::LINK;
use axum::response::{AppendHeaders, IntoResponse, Response};

use super::query_arguments::{self, QueryArguments, RunIdInPath};
use super::requested_mirror::RequestedMirror;
use super::route::{Route, RouteDescription};
use crate::arguments::bounds::{IntegerArgument, LISTED_CHANGES, LISTED_CHANGES_LIMIT};
use crate::http::problem_details::ProblemDetails;
use crate::reports::run_and_change_pages::ChangesPage;

/// The query argument `after` and its bounds. The page begins after the change with this number; 0 begins at the first
/// change.
const AFTER: IntegerArgument = IntegerArgument::new("after", 0..=u32::MAX);

pub(super) fn route() -> Route {
    let operation = RouteDescription::new(
        "listChanges",
        "What a run changed, as the log keeps it (METER_SYNC_CHANGE_LIMIT)",
    )
    .run()
    .query(
        "limit",
        LISTED_CHANGES_LIMIT.schema(LISTED_CHANGES),
        "How many changes to list at most.",
    )
    .query(
        "after",
        AFTER.schema(AFTER.min()),
        "The change that the page before ended with: `next_after` of that page.",
    )
    .answer(200, "A page of changes", |generator| {
        generator.subschema_for::<ChangesPage>()
    })
    .with("Link", "The next page, `rel=\"next\"`; absent on the last.")
    .problem(400, "An argument cannot be used.")
    .problem(500, "The local database cannot be asked.")
    .problem(503, "The databases are not configured.");
    Route::get("/api/v1/runs/{id}/changes", list, operation)
}

async fn list(
    RequestedMirror { mirror, prefix }: RequestedMirror,
    RunIdInPath(id): RunIdInPath,
    QueryArguments(mut given): QueryArguments,
) -> Result<Response, ProblemDetails> {
    let limit = LISTED_CHANGES_LIMIT.read(&mut given, LISTED_CHANGES)?;
    let after = AFTER.read(&mut given, AFTER.min())?;
    given.refuse_unknown()?;
    let page = mirror.changes(id, limit, after.into()).await?;
    if page.changes.is_empty() && mirror.run(id).await?.is_none() {
        return Err(query_arguments::no_such_run(&prefix, id.to_string()));
    }
    let next = page.next_after.map(|after| {
        let path = prefix.run(id);
        let link = format!("<{path}/changes?limit={limit}&after={after}>; rel=\"next\"");
        AppendHeaders([(LINK, link)])
    });
    Ok((next, Json(page)).into_response())
}
