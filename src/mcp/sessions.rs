//! Limits the number of streamable HTTP sessions, and lets only the token that opened a session use it.
//!
//! A session is a conversation with the client that opened it, including questions to its user. So the holder of
//! another token cannot use the session, even after seeing its id in a log. All access tokens of one subject count as
//! one token, because clients renew access tokens during a session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use serde::Deserialize;

use super::message_parser;
use crate::config::Token;

const SESSION_HEADER: &str = "mcp-session-id";
/// How long a session may be idle before it is closed. An assistant that is left open over lunch keeps its session; a
/// session that its client never closed ends on the same day.
pub(super) const SESSION_IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// How many sessions may be open. An idle session takes about 80 kB: 60 kB in the crate rmcp, mostly for its queues,
/// and 20 kB for its connection.
pub(super) const MAX_SESSIONS: usize = 1000;

/// The open sessions, which the crate rmcp manages, and the tokens that opened them, which rmcp does not know.
#[derive(Clone)]
pub(super) struct Sessions {
    manager: Arc<LocalSessionManager>,
    /// The token that opened each session, by session id. Empty if the server requires no token.
    owners: Arc<Mutex<HashMap<String, Token>>>,
}

impl Sessions {
    pub(super) fn new(manager: Arc<LocalSessionManager>) -> Self {
        Self {
            manager,
            owners: Arc::default(),
        }
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<String, Token>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn are_full(&self) -> bool {
        self.manager.sessions.read().await.len() >= MAX_SESSIONS
    }

    async fn opened(&self, id: &str, owner: Token) {
        let open = self.manager.sessions.read().await;
        let mut owners = self.owners();
        owners.retain(|id, _| open.contains_key(id.as_str()));
        owners.insert(id.to_owned(), owner);
    }

    /// Returns whether the holder of this token opened the session. Also true if it is not known who opened it.
    fn are_of(&self, id: &str, token: Option<&Token>) -> bool {
        self.owners()
            .get(id)
            .is_none_or(|owner| is_same(Some(owner), token))
    }
}

/// Returns whether both tokens belong to one holder, or both are absent. Does not check that the tokens are valid;
/// `http::guards` does that.
pub(super) fn is_same(one: Option<&Token>, other: Option<&Token>) -> bool {
    one.map(Token::identity) == other.map(Token::identity)
}

/// Refuses a request that would open a session beyond the limit, or that uses a session that another token opened.
pub(super) async fn check(
    State(sessions): State<Sessions>,
    request: Request,
    next: Next,
) -> Response {
    let token = request.extensions().get::<Token>().cloned();
    if let Some(id) = session(request.headers()) {
        return match sessions.are_of(id, token.as_ref()) {
            true => next.run(request).await,
            false => (StatusCode::NOT_FOUND, "There is no such MCP session.").into_response(),
        };
    }
    let request = match sessions.are_full().await {
        true => match refuse_initialize(request).await {
            Ok(request) => request,
            Err(refusal) => return refusal,
        },
        false => request,
    };
    let response = next.run(request).await;
    if let (Some(id), Some(token)) = (session(response.headers()), token) {
        sessions.opened(id, token).await;
    }
    response
}

fn session(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_HEADER)?.to_str().ok()
}

/// The method of a JSON-RPC message; all other members are ignored. `None` if the message is a response.
#[derive(Deserialize)]
struct MessageMethod {
    method: Option<String>,
}

/// Used when no more sessions may be opened. Returns the request, or an error response if it is an `initialize`,
/// because only an `initialize` opens a session, whatever protocol version the headers name.
async fn refuse_initialize(request: Request) -> Result<Request, Response> {
    let (parts, body) = request.into_parts();
    let body = message_parser::read_body(body).await?;
    let message = serde_json::from_slice(&body).unwrap_or(MessageMethod { method: None });
    match message.method.as_deref() {
        Some("initialize") => Err(full()),
        Some(_) | None => Ok(Request::from_parts(parts, Body::from(body))),
    }
}

/// Returns the answer to a client that would open a session beyond the limit.
pub(super) fn full() -> Response {
    tracing::warn!(limit = MAX_SESSIONS, "too many MCP sessions are open");
    let text = "Too many MCP sessions are open; close some or try again later.";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}
