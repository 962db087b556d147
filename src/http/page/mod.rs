//! The status page: is it fine, when did it last work, when is the next, what changed, what to do now.
//!
//! Plain HTML that works without scripts: forms, links and a refresh. `page.js` keeps the same HTML fresh. All
//! that is shown of databases is text to `maud`, which escapes it, and the content security policy lets no
//! inline code run. Times are UTC in the HTML and local once the script has seen them.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::Shared;
use super::problem::Problem;
use crate::arguments::body;
use shell::Trouble;

pub(super) use connections::LastCheck;

mod actions;
pub(super) mod assets;
mod banner;
mod changes;
mod chart;
mod connections;
mod facts;
mod format;
mod icons;
mod meter;
mod overview;
mod run;
mod runs;
mod shell;
mod sign_in;
mod strip;
mod viewer;
mod words;

/// Where a person shows a token.
pub(super) const SIGN_IN: &str = "/sign-in";
/// Where a person gives the cookie back, whatever it allows.
pub(super) const SIGN_OUT: &str = "/sign-out";
/// What changes something, and so needs our own origin.
pub(super) const POSTS: [&str; 4] = ["/sync", connections::PATH, SIGN_IN, SIGN_OUT];
/// Those of them that change nothing but what the viewer sees.
pub(super) const HARMLESS_POSTS: [&str; 2] = [connections::PATH, SIGN_OUT];

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A form holds a token or the id of a run.
const MAX_FORM_BYTES: usize = 4096;

/// The page's routes.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(overview::show))
        .route("/runs", get(runs::show))
        .route("/runs/{id}", get(run::show))
        .route("/meters", get(meter::show))
        .route(
            connections::PATH,
            get(connections::show).post(connections::check),
        )
        .route("/sync", post(actions::sync))
        .route(SIGN_IN, get(sign_in::show).post(sign_in::sign_in))
        .route(SIGN_OUT, post(sign_in::sign_out))
        .layer(middleware::from_fn(protect))
        .route("/assets/{name}", get(assets::serve))
}

/// Whether a person with a browser is to be sent to the sign-in instead of being refused.
pub(super) fn is_page(path: &str) -> bool {
    path == "/"
        || path == connections::PATH
        || path == "/meters"
        || path == "/runs"
        || path.starts_with("/runs/")
}

/// What is nowhere, for whoever asked.
pub(super) async fn not_found(request: Request) -> Response {
    told(&request, Problem::NotFound)
}

/// What programs look for on every server (RFC 8615); a client of MCP asks there whether there is OAuth.
pub(super) const WELL_KNOWN: &str = "/.well-known/";

/// What takes another method, for whoever asked.
pub(super) async fn method_not_allowed(request: Request) -> Response {
    told(&request, Problem::MethodNotAllowed)
}

/// A person is told by a page, a program by problem details.
fn told(request: &Request, problem: Problem) -> Response {
    let response = problem.into_response();
    let is_for_programs = request.uri().path().starts_with(WELL_KNOWN);
    match wants_page(request.headers()) && !is_for_programs {
        true => protected(Trouble::misread(response.status()).into_response()),
        false => response,
    }
}

/// Whether a browser asks for something to show.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

async fn protect(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let response = match body::read(body, MAX_FORM_BYTES).await {
        Ok(body) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(fault) => Trouble::unread(fault).into_response(),
    };
    // axum says in plain text what it cannot read.
    let type_ = response.headers().get(CONTENT_TYPE);
    let is_text = type_.is_some_and(|type_| type_.as_bytes().starts_with(b"text/plain"));
    protected(match response.status() {
        status if status.is_client_error() && is_text => Trouble::misread(status).into_response(),
        _ => response,
    })
}

fn protected(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
