//! Sessions of `/mcp`, as clients before 2026-07-28 hold them.

use meter_sync::config::Setting;
use reqwest::RequestBuilder;
use serde_json::json;

use crate::support::http_server::{HttpServer, send};
use crate::support::site::Site;

fn initialize(served: &HttpServer) -> RequestBuilder {
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "by hand", "version": "0"}}});
    served
        .request("POST /mcp")
        .header("accept", "application/json, text/event-stream")
        .json(&hello)
}

/// RFC 9110, section 12.5.1: without `Accept`, any type is taken.
#[tokio::test]
async fn a_client_that_takes_any_type_is_answered() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    for accept in [None, Some("*/*")] {
        let hello = initialize(&served).build().expect("a request");
        let mut request = served
            .request("POST /mcp")
            .header("content-type", "application/json")
            .body(
                hello
                    .body()
                    .and_then(|body| body.as_bytes())
                    .expect("a body")
                    .to_vec(),
            );
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        assert_eq!(send(request).await.status(), 200, "{accept:?}");
    }
    let narrow = initialize(&served).build().expect("a request");
    let body = narrow.body().and_then(|body| body.as_bytes());
    let narrow = served
        .request("POST /mcp")
        .header("accept", "text/html")
        .header("content-type", "application/json")
        .body(body.expect("a body").to_vec());
    assert_eq!(send(narrow).await.status(), 406);
}

#[tokio::test]
async fn a_body_that_is_no_message_is_a_bad_request_with_a_code_of_json_rpc() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    for (body, code, id) in [
        ("{", -32700, json!(null)),
        (
            r#"{"jsonrpc":"2.0","id":1,"METHOD":"ping"}"#,
            -32600,
            json!(1),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
            -32600,
            json!(null),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"meter_sync_trigger",
                "arguments":{"dry_run":true,"dry_run":false}}}"#,
            -32600,
            json!(1),
        ),
    ] {
        let request = served
            .request("POST /mcp")
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(body);
        let answer = send(request).await;
        assert_eq!(answer.status(), 400, "{body}");
        let told: serde_json::Value = answer.json().await.expect("JSON");
        assert_eq!(
            (&told["error"]["code"], &told["id"]),
            (&json!(code), &id),
            "{told}"
        );
    }
}

/// A client that is refused for want of a token asks there how to get one.
#[tokio::test]
async fn a_client_that_looks_for_oauth_is_told_in_json_that_there_is_none() {
    let site = Site::new().await;
    let tokens = site
        .settings()
        .with(Setting::Tokens, "trigger:0123456789abcdef");
    let served = HttpServer::new(&tokens).await;
    for path in [
        "oauth-protected-resource",
        "oauth-protected-resource/mcp",
        "oauth-authorization-server",
    ] {
        let asked = served
            .request(&format!("GET /.well-known/{path}"))
            .header("accept", "text/html, */*");
        let answer = send(asked).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn the_events_of_sse_are_not_held_back_by_a_proxy() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    let stream = send(served.request("GET /sse")).await;
    assert_eq!(stream.headers()["x-accel-buffering"], "no");
}

/// The official Python client warns of any answer but 200 and 204.
#[tokio::test]
async fn the_end_of_a_session_is_answered_as_done() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    let begun = send(initialize(&served)).await;
    let session = begun.headers()["mcp-session-id"].clone();
    let end = served
        .request("DELETE /mcp")
        .header("mcp-session-id", session.clone());
    assert_eq!(send(end).await.status(), 204);
    let after = initialize(&served).header("mcp-session-id", session);
    assert_eq!(send(after).await.status(), 404);
}
