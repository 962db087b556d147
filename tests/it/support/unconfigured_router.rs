//! The router of all that is served over HTTP, in the process of the test, without a database or a socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use meter_sync::config::CommandLineSettings;
use meter_sync::mirrors::Mirrors;
use meter_sync::shutdown::Shutdown;
use meter_sync::{app, mcp, telemetry};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::site::config;

/// No answer without a database is longer.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// What serves a process that is told nothing of any database.
pub(crate) fn router(settings: &CommandLineSettings) -> Router {
    let config = config(settings);
    let mirrors = Mirrors::new(config, TaskTracker::new()).expect("no pools");
    let server = mcp::McpServer::new(mirrors.clone());
    let shutdown = Shutdown::new();
    let mounted = mcp::streamable_http::routes(move || server.for_new_client(), shutdown.token());
    app::router(&mirrors, mounted, telemetry::recorder(), &shutdown)
}

/// The answer to one request.
pub(crate) async fn send(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.expect("infallible")
}

/// Status and text of an answer that ends.
pub(crate) async fn read(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), MAX_ANSWER_BYTES).await;
    let text = String::from_utf8(body.expect("a body").to_vec());
    (status, text.expect("UTF-8"))
}
