//! The card `ui://meter-sync/status`: the status and its two buttons inside a conversation, by the MCP Apps
//! extension (<https://github.com/modelcontextprotocol/ext-apps/blob/main/specification/2026-01-26/apps.mdx>).
//!
//! A host that knows the extension shows the card with a tool's result and lends it the tools; it asks no
//! one else and loads nothing. To every other host the tools are what they were: `_meta.ui` is told to all,
//! since not every host that shows cards says so first. The extension has nothing for a server to declare.

use rmcp::model::{MetaObject, ReadResourceResult, Resource, ResourceContents};
use serde_json::{Value, json};

/// The card's address.
pub(super) const URI: &str = "ui://meter-sync/status";
/// What tells a host that this HTML is a card.
const MIME_TYPE: &str = "text/html;profile=mcp-app";
const CARD: &str = include_str!("app/status.html");

/// The card as `resources/list` has it.
pub(super) fn resource() -> Resource {
    Resource::new(URI, "status-card")
        .with_title("Meter sync card")
        .with_description(
            "The status as a card for hosts that show MCP Apps, with buttons to preview and to start a sync.",
        )
        .with_mime_type(MIME_TYPE)
        .with_meta(display())
}

/// The card as `resources/read` gives it.
pub(super) fn read() -> ReadResourceResult {
    let contents = ResourceContents::text(CARD, URI)
        .with_mime_type(MIME_TYPE)
        .with_meta(display());
    ReadResourceResult::new(vec![contents])
}

/// What a tool says of itself whose results the card shows.
pub(super) fn shows_results() -> MetaObject {
    ui(json!({"resourceUri": URI}))
}

/// How a host is to show the card: with a frame of its own, and without leave to reach anything.
fn display() -> MetaObject {
    ui(json!({
        "csp": {"connectDomains": [], "resourceDomains": []},
        "prefersBorder": true,
    }))
}

fn ui(what: Value) -> MetaObject {
    let mut meta = MetaObject::new();
    meta.insert("ui".to_owned(), what);
    meta
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_is_small_and_whole() {
        assert!(CARD.len() <= 25_000, "{} bytes", CARD.len());
        assert!(CARD.starts_with("<!doctype html>"));
        assert!(CARD.trim_end().ends_with("</html>"));
    }

    /// Data is text from strangers, and the card has no one to ask but its host.
    #[test]
    fn the_card_loads_nothing_and_makes_no_markup_or_code_of_data() {
        for never in [
            "http:",
            "https:",
            "//cdn",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "fetch(",
            "XMLHttpRequest",
            "WebSocket",
            "import(",
            "@import",
            "url(",
            " src=",
            " href=\"h",
            "localStorage",
            "cookie",
            " onclick",
        ] {
            assert!(!CARD.contains(never), "{never}");
        }
    }
}
