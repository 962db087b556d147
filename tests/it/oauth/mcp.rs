//! An MCP client with access tokens.

use reqwest::Response;
use serde_json::{Value, json};

use super::callers::key_file;
use super::issuer::{Signer, claims, claims_but};
use super::{METADATA, challenge, settings};
use crate::support::http_server::{HttpServer, send};
use crate::support::site::Site;

async fn say(served: &HttpServer, token: &str, session: Option<&str>, message: &Value) -> Response {
    let request = served
        .request("POST /mcp")
        .header("accept", "application/json, text/event-stream")
        .bearer_auth(token);
    let request = session
        .into_iter()
        .fold(request, |request, id| request.header("mcp-session-id", id));
    send(request.json(message)).await
}

fn hello() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "by hand", "version": "0"}}})
}

async fn tools(served: &HttpServer, token: &str, session: &str) -> Vec<String> {
    let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
    let answer = say(served, token, Some(session), &list)
        .await
        .text()
        .await
        .expect("a body");
    let json = answer
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .unwrap_or(&answer);
    let answer: Value = serde_json::from_str(json).expect("JSON");
    let tools = answer["result"]["tools"].as_array().expect("tools").iter();
    tools
        .map(|tool| tool["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test]
async fn a_client_learns_where_to_get_a_token_and_is_shown_the_tools_of_its_scope() {
    let site = Site::new().await;
    let signer = Signer::rsa("PS256");
    let file = key_file(&[("1", &signer)]);
    let served = HttpServer::new(&settings(&site, file.path().to_str().expect("a path"))).await;
    let bare = send(served.request("POST /mcp").json(&hello())).await;
    assert_eq!(bare.status(), 401);
    assert!(challenge(&bare).contains(&format!(r#"resource_metadata="{METADATA}""#)));
    for (scope, expected) in [
        ("meter-sync:read", &["meter_sync_status"][..]),
        (
            "meter-sync:trigger",
            &["meter_sync_status", "meter_sync_trigger"],
        ),
    ] {
        let token = signer.token("1", &claims(scope));
        let begun = say(&served, &token, None, &hello()).await;
        assert_eq!(begun.status(), 200, "{scope}");
        let session = begun.headers()["mcp-session-id"].to_str().expect("ASCII");
        assert_eq!(tools(&served, &token, session).await, expected, "{scope}");
    }
}

#[tokio::test]
async fn a_session_goes_on_with_a_renewed_token_of_the_same_subject_only() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let file = key_file(&[("1", &signer)]);
    let served = HttpServer::new(&settings(&site, file.path().to_str().expect("a path"))).await;
    let token = |others: Value| signer.token("1", &claims_but(&others));
    let begun = say(&served, &token(json!({})), None, &hello()).await;
    let session = begun.headers()["mcp-session-id"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let ping = json!({"jsonrpc": "2.0", "id": 3, "method": "ping"});
    for (others, status) in [
        (json!({"jti": "2"}), 200),
        (json!({"scope": "meter-sync:read"}), 200),
        (json!({"sub": "bob@example.com"}), 404),
        (json!({"client_id": "another"}), 404),
    ] {
        let answer = say(&served, &token(others.clone()), Some(&session), &ping).await;
        assert_eq!(answer.status(), status, "{others}");
    }
    let narrowed = token(json!({"scope": "meter-sync:read"}));
    assert_eq!(
        tools(&served, &narrowed, &session).await,
        ["meter_sync_status"]
    );
}
