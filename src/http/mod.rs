//! The HTTP side: the page, REST, health checks and metrics of our own, and whatever endpoint the caller mounts, all
//! behind the same guards.
//!
//! Every route, the answer to an unknown one included, is reached only through the guards.

use std::time::Duration;

use crate::config::Config;
use crate::runs::Runs;
use crate::shutdown::Shutdown;
use axum::Router;
use axum::body::Bytes;
use axum::routing::get;
use guards::{Guards, guard};
use metrics_exporter_prometheus::PrometheusHandle;

mod seed;
mod v1;

mod connections;
mod cookie;
mod details;
mod guards;
mod health;
mod hosts;
mod metrics;
mod notice;
mod oauth;
mod page;
mod problem;
mod serve;
mod watched;

pub use serve::serve;

/// What a run may take beyond its own limit to write down its end.
const RUN_MARGIN: Duration = Duration::from_secs(30);

/// What handlers are given.
#[derive(Clone, Debug)]
struct Shared {
    runs: Runs,
    /// How long a request of the seed system's kind waits for the end of the run it started.
    wait: Duration,
    /// What was counted.
    recorder: PrometheusHandle,
    /// What the page looked at last.
    checked: page::LastCheck,
    streams: v1::Streams,
    /// The description of the API, as JSON.
    description: Bytes,
}

/// Every route, guarded; `mounted` brings the endpoints that other modules serve, and `shutdown` ends the open
/// streams.
pub fn router(
    config: &Config,
    runs: Runs,
    recorder: PrometheusHandle,
    mounted: Router,
    shutdown: &Shutdown,
) -> Router {
    let table = v1::table();
    let shared = Shared {
        runs,
        wait: config.limits.run_timeout.saturating_add(RUN_MARGIN),
        recorder,
        checked: page::LastCheck::default(),
        streams: v1::Streams::new(shutdown.token()),
        description: v1::describe(&table, config.asks_for_tokens()),
    };
    let routes = v1::routes(table)
        .route(metrics::PATH, get(metrics::scrape))
        .merge(page::routes())
        .merge(oauth::routes(config.oauth.as_ref()))
        .with_state(shared)
        .merge(mounted)
        .fallback(page::not_found)
        .method_not_allowed_fallback(page::method_not_allowed);
    guard(routes, Guards::of(config, shutdown))
}
