//! How many conversations over HTTP are open at a time, and what is still answered beyond that.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request, Response, StatusCode};
use meter_sync::config::Token;
use meter_sync::mcp::{McpServer, streamable_http};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::site::{Site, mirrors};
use crate::support::stateless_request;

const MOST: usize = 1000;

async fn routes() -> (Site, Router) {
    let site = Site::new().await;
    let server = McpServer::new(mirrors(&site.settings()));
    let routes = streamable_http::routes(move || server.for_new_client(), CancellationToken::new());
    (site, routes)
}

async fn send(routes: &Router, request: Request<Body>) -> Response<Body> {
    routes.clone().oneshot(request).await.expect("infallible")
}

fn post(headers: &[(&str, &str)], body: &Value) -> Request<Body> {
    let mut request = Request::post("/mcp")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(Body::from(body.to_string()))
        .expect("a request")
}

fn initialize() -> Request<Body> {
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}});
    post(
        &[],
        &json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}),
    )
}

/// A request of the protocol without sessions.
fn list() -> Request<Body> {
    let method = "tools/list";
    post(
        &stateless_request::headers(method, None),
        &stateless_request::message(method, json!({})),
    )
}

#[tokio::test]
async fn one_session_too_many_is_refused_and_what_needs_none_is_answered() {
    let (_site, routes) = routes().await;
    let mut last = String::new();
    for _ in 0..MOST {
        let opened = send(&routes, initialize()).await;
        assert_eq!(opened.status(), StatusCode::OK);
        let id = opened.headers()["mcp-session-id"].to_str().expect("text");
        id.clone_into(&mut last);
    }
    let full = send(&routes, initialize()).await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    // Whatever version the headers name, to say hello opens a session.
    let mut modern = initialize();
    let version = HeaderValue::from_static("2026-07-28");
    modern.headers_mut().insert("mcp-protocol-version", version);
    let full = send(&routes, modern).await;
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    let listed = send(&routes, list()).await;
    assert_eq!(listed.status(), StatusCode::OK);
    let body = to_bytes(listed.into_body(), 100_000).await.expect("a body");
    let body = String::from_utf8(body.to_vec()).expect("UTF-8");
    assert!(body.contains("meter_sync_status"), "{body}");

    let end = Request::delete("/mcp")
        .header("host", "localhost")
        .header("mcp-session-id", last);
    let ended = send(&routes, end.body(Body::empty()).expect("a request")).await;
    assert_eq!(ended.status(), StatusCode::NO_CONTENT);
    let opened = send(&routes, initialize()).await;
    assert_eq!(opened.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_session_is_closed_to_every_other_token() {
    let (_site, routes) = routes().await;
    let with = |mut request: Request<Body>, secret: &str| {
        let token = Token::new(secret.to_owned(), true);
        request.extensions_mut().insert(token);
        request
    };
    let opened = send(&routes, with(initialize(), "first")).await;
    let id = opened.headers()["mcp-session-id"].to_str().expect("text");
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    let ping = || post(&[("mcp-session-id", id)], &ping);
    for (request, status) in [
        (with(ping(), "second"), StatusCode::NOT_FOUND),
        (ping(), StatusCode::NOT_FOUND),
        (with(ping(), "first"), StatusCode::OK),
    ] {
        assert_eq!(send(&routes, request).await.status(), status);
    }
}

#[tokio::test]
async fn one_stream_too_many_is_refused_until_another_ends() {
    let (_site, routes) = routes().await;
    let open = async || {
        let request = Request::get("/sse").body(Body::empty());
        send(&routes, request.expect("a request")).await
    };
    let mut streams = Vec::new();
    for _ in 0..MOST {
        let opened = open().await;
        assert_eq!(opened.status(), StatusCode::OK);
        streams.push(opened);
    }
    assert_eq!(open().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    streams.pop();
    assert_eq!(open().await.status(), StatusCode::OK);
}
