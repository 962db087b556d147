//! Refuses arguments in the query of a route that takes no query, and in the body of a route that takes no body.
//!
//! Without this check, such arguments would be ignored: a POST with `dry_run` in the query instead of the body would
//! start a real sync.

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::query_arguments::bad_request;
use super::route::RouteDescription;
use crate::arguments::read_body_bytes::{self, ReadBodyError};
use crate::arguments::shorten;
use crate::http::problem_details::ProblemDetails;

/// How many bytes of a body are read on a route that takes none. Some clients send `{}` with every request, which is
/// accepted.
const MAX_BODY_BYTES: usize = 1024;

/// Whether a route takes arguments in the query, and whether it takes them in the body.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArgumentPlaces {
    query: bool,
    body: bool,
}

impl ArgumentPlaces {
    /// Reads from a route's description where the route takes arguments. A route that needs no token accepts any query,
    /// because proxies may add one to health checks.
    pub(super) fn of(operation: &RouteDescription) -> Self {
        Self {
            // Proxies may add a query to health checks, so any query is accepted on open routes.
            query: operation.is_open || operation.takes_query(),
            body: operation.body.is_some(),
        }
    }
}

/// Passes the request on. Answers 400 instead if the request has a query or a body that the route does not take.
pub(super) async fn refuse(
    State(places): State<ArgumentPlaces>,
    request: Request,
    next: Next,
) -> Result<Response, ProblemDetails> {
    if !places.query {
        check_query(&request, places)?;
    }
    let request = match places.body {
        true => request,
        false => without_body(request).await?,
    };
    Ok(next.run(request).await.into_response())
}

fn check_query(request: &Request, places: ArgumentPlaces) -> Result<(), ProblemDetails> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()) else {
        return Err(bad_request("The query cannot be read."));
    };
    let Some((name, _)) = pairs.first() else {
        return Ok(());
    };
    let place = match places.body {
        true => "takes its arguments as a JSON object in the body",
        false => "takes no arguments",
    };
    Err(bad_request(format!(
        "`{}` is given in the query, but this route {place}.",
        shorten(name)
    )))
}

/// Returns the request without its body if the body has no arguments (it is empty, `{}` or `null`). Any other body is
/// an error.
async fn without_body(request: Request) -> Result<Request, ProblemDetails> {
    let (parts, body) = request.into_parts();
    let says_nothing = |body: &[u8]| matches!(body.trim_ascii(), b"" | b"{}" | b"null");
    match read_body_bytes::read(body, MAX_BODY_BYTES).await {
        Ok(body) if says_nothing(&body) => Ok(Request::from_parts(parts, Body::empty())),
        Ok(_) | Err(ReadBodyError::TooLong) => Err(bad_request("This route takes no body.")),
        Err(fault @ (ReadBodyError::Late | ReadBodyError::Broken)) => Err(fault.into()),
    }
}
