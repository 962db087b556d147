//! The web pages for operators. They show whether the meters are in sync, when a sync last succeeded, when the next one
//! is due, what changed, and what to do.
//!
//! The pages are plain HTML with forms and links, and work without scripts: the browser then reloads some of them at
//! intervals. With scripts, `page.js` updates parts of the same HTML in place. `maud` escapes all text from databases,
//! and the content security policy allows no inline code. Times are in UTC in the HTML; the script converts them to
//! local time.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::arguments::read_body_bytes;
use crate::http::guards::WELL_KNOWN;
use crate::http::guards::page_paths::{PagePaths, wants_page};
use crate::http::request_error::RequestError;
use crate::mirrors::Mirrors;
use connections::ConnectionCheckCache;
use mirror_page_paths::MirrorBasePath;
use page_layout::ErrorPage;

mod action_and_phase_words;
mod assets;
mod banner;
mod changes;
mod changes_chart;
mod compute_timeline_bars;
mod connections;
mod format_values;
mod handle_pause_form;
mod handle_sync_form;
mod meter;
mod mirror_in_url;
mod mirror_page_paths;
mod page_layout;
mod run;
mod run_changes;
mod run_difference;
mod runs;
mod sign_in;
mod status_facts;
mod status_page;
mod tenants;
mod timeline;
mod viewer_rights;

/// The path of the sign-in form, where a person enters a token.
const SIGN_IN: &str = "/sign-in";
/// The path of the sign-out form, which deletes the cookie. A read-only token is enough for it.
const SIGN_OUT: &str = "/sign-out";

/// Tells the HTTP guards, which check the token of each request, which paths are those of pages, forms and assets.
pub(crate) const ROUTES: PagePaths = PagePaths {
    sign_in: SIGN_IN,
    sign_out: SIGN_OUT,
    assets: assets::FOLDER,
    is_page,
    is_form,
    is_read_only_form,
};

/// The content security policy of every page.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The largest size of a submitted form, in bytes. A form holds little more than a token or the id of a run.
const MAX_FORM_BYTES: usize = 4096;

/// The state that all request handlers of the pages share.
#[derive(Clone, Debug)]
struct PageState {
    mirrors: Mirrors,
    /// The results of the last checks of the connections.
    checks: ConnectionCheckCache,
}

/// Returns the routes of all pages. If the process syncs exactly one tenant, the pages of its mirror begin at `/`.
/// Otherwise `/` is the list of tenants, and the pages of each mirror begin at `/tenants/{tenant_id}`.
pub(crate) fn routes(mirrors: Mirrors) -> Router {
    let pages = match mirrors.only() {
        Some(_) => mirror_routes(""),
        None => mirror_routes(MirrorBasePath::PATTERN)
            .route(MirrorBasePath::PATTERN, get(tenants::add_slash))
            .route("/", get(tenants::show)),
    };
    let shared = PageState {
        mirrors,
        checks: ConnectionCheckCache::default(),
    };
    pages
        .route(SIGN_IN, get(sign_in::show).post(sign_in::sign_in))
        .route(SIGN_OUT, post(sign_in::sign_out))
        .layer(middleware::from_fn(protect))
        .route("/assets/{name}", get(assets::serve))
        .with_state(shared)
}

/// Returns the routes of the pages of one mirror (the meters of one tenant), below the path `base`.
fn mirror_routes(base: &str) -> Router<PageState> {
    let at = |path: &str| format!("{base}{path}");
    Router::new()
        .route(&at("/"), get(status_page::show))
        .route(&at("/runs"), get(runs::show))
        .route(&at("/runs/{id}"), get(run::show))
        .route(&at("/runs/{id}/difference"), get(run_difference::show))
        .route(&at(changes::PATH), get(changes::show))
        .route(&at("/meters"), get(meter::show))
        .route(
            &at(connections::PATH),
            get(connections::show).post(connections::check),
        )
        .route(&at("/sync"), post(handle_sync_form::sync))
        .route(
            &at(handle_pause_form::PAUSE),
            post(handle_pause_form::pause),
        )
        .route(
            &at(handle_pause_form::RESUME),
            post(handle_pause_form::resume),
        )
}

/// Whether the path is that of a page. A browser without a valid token is redirected from a page to the sign-in form.
fn is_page(path: &str) -> bool {
    let path = below_base(path);
    let pages = [
        "",
        "/",
        connections::PATH,
        changes::PATH,
        "/meters",
        "/runs",
    ];
    pages.contains(&path) || path.starts_with("/runs/")
}

/// Whether a browser can send a form to this path with POST.
fn is_form(path: &str) -> bool {
    let forms = ["/sync", handle_pause_form::PAUSE, handle_pause_form::RESUME];
    is_read_only_form(path) || forms.contains(&below_base(path)) || path == SIGN_IN
}

/// Whether a browser can send a form to this path that changes only what the viewer sees. A read-only token is enough
/// for such a form.
fn is_read_only_form(path: &str) -> bool {
    below_base(path) == connections::PATH || path == SIGN_OUT
}

/// Returns the path without `/tenants/{tenant_id}` at its beginning; the whole path if it does not begin with that.
fn below_base(path: &str) -> &str {
    MirrorBasePath::below(path).unwrap_or(path)
}

/// Answers 404 for an unknown path: an HTML page for a browser, problem details (RFC 9457) for a program.
pub(crate) async fn not_found(request: Request) -> Response {
    error_response(&request, RequestError::NotFound)
}

/// Answers 405 for a path that does not take the method: an HTML page for a browser, problem details (RFC 9457) for a
/// program.
pub(crate) async fn method_not_allowed(request: Request) -> Response {
    error_response(&request, RequestError::MethodNotAllowed)
}

/// Answers with an error: an HTML page for a browser, problem details (RFC 9457) for a program.
fn error_response(request: &Request, problem: RequestError) -> Response {
    let response = problem.into_response();
    let is_for_programs = request.uri().path().starts_with(WELL_KNOWN);
    match wants_page(request.headers()) && !is_for_programs {
        true => protected(ErrorPage::bad_request(response.status()).into_response()),
        false => response,
    }
}

async fn protect(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let response = match read_body_bytes::read(body, MAX_FORM_BYTES).await {
        Ok(body) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(fault) => ErrorPage::unreadable_body(fault).into_response(),
    };
    // axum answers in plain text if it cannot parse a request. An error page replaces that answer.
    let type_ = response.headers().get(CONTENT_TYPE);
    let is_text = type_.is_some_and(|type_| type_.as_bytes().starts_with(b"text/plain"));
    protected(match response.status() {
        status if status.is_client_error() && is_text => {
            ErrorPage::bad_request(status).into_response()
        }
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
