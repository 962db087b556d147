//! Reads the arguments of a request from its query, and the id of a run from its path.

use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde_json::{Map, Value};

use super::DESCRIPTION_PATH;
use super::requested_mirror::MirrorPathPrefix;
use crate::arguments::{Arguments, BadArgument, one_line, run_id, shorten};
use crate::http::problem_details::ProblemDetails;
use crate::model::RunId;

/// The arguments of the query. If an argument is repeated or has no value, the request is answered with 400.
pub(super) struct QueryArguments(pub(super) Arguments);

impl<S: Sync> FromRequestParts<S> for QueryArguments {
    type Rejection = ProblemDetails;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ProblemDetails> {
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

/// Converts an argument of the query to JSON. `true`, `false` and whole numbers as JSON spells them (`7`, not `07`)
/// become JSON values of these types; everything else becomes a string.
fn value(text: String) -> Value {
    match text.parse::<u64>() {
        _ if text == "true" => Value::Bool(true),
        _ if text == "false" => Value::Bool(false),
        Ok(number) if number.to_string() == text => number.into(),
        Ok(_) | Err(_) => Value::String(text),
    }
}

/// The id of the run in a path such as `/api/v1/runs/{id}`. If it is not a UUID, the request is answered with 404.
pub(super) struct RunIdInPath(pub(super) RunId);

impl<S: Sync> FromRequestParts<S> for RunIdInPath {
    type Rejection = ProblemDetails;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ProblemDetails> {
        let (prefix, rest) = MirrorPathPrefix::split(&parts.uri);
        let part = rest.split('/').nth(2).unwrap_or_default();
        run_id(part)
            .map(Self)
            .ok_or_else(|| no_such_run(&prefix, part))
    }
}

/// Returns the 404 response for a run that is not in the run log.
pub(super) fn no_such_run(prefix: &MirrorPathPrefix, id: impl AsRef<str>) -> ProblemDetails {
    let detail = format!(
        "There is no run {} of this tenant and table in the log, or it is there no longer (METER_SYNC_KEEP_RUNS).",
        shorten(id.as_ref())
    );
    let remedy = format!("GET {} lists the runs with their ids.", prefix.runs());
    ProblemDetails::new(StatusCode::NOT_FOUND, "RUN_NOT_FOUND", detail, remedy)
}

/// Returns the 400 response for a request with invalid arguments. `detail` says what is wrong.
pub(super) fn bad_request(detail: impl Into<String>) -> ProblemDetails {
    let remedy = format!("See what the route takes at {DESCRIPTION_PATH}.");
    ProblemDetails::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", detail, remedy)
}

impl From<BadArgument> for ProblemDetails {
    fn from(BadArgument(detail): BadArgument) -> Self {
        bad_request(detail)
    }
}
