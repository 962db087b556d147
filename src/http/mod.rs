//! What all HTTP surfaces share: the server and its limits, the guards, health checks, metrics and OAuth.
//!
//! The surfaces (`page`, `rest`, `mcp`) define their routes. `guard` puts all routes behind the same checks,
//! including the answer to an unknown route.

use axum::Router;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::config::Config;
use crate::mirrors::Mirrors;
use crate::shutdown::Shutdown;
use guards::Guards;
use guards::page_paths::PagePaths;

pub(crate) mod guards;
mod hosts;
mod oauth;

pub(crate) mod run_page_notice;

pub(crate) mod health;
mod metrics;

mod connection_limit;
mod serve;
mod timed_streams;

pub use serve::{listen, serve};

pub(super) mod problem_details;
pub(super) mod request_error;
pub(super) mod session_cookie;

/// The routes of the metrics and of the OAuth metadata.
pub(crate) fn routes(config: &Config, mirrors: Mirrors, recorder: PrometheusHandle) -> Router {
    Router::new()
        .route(metrics::PATH, get(metrics::scrape))
        .with_state((mirrors, recorder))
        .merge(oauth::routes(config.oauth.as_ref()))
}

/// Puts the routes behind the guards. Routes that are added to the result are not guarded.
pub(crate) fn guard(
    routes: Router,
    mirrors: Mirrors,
    pages: PagePaths,
    shutdown: &Shutdown,
) -> Router {
    guards::guard(routes, Guards::of(mirrors, pages, shutdown))
}
