//! Sessions of `/mcp`, as clients before 2026-07-28 hold them.

use reqwest::RequestBuilder;
use serde_json::json;

use crate::support::served::{Served, send};
use crate::support::site::Site;

fn initialize(served: &Served) -> RequestBuilder {
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "by hand", "version": "0"}}});
    served
        .request("POST /mcp")
        .header("accept", "application/json, text/event-stream")
        .json(&hello)
}

/// The official Python client warns of any answer but 200 and 204.
#[tokio::test]
async fn the_end_of_a_session_is_answered_as_done() {
    let site = Site::new().await;
    let served = Served::new(&site.settings()).await;
    let begun = send(initialize(&served)).await;
    let session = begun.headers()["mcp-session-id"].clone();
    let end = served
        .request("DELETE /mcp")
        .header("mcp-session-id", session.clone());
    assert_eq!(send(end).await.status(), 204);
    let after = initialize(&served).header("mcp-session-id", session);
    assert_eq!(send(after).await.status(), 404);
}
