//! MCP over HTTP, as routes to mount: streamable HTTP here, its predecessor in `sse`.
//!
//! Host, Origin and token are checked by who mounts it, alike for every route; the token that was
//! shown is looked for in the request's extensions, as [`crate::config::Token`].

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, SessionConfig};
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;

use super::body;
use super::sessions::{self, SESSION_IDLE, Sessions};
use super::sse;

/// Where the endpoint is.
const PATH: &str = "/mcp";
/// A message to us is a tool call of a few hundred bytes.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;
/// The endpoints; `server` makes what serves one client more, and `shutdown` ends their open streams.
pub fn routes<S: ServerHandler>(
    server: impl Fn() -> S + Clone + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Router {
    streamable(server.clone(), shutdown.clone()).merge(sse::routes(server, shutdown))
}

fn streamable<S: ServerHandler>(
    server: impl Fn() -> S + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Router {
    let sessions = Arc::new(manager());
    // Host and Origin are guarded for all routes at once
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_sse_retry(None) // its empty first event breaks naive clients
        .with_max_request_body_bytes(MAX_BODY_BYTES)
        .with_cancellation_token(shutdown);
    let service = StreamableHttpService::new(move || Ok(server()), Arc::clone(&sessions), config);
    Router::new()
        .route_service(PATH, service)
        .layer(middleware::from_fn(answer_the_end))
        .layer(middleware::from_fn_with_state(
            Sessions::new(sessions),
            sessions::check,
        ))
        .layer(middleware::from_fn(body::check))
}

fn manager() -> LocalSessionManager {
    let mut config = SessionConfig::default();
    config.sse_retry = None;
    config.keep_alive = Some(SESSION_IDLE);
    let mut manager = LocalSessionManager::default();
    manager.session_config = config;
    manager
}

/// rmcp accepts the end of a session (202) that is over by then; the official Python client warns of
/// any answer but 200 and 204.
async fn answer_the_end(request: Request, next: Next) -> Response {
    let ends = request.method() == Method::DELETE;
    let response = next.run(request).await;
    if ends && response.status() == StatusCode::ACCEPTED {
        return StatusCode::NO_CONTENT.into_response();
    }
    response
}
