//! A client of the HTTP+SSE transport of 2024-11-05, which rmcp's own has no more, and how conversations
//! over it end.

use std::future::ready;
use std::pin::Pin;

use futures_util::{Sink, Stream, StreamExt, sink};
use meter_sync::config::Setting;
use reqwest::Client;
use rmcp::RoleClient;
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use serde_json::{Value, json};

use super::client::Assistant;
use super::{METERS, STATUS, TRIGGER};
use crate::support::event_stream::events;
use crate::support::http_server::{HttpServer, send};
use crate::support::site::Site;
use crate::support::wait;

type Outbox = Pin<Box<dyn Sink<TxJsonRpcMessage<RoleClient>, Error = reqwest::Error> + Send>>;
type Inbox = Pin<Box<dyn Stream<Item = RxJsonRpcMessage<RoleClient>> + Send>>;

/// Opens a conversation.
pub(super) async fn connect(address: &str, token: Option<&str>) -> (Outbox, Inbox) {
    let authorized = move |request: reqwest::RequestBuilder| match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let client = Client::new();
    let opened = authorized(client.get(format!("http://{address}/sse")));
    let mut events = Box::pin(events(send(opened).await));
    let (name, endpoint) = events.next().await.expect("a first event");
    assert_eq!(name, "endpoint");
    let url = format!("http://{address}{endpoint}");
    let token = token.map(str::to_owned);
    let outbox = sink::unfold((), move |(), message| {
        let mut said = client.post(&url).json(&message);
        if let Some(token) = &token {
            said = said.bearer_auth(token);
        }
        async move { said.send().await?.error_for_status().map(drop) }
    });
    let inbox = events.filter_map(|(name, data)| {
        let message = (name == "message").then(|| serde_json::from_str(&data));
        ready(message.map(|read| read.unwrap_or_else(|error| panic!("{error}: {data}"))))
    });
    (Box::pin(outbox), Box::pin(inbox))
}

/// Where the first event says to answer.
async fn endpoint(
    served: &HttpServer,
) -> (String, Pin<Box<dyn Stream<Item = (String, String)> + Send>>) {
    let mut events = Box::pin(events(send(served.request("GET /sse")).await));
    let (_, endpoint) = events.next().await.expect("a first event");
    (format!("POST {endpoint}"), events)
}

fn ping() -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})
}

#[tokio::test]
async fn a_conversation_ends_with_its_stream() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    let (endpoint, events) = endpoint(&served).await;
    let said = async || send(served.request(&endpoint).json(&ping())).await.status();
    assert_eq!(said().await, 202);
    drop(events);
    wait::until("the conversation has ended", async || said().await == 404).await;
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_conversation_goes_on() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    let (endpoint, mut events) = endpoint(&served).await;
    for (line, body, status) in [
        (endpoint.as_str(), "no JSON", 400),
        (&endpoint, "{\"jsonrpc\": \"2.0\"}", 400),
        ("POST /messages", "{}", 400),
        ("POST /messages?sessionId=1", "{}", 400),
        (
            "POST /messages?sessionId=00000000-0000-4000-8000-000000000000",
            "{}",
            404,
        ),
    ] {
        let answer = send(served.request(line).body(body)).await;
        assert_eq!(answer.status(), status, "{line} {body}");
        let said = answer.text().await.expect("text");
        assert!(!said.is_empty(), "{line} {body}");
    }
    let twice = r#"{"jsonrpc": "2.0", "id": 7, "method": "ping", "method": "tools/list"}"#;
    let refused = send(served.request(&endpoint).body(twice)).await;
    assert_eq!(refused.status(), 400);
    let told: Value = refused.json().await.expect("JSON");
    assert_eq!(
        (&told["id"], &told["error"]["code"]),
        (&json!(7), &json!(-32600))
    );
    assert_eq!(
        send(served.request(&endpoint).json(&ping())).await.status(),
        202
    );
    let (name, data) = events.next().await.expect("an answer");
    let answer: Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!((name.as_str(), &answer["id"]), ("message", &json!(1)));
}

#[tokio::test]
async fn a_conversation_is_closed_to_every_other_token() {
    let site = Site::new().await;
    let tokens = "read:0123456789abcdef,trigger:fedcba9876543210";
    let served = HttpServer::new(&site.settings().with(Setting::Tokens, tokens)).await;
    let opened = served.request("GET /sse").bearer_auth("fedcba9876543210");
    let mut events = Box::pin(events(send(opened).await));
    let (_, endpoint) = events.next().await.expect("a first event");
    for (token, status) in [("0123456789abcdef", 404), ("fedcba9876543210", 202)] {
        let said = served.request(&format!("POST {endpoint}"));
        let said = said.bearer_auth(token).json(&ping());
        assert_eq!(send(said).await.status(), status);
    }
}

#[tokio::test]
async fn a_token_for_reading_reads_and_is_shown_no_trigger() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    let tokens = "read:0123456789abcdef,trigger:ann:fedcba9876543210";
    let served = HttpServer::new(&site.settings().with(Setting::Tokens, tokens)).await;
    let reader = Assistant::at_sse(&served.address, Some("0123456789abcdef")).await;
    assert_eq!(reader.tools.as_array().expect("tools").len(), 1);
    assert_eq!(reader.ask(STATUS, json!({})).await["health"], "never_run");
    assert!(
        reader
            .refused(TRIGGER, json!({}))
            .await
            .contains("[READ_ONLY]")
    );
    let operator = Assistant::at_sse(&served.address, Some("fedcba9876543210")).await;
    assert_eq!(
        operator.ask(TRIGGER, json!({})).await["outcome"],
        "succeeded"
    );
    let status = operator.ask(STATUS, json!({})).await;
    assert_eq!(
        status["last_run"]["actor"], "ann",
        "not what the client calls itself"
    );
}
