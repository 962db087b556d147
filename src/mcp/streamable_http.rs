//! Serves MCP over HTTP: the streamable HTTP transport in this module, and the older SSE transport in `legacy_sse`.
//!
//! These routes do not check `Host`, `Origin` and the token: `http::guards` does that for all routes, and adds the
//! caller's token to the request's extensions as [`crate::config::Token`].

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

use super::legacy_sse;
use super::message_parser::MAX_BODY_BYTES;
use super::request_check;
use super::sessions::{self, SESSION_IDLE, Sessions};

/// The path of the streamable HTTP endpoint.
const PATH: &str = "/mcp";
/// Returns the routes of both transports. `server` is called for each new client and creates its MCP server. `shutdown`
/// ends the open streams.
pub fn routes<S: ServerHandler>(
    server: impl Fn() -> S + Clone + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Router {
    streamable(server.clone(), shutdown.clone()).merge(legacy_sse::routes(server, shutdown))
}

fn streamable<S: ServerHandler>(
    server: impl Fn() -> S + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Router {
    let sessions = Arc::new(manager());
    // The guards check `Host` and `Origin` for all routes, so rmcp need not.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_sse_retry(None) // rmcp's empty first event breaks simple clients
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
        .layer(middleware::from_fn(request_check::check))
}

fn manager() -> LocalSessionManager {
    let mut config = SessionConfig::default();
    config.sse_retry = None;
    config.keep_alive = Some(SESSION_IDLE);
    let mut manager = LocalSessionManager::default();
    manager.session_config = config;
    manager
}

/// Changes the status of the answer to a DELETE, which ends a session, from 202 to 204. The crate rmcp sends 202,
/// although the session has ended by then, and the official Python client warns about any status but 200 and 204.
async fn answer_the_end(request: Request, next: Next) -> Response {
    let ends = request.method() == Method::DELETE;
    let response = next.run(request).await;
    if ends && response.status() == StatusCode::ACCEPTED {
        return StatusCode::NO_CONTENT.into_response();
    }
    response
}
