//! Checks a POST to `/mcp` before rmcp, the library for MCP, reads it. Adds the media types that rmcp requires to the
//! `Accept` header of a POST or GET.
//!
//! Without this check, rmcp answers a body that it cannot parse with an error about the media type. rmcp also requires
//! that `Accept` names all media types of the answers, although HTTP lets a client leave `Accept` out (RFC 9110,
//! section 12.5.1).

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::message_parser;
use crate::arguments::parse_json::is_json;

/// The media types of the answers to a POST, as rmcp requires them in `Accept`.
const ANSWERS: &str = "application/json, text/event-stream";
/// The media type of the stream that a GET opens.
const STREAM: &str = "text/event-stream";

/// Answers a POST with an error if its `Content-Type` is JSON but its body is not a valid message. Passes every other
/// request on to rmcp.
pub(super) async fn check(mut request: Request, next: Next) -> Response {
    accept(&mut request);
    if request.method() != Method::POST || !is_json(request.headers().get(CONTENT_TYPE)) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = match message_parser::read_body(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    match message_parser::read(&body) {
        Ok(_) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(no_message) => no_message.into_response(),
    }
}

/// Sets `Accept` to the media types that rmcp requires, if the client accepts all of these or sends no `Accept`.
fn accept(request: &mut Request) {
    let ours = match *request.method() {
        Method::POST => ANSWERS,
        Method::GET => STREAM,
        _ => return,
    };
    let headers = request.headers_mut();
    let given = headers.get_all(ACCEPT).iter();
    let given: Vec<_> = given.filter_map(|value| value.to_str().ok()).collect();
    let ranges: Vec<_> = given.iter().flat_map(|value| value.split(',')).collect();
    if ranges.is_empty() || ours.split(", ").all(|name| takes(&ranges, name)) {
        headers.insert(ACCEPT, HeaderValue::from_static(ours));
    }
}

/// Returns whether one of the media ranges of `Accept` includes the media type `name`. A range with the weight 0 does
/// not count.
fn takes(ranges: &[&str], name: &str) -> bool {
    let kind = name.split('/').next().unwrap_or_default();
    ranges.iter().any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let range = parts.next().unwrap_or_default().to_ascii_lowercase();
        let is_refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse() == Ok(0.0))
        });
        let is_wide = range == "*/*" || range == format!("{kind}/*");
        !is_refused && (is_wide || range == name)
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn accepted(method: Method, given: &[&str]) -> Option<String> {
        let mut request = Request::builder().method(method).uri("/mcp");
        for value in given {
            request = request.header(ACCEPT, *value);
        }
        let mut request = request.body(Body::empty()).expect("a request");
        accept(&mut request);
        let mut values = request.headers().get_all(ACCEPT).iter();
        values
            .next()
            .map(|value| value.to_str().expect("ASCII").to_owned())
    }

    #[test]
    fn a_client_that_takes_any_type_is_given_ours() {
        for given in [
            &[][..],
            &["*/*"],
            &["text/html, */*;q=0.1"],
            &["application/*", "text/*"],
            &["Application/JSON, text/event-stream"],
        ] {
            assert_eq!(
                accepted(Method::POST, given).as_deref(),
                Some(ANSWERS),
                "{given:?}"
            );
        }
        assert_eq!(accepted(Method::GET, &["*/*"]).as_deref(), Some(STREAM));
    }

    #[test]
    fn a_client_that_takes_none_of_ours_is_left_to_rmcp() {
        for given in [
            "application/json",
            "text/html",
            "*/*;q=0",
            "application/*, text/*;q=0.0",
        ] {
            assert_eq!(accepted(Method::POST, &[given]).as_deref(), Some(given));
        }
    }
}
