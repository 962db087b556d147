//! The sessions of streamable HTTP: how many there are, and whose they are.
//!
//! A session is a conversation with whoever opened it, a user who is asked included. It is of no use with another
//! token, though the id may have been seen in a log. Access tokens of one subject are one token here, as they are
//! renewed while a session goes on.

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

use super::http::MAX_BODY_BYTES;
use crate::arguments::body;
use crate::config::Token;

const SESSION_HEADER: &str = "mcp-session-id";
/// An assistant left open over lunch finds its session again; one that never said goodbye is
/// forgotten the same day.
pub(super) const SESSION_IDLE: Duration = Duration::from_secs(4 * 60 * 60);
/// An idle session takes some 80 kB: 60 in rmcp, most of it the room of its queues, and 20 for its connection.
pub(super) const MAX_SESSIONS: usize = 1000;

/// What is known of them beyond what rmcp knows.
#[derive(Clone)]
pub(super) struct Sessions {
    manager: Arc<LocalSessionManager>,
    /// Who opened them, where tokens are set.
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

    /// Whether the session, if there is one, was opened by the holder of this token.
    fn are_of(&self, id: &str, token: Option<&Token>) -> bool {
        self.owners()
            .get(id)
            .is_none_or(|owner| is_same(Some(owner), token))
    }
}

/// Whether both tokens are of one holder; both passed the guards.
pub(super) fn is_same(one: Option<&Token>, other: Option<&Token>) -> bool {
    one.map(Token::identity) == other.map(Token::identity)
}

/// Lets a request on that opens no session too many, and goes to none of somebody else.
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
        true => match without_hello(request).await {
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

#[derive(Deserialize)]
struct Message {
    method: Option<String>,
}

/// The request, unless it says hello: only that opens a session, whatever version its headers name.
async fn without_hello(request: Request) -> Result<Request, Response> {
    let (parts, body) = request.into_parts();
    let body = body::read(body, MAX_BODY_BYTES).await;
    let body = body.map_err(|fault| (fault.status(), fault.detail()).into_response())?;
    let message = serde_json::from_slice(&body).unwrap_or(Message { method: None });
    match message.method.as_deref() {
        Some("initialize") => Err(full()),
        Some(_) | None => Ok(Request::from_parts(parts, Body::from(body))),
    }
}

/// The answer to one client too many.
pub(super) fn full() -> Response {
    tracing::warn!(limit = MAX_SESSIONS, "too many MCP sessions are open");
    let text = "Too many MCP sessions are open; close some or try again later.";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}
