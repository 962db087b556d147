//! Serves MCP over HTTP with server-sent events, the transport of protocol version 2024-11-05, for clients that know no
//! other transport (<https://modelcontextprotocol.io/specification/2024-11-05/basic/transports#http-with-sse>). Each
//! client reads one stream of events, and sends its messages by POST to the address in the first event.
//!
//! The conversation is a future that runs inside the body of the event stream, so it ends whenever the stream ends.

use std::collections::HashMap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use rmcp::model::ClientJsonRpcMessage;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::early_message_filter::EarlyMessageFilter;
use super::message_parser;
use super::sessions::{MAX_SESSIONS, SESSION_IDLE, full, is_same};
use crate::config::Token;

const STREAM_PATH: &str = "/sse";
const MESSAGES_PATH: &str = "/messages";
/// How often a quiet stream sends a keep-alive comment. Proxies expect traffic, and a failed write reveals a dead
/// client.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How many messages of one client may be queued, in each direction.
const QUEUE: usize = 16;

/// Returns the routes: one for the event stream, one for the client's messages. `server` creates the MCP server of a
/// new client. `shutdown` ends the open streams.
pub(super) fn routes<S: ServerHandler>(
    server: impl Fn() -> S + Send + Sync + 'static,
    shutdown: CancellationToken,
) -> Router {
    let conversations = Conversations {
        serve: Arc::new(move |transport, shutdown| converse(server(), transport, shutdown).boxed()),
        shutdown,
        open: Arc::default(),
    };
    Router::new()
        .route(STREAM_PATH, get(open))
        .route(MESSAGES_PATH, post(post_message))
        .with_state(conversations)
}

/// The sender of the queue from which the MCP server reads a client's messages. The messages are boxed, because a tokio
/// queue reserves room for 32 messages, and a message of the crate rmcp takes 400 bytes.
type Inbox = mpsc::Sender<Box<ClientJsonRpcMessage>>;

/// An open conversation with one client.
#[derive(Clone)]
struct OpenConversation {
    inbox: Inbox,
    /// The token that opened the conversation; `None` if the server requires no token. Messages that come with another
    /// token are refused.
    owner: Option<Token>,
}

/// The function that serves one client until its conversation ends.
type ServeFunction =
    dyn Fn(SseTransport, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync;

/// The open conversations, and what both routes need to serve them.
#[derive(Clone)]
struct Conversations {
    serve: Arc<ServeFunction>,
    shutdown: CancellationToken,
    open: Arc<Mutex<HashMap<Uuid, OpenConversation>>>,
}

impl Conversations {
    fn open(&self) -> MutexGuard<'_, HashMap<Uuid, OpenConversation>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a conversation. Returns `None` if too many are open.
    fn enter(&self, conversation: OpenConversation) -> Option<ConversationGuard> {
        // If the server requires no token, this id is all that a client must know, so it must not be guessable.
        let id = Uuid::new_v4();
        let mut open = self.open();
        if open.len() >= MAX_SESSIONS {
            return None;
        }
        open.insert(id, conversation);
        Some(ConversationGuard {
            id,
            conversations: self.clone(),
        })
    }
}

/// An entry among the open conversations. Dropping it removes the entry.
struct ConversationGuard {
    id: Uuid,
    conversations: Conversations,
}

impl Drop for ConversationGuard {
    fn drop(&mut self) {
        self.conversations.open().remove(&self.id);
    }
}

/// Serves one client until the conversation ends: because the client sends nothing for [`SESSION_IDLE`], because the
/// process shuts down, or because the opening handshake fails.
async fn converse<S: ServerHandler>(
    server: S,
    transport: SseTransport,
    shutdown: CancellationToken,
) {
    // Boxed, so that the memory for the opening handshake is freed after it.
    let begun = Box::pin(server.serve_with_ct(EarlyMessageFilter::new(transport), shutdown)).await;
    let ended = async { anyhow::Ok(begun?.waiting().await?) };
    if let Err(error) = ended.await {
        tracing::debug!(%error, "a conversation over SSE broke off");
    }
}

/// `GET /sse`: opens a conversation, and answers with its event stream.
async fn open(
    State(conversations): State<Conversations>,
    owner: Option<Extension<Token>>,
) -> Response {
    let (inbox, heard) = mpsc::channel(QUEUE);
    let (outbox, mut said) = mpsc::channel(QUEUE);
    let owner = owner.map(|Extension(token)| token);
    let Some(entered) = conversations.enter(OpenConversation { inbox, owner }) else {
        return full();
    };
    let address = format!("{MESSAGES_PATH}?sessionId={}", entered.id);
    let first = Event::default().event("endpoint").data(address);
    let shutdown = conversations.shutdown.child_token();
    let served = (conversations.serve)(SseTransport { outbox, heard }, shutdown);
    let conversation = served.map(|()| drop(entered));
    let messages = stream::poll_fn(move |context| said.poll_recv(context));
    let messages = messages.map(|message| Event::default().event("message").json_data(message));
    // This stream yields no event. Polling it runs the conversation.
    let going_on = stream::once(conversation).filter_map(|()| ready(None));
    let events = stream::iter([Ok(first)]).chain(stream::select(messages, going_on));
    let events = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Without this header, nginx buffers the events.
    ([("x-accel-buffering", "no")], events).into_response()
}

/// The query of the address to which a client sends its messages: the id of its conversation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SessionQuery {
    session_id: Uuid,
}

/// `POST /messages`: accepts a client's message. The answer is sent as an event on the client's stream.
async fn post_message(
    State(conversations): State<Conversations>,
    Query(session): Query<SessionQuery>,
    parts: Parts,
    body: Body,
) -> Response {
    let open = conversations.open().get(&session.session_id).cloned();
    let token = parts.extensions.get::<Token>();
    let open = open.filter(|open| is_same(open.owner.as_ref(), token));
    let Some(OpenConversation { inbox, .. }) = open else {
        let text = "There is no such MCP session, or it has ended: open one by GET /sse.";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let body = match message_parser::read_body(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let mut message = match message_parser::read(&body) {
        Ok(message) => message,
        Err(no_message) => return no_message.into_response(),
    };
    message.insert_extension(parts);
    match inbox.try_send(Box::new(message)) {
        Ok(()) => (StatusCode::ACCEPTED, "Accepted").into_response(),
        Err(_full_or_closed) => {
            let text = "The session takes no message now: wait for answers, or open another one.";
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

/// Carries the messages of one conversation between the HTTP handlers and the MCP server.
struct SseTransport {
    outbox: mpsc::Sender<Box<TxJsonRpcMessage<RoleServer>>>,
    heard: mpsc::Receiver<Box<ClientJsonRpcMessage>>,
}

impl Transport<RoleServer> for SseTransport {
    type Error = mpsc::error::SendError<Box<TxJsonRpcMessage<RoleServer>>>;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let outbox = self.outbox.clone();
        async move { outbox.send(Box::new(message)).await }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        let heard = tokio::time::timeout(SESSION_IDLE, self.heard.recv()).await;
        heard.ok().flatten().map(|message| *message)
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.heard.close();
        Ok(())
    }
}
