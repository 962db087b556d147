//! The HTTP side: REST, health checks and metrics of our own, and whatever endpoint the caller mounts, all
//! behind the same guards.
//!
//! Every route, the answer to an unknown one included, is reached only through the guards.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::runs::Runs;
use guards::{Guards, guard};
use problem::Problem;

mod guards;
mod health;
mod hosts;
mod metrics;
mod problem;
mod seed;

/// What a run may take beyond its own limit to write down its end.
const RUN_MARGIN: Duration = Duration::from_secs(30);

/// What handlers are given.
#[derive(Clone, Debug)]
struct Shared {
    runs: Runs,
    /// How long a request waits for the end of the run it started.
    wait: Duration,
    /// What was counted.
    recorder: PrometheusHandle,
}

/// Every route, guarded; `mounted` brings the endpoints that other modules serve.
pub fn router(config: &Config, runs: Runs, recorder: PrometheusHandle, mounted: Router) -> Router {
    let shared = Shared {
        runs,
        wait: config.limits.run_timeout.saturating_add(RUN_MARGIN),
        recorder,
    };
    let routes = Router::new()
        .route(health::LIVE_PATH, get(health::live))
        .route(health::READY_PATH, get(health::ready))
        .route(metrics::PATH, get(metrics::scrape))
        .route("/api/local/meter-sync-status", get(seed::status))
        .route("/api/local/meter-sync-trigger", post(seed::trigger))
        .with_state(shared)
        .merge(mounted)
        .fallback(async || Problem::NotFound)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed);
    guard(routes, Guards::of(config))
}

/// Serves until `shutdown` is cancelled, then lets open requests end within `grace`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: CancellationToken,
    grace: Duration,
) -> io::Result<()> {
    // without it a reply waits 40 ms for the client's delayed acknowledgement
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
    });
    let served =
        axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        ended = served => ended,
        () = overdue => {
            tracing::warn!("closed HTTP requests that were still open at shutdown");
            Ok(())
        }
    }
}
