//! Ends event streams when the token that opened them becomes invalid.
//!
//! A token is checked only when a request arrives, but an event stream can stay open for days. So a stream that answers
//! a GET ends soon after its token is removed from the token file or its access token expires. The client then connects
//! again, and its token is checked again. Other responses end by themselves, so they are not watched.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::StreamExt;

use crate::config::{Token, Tokens};
use crate::machine_clock;

/// How often the token of an open stream is checked.
const INTERVAL: Duration = Duration::from_secs(2);

/// Returns the response. If it is an event stream that answers a GET, the stream ends when `token` has expired or is no
/// longer one of `tokens`.
pub(super) fn end_with_token(
    method: &Method,
    response: Response,
    token: Token,
    tokens: Tokens,
) -> Response {
    if method != Method::GET || !is_event_stream(&response) {
        return response;
    }
    response.map(|body| {
        let ended = Box::pin(until_it_stops_counting(token, tokens));
        Body::from_stream(body.into_data_stream().take_until(ended))
    })
}

fn is_event_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

async fn until_it_stops_counting(token: Token, tokens: Tokens) {
    while counts(&token, &tokens) {
        tokio::time::sleep(INTERVAL).await;
    }
}

fn counts(token: &Token, tokens: &Tokens) -> bool {
    match token.expires_at {
        Some(end) => machine_clock::now() < end,
        None => tokens.holds(token),
    }
}
