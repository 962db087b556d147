//! `GET /api/v1/runs` lists runs in pages; `GET /api/v1/runs/{id}` shows one run.

use axum::Json;
use axum::http::header::LINK;
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde_json::json;

use super::query_arguments::{self, QueryArguments, RunIdInPath};
use super::requested_mirror::RequestedMirror;
use super::route::{Route, RouteDescription};
use crate::arguments::bounds::IntegerArgument;
use crate::arguments::{Arguments, BadArgument};
use crate::http::problem_details::ProblemDetails;
use crate::http::run_page_redirect_reason::RunPageRedirectReason;
use crate::model::{RunFilter, RunsQuery};
use crate::reports::run_and_change_pages::RunsPage;
use crate::reports::run_detail::RunDetail;

const LIMIT: IntegerArgument = IntegerArgument::new("limit", 1..=100);
const LIMIT_DEFAULT: u32 = 20;

pub(super) fn list_route() -> Route {
    let words = RunFilter::ALL.map(RunFilter::as_str);
    let operation = RouteDescription::new(
        "listRuns",
        "Past runs and the one in progress, newest first",
    )
    .query(
        "limit",
        LIMIT.schema(LIMIT_DEFAULT),
        "How many runs to list at most.",
    )
    .query(
        "before",
        json!({"type": "string", "format": "uuid"}),
        "The run that the page before ended with: `next_before` of that page.",
    )
    .query(
        "show",
        json!({"type": "string", "enum": words, "default": RunFilter::default()}),
        "Which runs: all, those that did not succeed, or those that changed meters.",
    )
    .answer(200, "A page of runs", |generator| {
        generator.subschema_for::<RunsPage>()
    })
    .with("Link", "The next page, `rel=\"next\"`; absent on the last.")
    .problem(400, "An argument cannot be used.")
    .problem(404, "The log does not have the run of `before`.")
    .problem(500, "The local database cannot be asked.")
    .problem(503, "The databases are not configured.");
    Route::get("/api/v1/runs", list, operation)
}

async fn list(
    RequestedMirror { mirror, prefix }: RequestedMirror,
    QueryArguments(given): QueryArguments,
) -> Result<Response, ProblemDetails> {
    let query = read(given)?;
    let missing = || {
        let before = query.before.map(|id| id.to_string());
        query_arguments::no_such_run(&prefix, before.unwrap_or_default())
    };
    let page = mirror.list(&query).await?.ok_or_else(missing)?;
    let next = page.next_before.map(|before| {
        let (limit, show) = (query.limit, query.show.as_str());
        let path = prefix.runs();
        format!("<{path}?limit={limit}&show={show}&before={before}>; rel=\"next\"")
    });
    let next = next.map(|next| AppendHeaders([(LINK, next)]));
    Ok((next, Json(page)).into_response())
}

fn read(mut given: Arguments) -> Result<RunsQuery, BadArgument> {
    let limit = LIMIT.read(&mut given, LIMIT_DEFAULT)?;
    let before = given.run_id("before")?;
    let word = given.choice("show", &RunFilter::ALL.map(RunFilter::as_str))?;
    given.refuse_unknown()?;
    let show = RunFilter::ALL
        .into_iter()
        .find(|show| Some(show.as_str()) == word);
    Ok(RunsQuery {
        limit,
        before,
        show: show.unwrap_or_default(),
    })
}

pub(super) fn route() -> Route {
    let operation = RouteDescription::new("getRun", "One run with all that the log keeps of it")
        .run()
        .query(
            "notice",
            json!({"type": "string", "enum": RunPageRedirectReason::ALL.map(RunPageRedirectReason::as_str)}),
            "What the page's address of the run may end with; it changes nothing here.",
        )
        .answer(200, "The run", |generator| {
            generator.subschema_for::<RunDetail>()
        })
        .problem(400, "An argument cannot be used.")
        .problem(500, "The local database cannot be asked.")
        .problem(503, "The databases are not configured.");
    Route::get("/api/v1/runs/{id}", one, operation)
}

async fn one(
    RequestedMirror { mirror, prefix }: RequestedMirror,
    RunIdInPath(id): RunIdInPath,
    QueryArguments(mut given): QueryArguments,
) -> Result<Json<RunDetail>, ProblemDetails> {
    given.choice(
        "notice",
        &RunPageRedirectReason::ALL.map(RunPageRedirectReason::as_str),
    )?;
    given.refuse_unknown()?;
    let run = mirror.run(id).await?;
    run.map(Json)
        .ok_or_else(|| query_arguments::no_such_run(&prefix, id.to_string()))
}
