//! MCP over HTTP, as routes to mount: streamable HTTP here, its predecessor in `sse`.
//!
//! Host, Origin and token are checked by who mounts it, alike for every route; the token that was
//! shown is looked for in the request's extensions, as [`crate::config::Token`].

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use rmcp::ServerHandler;
use rmcp::model::ProtocolVersion;
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, SessionConfig};
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;

use super::sse;

/// Where the endpoint is.
const PATH: &str = "/mcp";
const SESSION_HEADER: &str = "mcp-session-id";
const VERSION_HEADER: &str = "mcp-protocol-version";
/// A message to us is a tool call of a few hundred bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;
/// An assistant left open over lunch finds its session again; one that never said goodbye is
/// forgotten the same day.
pub(super) const SESSION_IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// An idle session takes some 80 kB: 60 in rmcp, most of it the room of its queues, and 20 for its connection.
pub(super) const MAX_SESSIONS: usize = 1000;

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
    let sessions = Arc::new(sessions());
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
        .layer(middleware::from_fn_with_state(sessions, refuse_when_full))
}

fn sessions() -> LocalSessionManager {
    let mut config = SessionConfig::default();
    config.sse_retry = None;
    config.keep_alive = Some(SESSION_IDLE);
    let mut manager = LocalSessionManager::default();
    manager.session_config = config;
    manager
}

/// Refuses what may open one session too many; rmcp sets no bound.
async fn refuse_when_full(
    State(sessions): State<Arc<LocalSessionManager>>,
    request: Request,
    next: Next,
) -> Response {
    if opens_session(&request) && sessions.sessions.read().await.len() >= MAX_SESSIONS {
        return full();
    }
    next.run(request).await
}

/// Whether rmcp may open a session for it: since 2026-07-28 there are none.
fn opens_session(request: &Request) -> bool {
    let version = request.headers().get(VERSION_HEADER);
    let is_modern = version.is_some_and(|version| {
        version.as_bytes() >= ProtocolVersion::V_2026_07_28.as_str().as_bytes()
    });
    !is_modern && !request.headers().contains_key(SESSION_HEADER)
}

/// The answer to one client too many.
pub(super) fn full() -> Response {
    tracing::warn!(limit = MAX_SESSIONS, "too many MCP sessions are open");
    let text = "Too many MCP sessions are open; close some or try again later.";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
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
