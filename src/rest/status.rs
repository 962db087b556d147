//! `GET /api/v1/status`: returns the status of one mirror (the meters of one tenant). If the process keeps several
//! mirrors and the path names no tenant, returns the status of all. Also answers while both databases are down.

use axum::Json;
use axum::extract::State;
use serde_json::json;

use super::RestState;
use super::query_arguments::{self, QueryArguments};
use super::requested_mirror::MirrorPathAndToken;
use super::route::{Route, RouteDescription};
use crate::arguments::bounds::{CHANGES_LIMIT, HISTORY};
use crate::arguments::{Arguments, BadArgument, read_status_arguments};
use crate::http::problem_details::ProblemDetails;
use crate::reports::status::{Status, StatusQuery};
use crate::reports::tenant_list::TenantsQuery;

pub(super) fn route() -> Route {
    let default = StatusQuery::default();
    let operation = RouteDescription::new("getStatus", "Whether the local meters can be relied on")
        .described("Changes nothing and asks only the local database; answers with both databases down, too. `health` other than `ok` is explained in `summary`. Where several tenants are kept in sync and none is named, it counts them by health and lists the worst (`tenants`); each argument is about one tenant, and needs it named.")
        .query("history", HISTORY.schema(default.history), "How many past runs to list, newest first.")
        .query("run_id", json!({"type": "string", "format": "uuid"}), "The run to list alone in `history` and to show changes of; the last run when left out.")
        .query("include_changes", json!({"type": "boolean", "default": default.include_changes}), "Whether to list which meters that run changed and which rows it rejected.")
        .query("changes_limit", CHANGES_LIMIT.schema(default.changes_limit), "How many changes to list at most.")
        .answer(200, "The status", |generator| generator.subschema_for::<Status>())
        .problem(400, "An argument cannot be used.")
        .problem(404, "There is no run of the id given.")
        .problem(500, "The local database cannot be asked for the tenants.");
    Route::get("/api/v1/status", answer, operation)
}

async fn answer(
    State(RestState { mirrors, .. }): State<RestState>,
    mirror_request: MirrorPathAndToken,
    QueryArguments(given): QueryArguments,
) -> Result<Json<Status>, ProblemDetails> {
    let query = read(given)?;
    if mirror_request.is_all(&mirrors) && !query.is_about_runs() {
        let query = TenantsQuery {
            visible: mirror_request.visible(),
            ..TenantsQuery::default()
        };
        return Ok(Json(mirrors.overview(&query).await));
    }
    let mirror = mirror_request.find(&mirrors).await?;
    let status = mirror.status(&query).await;
    // Reading the status fails only if `run_id` names an unknown run.
    let id = query.run_id.map(|id| id.to_string()).unwrap_or_default();
    status
        .map(Json)
        .map_err(|_failure| query_arguments::no_such_run(&mirror_request.prefix, id))
}

fn read(mut given: Arguments) -> Result<StatusQuery, BadArgument> {
    let query = read_status_arguments::read(&mut given, StatusQuery::default().history)?;
    given.refuse_unknown()?;
    Ok(query)
}
