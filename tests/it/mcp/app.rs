//! The card of the MCP Apps extension, as hosts find and read it; tests/judges/app shows it in a browser.

use rmcp::model::ReadResourceRequestParams;
use serde_json::{Value, json};

use super::client::{Assistant, EVERY_TRANSPORT, Transport, modern};
use super::{STATUS, TRIGGER};
use crate::support::site::Site;

const CARD: &str = "ui://meter-sync/status";
const MIME_TYPE: &str = "text/html;profile=mcp-app";

/// No leave to reach anything, and a frame of the host's.
fn display() -> Value {
    json!({"ui": {"csp": {"connectDomains": [], "resourceDomains": []}, "prefersBorder": true}})
}

async fn read(assistant: &Assistant) -> Value {
    let request = ReadResourceRequestParams::new(CARD);
    json!(
        assistant
            .client
            .read_resource(request)
            .await
            .expect("a card")
    )
}

#[tokio::test]
async fn the_card_is_listed_and_read_whichever_way_leads_to_it() {
    let site = Site::new().await;
    for transport in EVERY_TRANSPORT {
        assert_card(&Assistant::new(transport, &site, &[]).await, transport).await;
        assert_card(
            &Assistant::with_lifecycle(transport, &site, &[], modern()).await,
            transport,
        )
        .await;
    }
}

async fn assert_card(assistant: &Assistant, transport: Transport) {
    let listed = json!(assistant.client.list_all_resources().await.expect("a list"));
    let mut listed = listed.as_array().expect("a list").iter();
    let listed = listed.find(|resource| resource["uri"] == CARD);
    let read = read(assistant).await;
    assert_eq!(read["contents"].as_array().map(Vec::len), Some(1));
    let read = &read["contents"][0];
    assert_eq!(read["uri"], CARD, "{transport:?}");
    for told in [listed.expect("the card is listed"), read] {
        assert_eq!(told["mimeType"], MIME_TYPE, "{transport:?}");
        assert_eq!(told["_meta"], display(), "{transport:?}");
    }
    let html = read["text"].as_str().expect("text");
    assert!(html.starts_with("<!doctype html>"), "{transport:?}");
}

#[tokio::test]
async fn both_tools_name_the_card_their_results_are_shown_by() {
    let site = Site::new().await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    for tool in assistant.tools.as_array().expect("tools") {
        let shown_by = json!({"ui": {"resourceUri": CARD}});
        assert_eq!(tool["_meta"], shown_by, "{}", tool["name"]);
    }
}

/// What the card calls and reads by name is what the tools take and give.
#[tokio::test]
async fn the_card_speaks_of_tools_arguments_and_states_that_there_are() {
    let site = Site::new().await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let card = read(&assistant).await;
    let html = card["contents"][0]["text"].as_str().expect("text");
    let names = [
        STATUS,
        TRIGGER,
        "include_changes",
        "wait_seconds",
        "[READ_ONLY\\]",
    ];
    for name in names {
        assert!(html.contains(name), "{name}");
    }
    let whole = json!(meter_sync::mcp::whole_tools());
    let mut states = Vec::new();
    collect(&whole, "enum", &mut states);
    assert!(states.len() > 20, "{states:?}");
    for state in states {
        let is_code = state.chars().all(|c| c.is_ascii_uppercase() || c == '_');
        let is_shown = [format!("{state}:"), format!("'{state}'")];
        // words that the card tells by what is there, not by name
        let needs_no_word = ["idle", "finished", "waiting", "unknown"].contains(&&*state);
        // the words for where a meter went and how sides were proved equal, which the card shows as they are
        let shown_as_they_are = [
            "another_tenant",
            "deleted",
            "deleted_or_hidden",
            "unclear",
            "versions",
            "contents",
            "every_value",
        ];
        let needs_no_word = needs_no_word || shown_as_they_are.contains(&&*state);
        assert!(
            is_code || needs_no_word || is_shown.iter().any(|word| html.contains(word)),
            "{state}"
        );
    }
}

/// Every text in the lists that stand under this keyword.
fn collect(value: &Value, keyword: &str, found: &mut Vec<String>) {
    if let Some(listed) = value.get(keyword).and_then(Value::as_array) {
        found.extend(listed.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    if let Value::Object(members) = value {
        members
            .values()
            .for_each(|one| collect(one, keyword, found));
    } else if let Value::Array(items) = value {
        items.iter().for_each(|one| collect(one, keyword, found));
    }
}

#[tokio::test]
async fn who_may_only_read_still_has_the_card() {
    let site = Site::new().await;
    let more = [(meter_sync::config::Setting::ReadOnly, "true")];
    let assistant = Assistant::new(Transport::Memory, &site, &more).await;
    assert_eq!(assistant.tools.as_array().map(Vec::len), Some(1));
    assert_eq!(assistant.tools[0]["_meta"]["ui"]["resourceUri"], CARD);
    assert_eq!(read(&assistant).await["contents"][0]["uri"], CARD);
}
