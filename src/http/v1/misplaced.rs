//! Refuses arguments that a route takes nowhere, or takes in another place: a `dry_run` in the query of a POST would
//! be a sync in earnest.

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::given::bad_request;
use super::route::Operation;
use crate::arguments::body::{self, BodyFault};
use crate::arguments::shorten;
use crate::http::details::Details;
use crate::http::problem::Problem;

/// What is read of a body that should not be there; some clients send `{}` with every request.
const MAX_BODY_BYTES: usize = 1024;

/// Where a route takes arguments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    query: bool,
    body: bool,
}

impl Places {
    /// As the operation is described.
    pub(super) fn of(operation: &Operation) -> Self {
        Self {
            // Health checks come with whatever a proxy adds to them.
            query: operation.is_open || operation.takes_query(),
            body: operation.body.is_some(),
        }
    }
}

/// Lets a request through that has no argument where the route takes none.
pub(super) async fn refuse(
    State(places): State<Places>,
    request: Request,
    next: Next,
) -> Result<Response, Details> {
    if !places.query {
        check_query(&request, places)?;
    }
    let request = match places.body {
        true => request,
        false => without_body(request).await?,
    };
    Ok(next.run(request).await.into_response())
}

fn check_query(request: &Request, places: Places) -> Result<(), Details> {
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

/// The request without its body, which has nothing to say.
async fn without_body(request: Request) -> Result<Request, Details> {
    let (parts, body) = request.into_parts();
    let says_nothing = |body: &[u8]| matches!(body.trim_ascii(), b"" | b"{}" | b"null");
    match body::read(body, MAX_BODY_BYTES).await {
        Ok(body) if says_nothing(&body) => Ok(Request::from_parts(parts, Body::empty())),
        Ok(_) | Err(BodyFault::TooLong) => Err(bad_request("This route takes no body.")),
        Err(fault @ (BodyFault::Late | BodyFault::Broken)) => Err(Problem::from(fault).details()),
    }
}
