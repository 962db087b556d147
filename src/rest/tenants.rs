//! `GET /api/v1/tenants`: lists the tenants whose meters this process keeps in sync, in pages, the worst first.

use axum::Json;
use axum::extract::State;
use axum::http::header::LINK;
use axum::response::{AppendHeaders, IntoResponse, Response};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::RestState;
use super::query_arguments::QueryArguments;
use super::requested_mirror::MirrorPathAndToken;
use super::route::{Route, RouteDescription};
use crate::arguments::bounds::{TENANT_CHARS, TENANTS_LIMIT};
use crate::arguments::{Arguments, BadArgument};
use crate::http::problem_details::ProblemDetails;
use crate::model::{Health, HealthCounts};
use crate::reports::status::Status;
use crate::reports::tenant_list::{TenantSummary, TenantsQuery};
use crate::url_path;

const PATH: &str = "/api/v1/tenants";
/// A regular expression for a text with at least one visible character. It does not use `\p`, which not all validators
/// of JSON Schema support.
const VISIBLE: &str = r"[^\s\u0000-\u001f\u007f-\u009f]";

/// A page of the tenants that this process syncs and that the token is valid for, the worst health first.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TenantsPage {
    /// The state of all tenants in one sentence.
    summary: String,
    /// The current time by the local database's clock.
    now: DateTime<Utc>,
    /// How many tenants there are that the token is valid for.
    total: i64,
    /// How many tenants have each health.
    by_health: HealthCounts,
    /// How many tenants match `search` and `health`, on all pages together.
    matching: i64,
    /// The tenants on this page.
    tenants: Vec<TenantSummary>,
    /// The value of `before` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<String>,
    /// What else deserves attention, one sentence each.
    warnings: Vec<String>,
}

pub(super) fn route() -> Route {
    let default = TenantsQuery::default();
    let text =
        json!({"type": "string", "minLength": 1, "maxLength": TENANT_CHARS, "pattern": VISIBLE});
    let operation = RouteDescription::new("listTenants", "The tenants whose meters are kept in sync here, the worst first")
        .described("Behind `/api/v1/tenants/{tenant_id}` are the routes of each of them. With a token for some tenants, all that is listed and counted is of these.")
        .query("limit", TENANTS_LIMIT.schema(default.limit), "How many tenants to list at most.")
        .query("before", text.clone(), "Where the page begins: `next_before` of the page before.")
        .query("search", text, "Only tenants whose id or name contains this, in any case.")
        .query("health", json!({"type": "string", "enum": words()}), "Only tenants in this health.")
        .answer(200, "A page of tenants", |generator| generator.subschema_for::<TenantsPage>())
        .with("Link", "The next page, `rel=\"next\"`; absent on the last.")
        .problem(400, "An argument cannot be used.")
        .problem(500, "The local database cannot be asked.")
        .problem(503, "The databases or the tenant are not configured.");
    Route::get(PATH, list, operation)
}

async fn list(
    State(RestState { mirrors, .. }): State<RestState>,
    mirror_request: MirrorPathAndToken,
    QueryArguments(given): QueryArguments,
) -> Result<Response, ProblemDetails> {
    let query = TenantsQuery {
        visible: mirror_request.visible(),
        ..read(given)?
    };
    let page = page(mirrors.overview(&query).await)?;
    let next = page.next_before.as_ref().map(|before| next(&query, before));
    let next = next.map(|next| AppendHeaders([(LINK, next)]));
    Ok((next, Json(page)).into_response())
}

fn read(mut given: Arguments) -> Result<TenantsQuery, BadArgument> {
    let default = TenantsQuery::default();
    let limit = TENANTS_LIMIT.read(&mut given, default.limit)?;
    let before = given.query_text("before", TENANT_CHARS)?;
    let search = given.query_text("search", TENANT_CHARS)?;
    let word = given.choice("health", &words())?;
    given.refuse_unknown()?;
    let mut all = Health::ALL.iter();
    Ok(TenantsQuery {
        limit,
        before,
        search,
        health: all.find(|health| Some(health.as_str()) == word).copied(),
        ..default
    })
}

fn words() -> Vec<&'static str> {
    Health::ALL.iter().map(|health| health.as_str()).collect()
}

/// Converts the status of all tenants to a page of the list of tenants. Fails if the local database cannot be read and
/// no tenant is known from an earlier read.
fn page(status: Status) -> Result<TenantsPage, ProblemDetails> {
    let tenants = status.tenants.filter(|tenants| tenants.total > 0);
    let tenants = match (tenants, status.connections.local.error) {
        (None, Some(failure)) => return Err(failure.into()),
        (tenants, _) => tenants.unwrap_or_default(),
    };
    Ok(TenantsPage {
        summary: status.summary,
        now: status.now,
        total: tenants.total,
        by_health: tenants.by_health,
        matching: tenants.matching,
        tenants: tenants.list,
        next_before: status.next_before,
        warnings: status.warnings,
    })
}

/// Returns the value of the `Link` header that points to the next page.
fn next(query: &TenantsQuery, before: &str) -> String {
    let arguments = url_path::query([
        ("limit", Some(query.limit.to_string().as_str())),
        ("search", query.search.as_deref()),
        ("health", query.health.map(Health::as_str)),
        ("before", Some(before)),
    ]);
    format!("<{PATH}?{arguments}>; rel=\"next\"")
}
