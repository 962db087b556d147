//! What the web pages, the REST API and MCP over HTTP share: the HTTP server and its limits, the checks of every
//! request (`guards`), health checks, metrics and OAuth.
//!
//! The modules `page`, `rest` and `mcp` define their own routes. `guard` adds the same checks to all routes, and to the
//! answer for an unknown route.

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::Config;
use crate::mirrors::Mirrors;
use crate::shutdown::Shutdown;
use guards::RequestGuards;
use guards::page_paths::PagePaths;

pub(crate) mod guards;
mod host_allowlist;
mod oauth;

pub(crate) mod run_page_redirect_reason;

pub(crate) mod health_checks;
mod metrics;

mod limit_connections;
mod serve;
mod timed_streams;

pub use serve::{listen, serve};

pub(super) mod problem_details;
pub(super) mod request_error;
pub(super) mod session_cookie;

/// Returns the routes of `/metrics` and of the OAuth metadata.
pub(crate) fn routes(config: &Config, mirrors: Mirrors, recorder: PrometheusHandle) -> Router {
    Router::new()
        .route(metrics::PATH, get(metrics::scrape))
        .with_state((mirrors, recorder))
        .merge(oauth::routes(config.oauth.as_ref()))
}

/// Returns the routes with the checks of `guards` before each handler. Routes that are added to the result later are
/// not checked.
pub(crate) fn guard(
    routes: Router,
    mirrors: Mirrors,
    pages: PagePaths,
    shutdown: &Shutdown,
) -> Router {
    guards::guard(routes, RequestGuards::of(mirrors, pages, shutdown))
}
