//! What a request gives: the arguments of its query, and the run or meter in its path.
//!
//! The path is read as it was sent: decoded, a comma of a meter's key could not be told from one between two values.

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::DESCRIPTION_PATH;
use crate::arguments::{Arguments, BadArgument, one_line, shorten};
use crate::http::details::Details;
use crate::meter::RunId;

/// As a UUID is written everywhere but in some other systems' own spellings of it.
const RUN_ID_CHARS: usize = 36;

/// The arguments of the query, each given once at most and with a value.
pub(super) struct Given(pub(super) Arguments);

impl<S: Sync> FromRequestParts<S> for Given {
    type Rejection = Details;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Details> {
        let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) else {
            return Err(bad_request("The query cannot be read."));
        };
        let mut given = Map::new();
        for (name, text) in pairs {
            if one_line(&text).is_empty() {
                let detail = format!("`{}` is given without a value.", shorten(&name));
                return Err(bad_request(detail));
            }
            let value = value(text);
            if given.insert(name.clone(), value).is_some() {
                let detail = format!("`{}` is given more than once.", shorten(&name));
                return Err(bad_request(detail));
            }
        }
        Ok(Self(Arguments::new(Some(given))))
    }
}

/// Numbers and truth values in the one spelling that JSON has for them, else text.
fn value(text: String) -> Value {
    match text.parse::<u64>() {
        _ if text == "true" => Value::Bool(true),
        _ if text == "false" => Value::Bool(false),
        Ok(number) if number.to_string() == text => number.into(),
        Ok(_) | Err(_) => Value::String(text),
    }
}

/// The run in `/api/v1/runs/{id}`.
pub(super) struct Run(pub(super) RunId);

impl<S: Sync> FromRequestParts<S> for Run {
    type Rejection = Details;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Details> {
        let part = parts.uri.path().split('/').nth(4).unwrap_or_default();
        run_id(part).map(Self).ok_or_else(|| no_such_run(part))
    }
}

/// An argument that names a run.
pub(super) fn run(given: &mut Arguments, name: &'static str) -> Result<Option<RunId>, BadArgument> {
    let Some(text) = given.text(name, RUN_ID_CHARS)? else {
        return Ok(None);
    };
    let expected = || {
        let text = shorten(&text);
        BadArgument(format!(
            "`{name}` must be the id of a run (a UUID), not {text}."
        ))
    };
    run_id(&text).map(Some).ok_or_else(expected)
}

fn run_id(text: &str) -> Option<RunId> {
    let id = text.parse().ok();
    id.filter(|_| text.len() == RUN_ID_CHARS)
}

/// The run is in no log of ours.
pub(super) fn no_such_run(id: impl AsRef<str>) -> Details {
    let detail = format!(
        "There is no run {} in the log, or it is there no longer (METER_SYNC_KEEP_RUNS).",
        shorten(id.as_ref())
    );
    let remedy = "GET /api/v1/runs lists the runs with their ids.";
    Details::new(StatusCode::NOT_FOUND, "RUN_NOT_FOUND", detail, remedy)
}

/// The request cannot be understood.
pub(super) fn bad_request(detail: impl Into<String>) -> Details {
    let remedy = format!("See what the route takes at {DESCRIPTION_PATH}.");
    Details::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", detail, remedy)
}

impl From<BadArgument> for Details {
    fn from(BadArgument(detail): BadArgument) -> Self {
        bad_request(detail)
    }
}
