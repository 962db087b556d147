//! `GET /api/v1/changes`: what all runs have changed since a time, as JSON in pages, or all of it as CSV.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LINK};
use axum::response::{AppendHeaders, IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::json;

use super::query_arguments::{self, QueryArguments};
use super::requested_mirror::RequestedMirror;
use super::route::{Route, RouteDescription};
use crate::arguments::bounds::{LISTED_CHANGES, LISTED_CHANGES_LIMIT, TENANT_CHARS};
use crate::arguments::past_time::{self, PAST_TIME};
use crate::arguments::{Arguments, BadArgument, change_kinds, shorten};
use crate::error::{ErrorCode, Failure};
use crate::history::changes_since::DEFAULT_SINCE;
use crate::http::problem_details::ProblemDetails;
use crate::mirrors::Mirror;
use crate::model::{ChangeAction, ChangeCursor, ChangesSinceQuery};
use crate::reports::changes_csv;
use crate::reports::run_and_change_pages::{ChangesSincePage, ChangesSinceReport};
use crate::url_path;

/// A pattern of the argument `before`: the ID of a run, and the number of a change.
const CURSOR: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(/[0-9]{1,9})?$";
const CSV: &str = "text/csv; charset=utf-8";

pub(super) fn route() -> Route {
    let kinds = ChangeAction::ALL.iter().map(|kind| kind.as_str());
    let kinds = kinds.collect::<Vec<_>>().join("|");
    let operation = RouteDescription::new(
        "listChangesSince",
        "What all runs have changed since a time, those of the newest run first",
    )
    .query(
        "since",
        json!({"type": "string", "pattern": PAST_TIME, "default": DEFAULT_SINCE}),
        "How long ago, such as `24h` or `7d`. A past time such as `2026-01-31T08:00:00Z` is taken, too.",
    )
    .query(
        "kind",
        json!({"type": "string", "pattern": format!("^({kinds})(,({kinds})){{0,3}}$")}),
        "Lists only changes of these kinds, with commas between.",
    )
    .query(
        "limit",
        LISTED_CHANGES_LIMIT.schema(LISTED_CHANGES),
        "How many changes to list at most; CSV has all.",
    )
    .query(
        "before",
        json!({"type": "string", "pattern": CURSOR}),
        "The change that the page before ended with: `next_before` of that page.",
    )
    .query(
        "format",
        json!({"type": "string", "enum": ["json", "csv"], "default": "json"}),
        "`csv` answers with all changes, one a line.",
    )
    .answer(200, "A page of changes", |generator| {
        generator.subschema_for::<ChangesSincePage>()
    })
    .with("Link", "The next page, `rel=\"next\"`; absent on the last.")
    .content(
        200,
        "All changes as CSV",
        Some((CSV, |_| schemars::json_schema!({"type": "string"}))),
    )
    .problem(
        400,
        "An argument cannot be used, or the log does not have the run of `before`.",
    )
    .problem(
        500,
        "The local database cannot be asked, or lacks the table.",
    )
    .problem(503, "The databases or the tenant are not configured.");
    Route::get("/api/v1/changes", list, operation)
}

/// The arguments of a request.
#[derive(Debug)]
struct ChangesRequest {
    since: DateTime<Utc>,
    kinds: Vec<ChangeAction>,
    before: Option<ChangeCursor>,
    limit: u32,
    is_csv: bool,
}

impl ChangesRequest {
    fn query(&self) -> ChangesSinceQuery<'_> {
        ChangesSinceQuery {
            since: self.since,
            kinds: &self.kinds,
            before: self.before,
            limit: self.limit,
        }
    }
}

fn read(mut given: Arguments, now: DateTime<Utc>) -> Result<ChangesRequest, BadArgument> {
    let since = past_time::read(&mut given, "since", now)?;
    let kinds = change_kinds::read(&mut given)?;
    let before = given.text("before", TENANT_CHARS)?;
    let before = before.map(|text| {
        text.parse().map_err(|()| {
            let text = shorten(&text);
            BadArgument(format!(
                "`before` must be `next_before` of the page before, not {text}."
            ))
        })
    });
    let limit = LISTED_CHANGES_LIMIT.read(&mut given, LISTED_CHANGES)?;
    let is_csv = given.choice("format", &["json", "csv"])? == Some("csv");
    given.refuse_unknown()?;
    Ok(ChangesRequest {
        since: match since {
            Some(since) => since,
            None => past_time::parse("`since`", DEFAULT_SINCE, now)?,
        },
        kinds,
        before: before.transpose()?,
        limit: if is_csv {
            LISTED_CHANGES_LIMIT.max()
        } else {
            limit
        },
        is_csv,
    })
}

async fn list(
    RequestedMirror { mirror, prefix }: RequestedMirror,
    QueryArguments(given): QueryArguments,
) -> Result<Response, ProblemDetails> {
    let asked = read(given, mirror.now())?;
    let page = match mirror.changes_since(&asked.query()).await {
        Err(failure) if failure.code == ErrorCode::ConfigInvalid => {
            let run = asked.before.map(|before| before.run.to_string());
            return Err(query_arguments::no_such_run(
                &prefix,
                run.unwrap_or_default(),
            ));
        }
        page => page?,
    };
    if asked.is_csv {
        return Ok(csv(mirror, asked, page.changes_since));
    }
    let next = page.next_before.as_deref().map(|before| {
        let (since, limit) = (asked.since.to_rfc3339(), asked.limit.to_string());
        let kinds: Vec<_> = asked.kinds.iter().map(|kind| kind.as_str()).collect();
        let kinds = Some(kinds.join(",")).filter(|kinds| !kinds.is_empty());
        let query = url_path::query([
            ("since", Some(since.as_str())),
            ("kind", kinds.as_deref()),
            ("limit", Some(limit.as_str())),
            ("before", Some(before)),
        ]);
        AppendHeaders([(
            LINK,
            format!("<{}?{query}>; rel=\"next\"", prefix.changes()),
        )])
    });
    Ok((next, Json(page)).into_response())
}

/// Returns a response that sends all changes page by page. `first` is the first page. If a later page cannot be read,
/// the response breaks off.
fn csv(mirror: Mirror, asked: ChangesRequest, first: ChangesSinceReport) -> Response {
    let header = stream::iter([Ok(Bytes::from(changes_csv::header()))]);
    let body = Body::from_stream(header.chain(pages(mirror, asked, first)));
    let file = "attachment; filename=\"meter-changes.csv\"";
    ([(CONTENT_TYPE, CSV), (CONTENT_DISPOSITION, file)], body).into_response()
}

fn pages(
    mirror: Mirror,
    asked: ChangesRequest,
    first: ChangesSinceReport,
) -> impl Stream<Item = Result<Bytes, Failure>> + Send {
    let next = move |(mut asked, page): (ChangesRequest, Option<ChangesSinceReport>)| {
        let mirror = mirror.clone();
        async move {
            let Some(found) = page else {
                return Ok(None);
            };
            let rows = Bytes::from(changes_csv::rows(&found.changes));
            asked.before = found.next_before();
            let page = match asked.before {
                Some(_) => Some(mirror.more_changes_since(&asked.query()).await?),
                None => None,
            };
            Ok(Some((rows, (asked, page))))
        }
    };
    stream::try_unfold((asked, Some(first)), next)
}
