//! The status card `ui://meter-sync/status`: an HTML page that an MCP host shows inside a conversation. It shows the
//! status of the sync, a button to sync and a button to preview a sync. It uses the MCP Apps extension
//! (<https://github.com/modelcontextprotocol/ext-apps/blob/main/specification/2026-01-26/apps.mdx>).
//!
//! A host that supports the extension shows the card with a tool's result, and lets the card call the tools. The card
//! loads nothing and connects only to its host. Every host gets `_meta.ui`, because some hosts show cards without
//! saying that they support the extension; other hosts ignore `_meta.ui`.

use std::sync::LazyLock;

use rmcp::model::{MetaObject, ReadResourceResult, Resource, ResourceContents};
use serde_json::{Value, json};

use crate::badges::icons::{Icon, RING};
use crate::badges::{self, Badge};
use crate::model::{Health, RunOutcome};

/// The URI of the status card.
pub(super) const URI: &str = "ui://meter-sync/status";
/// The media type that tells a host that this HTML is a card.
const MIME_TYPE: &str = "text/html;profile=mcp-app";
const TEMPLATE: &str = include_str!("status_card/status.html");
/// The text in the template that is replaced by [`looks_in_script`].
const LOOKS: &str = "/* LOOKS */";

static CARD: LazyLock<String> = LazyLock::new(|| TEMPLATE.replace(LOOKS, &looks_in_script()));

/// Returns the card's entry in `resources/list`.
pub(super) fn resource() -> Resource {
    Resource::new(URI, "status-card")
        .with_title("Meter sync card")
        .with_description(
            "The status as a card for hosts that show MCP Apps, with buttons to preview and to start a sync.",
        )
        .with_mime_type(MIME_TYPE)
        .with_meta(display())
}

/// Returns the card's content, as `resources/read` gives it.
pub(super) fn read() -> ReadResourceResult {
    let contents = ResourceContents::text(CARD.as_str(), URI)
        .with_mime_type(MIME_TYPE)
        .with_meta(display());
    ReadResourceResult::new(vec![contents])
}

/// Returns JavaScript constants for the card's script: the icons, and the word, icon and colour class for each health
/// state and each outcome of a run.
fn looks_in_script() -> String {
    let entry = |name: &str, Badge { word, icon, tone }: Badge| {
        format!("{name}:['{word}','{}','{tone}']", icon.name())
    };
    let icons = Icon::ALL.map(|icon| match icon.path().strip_prefix(RING) {
        Some(inside) => format!("{}:RING+'{inside}'", icon.name()),
        None => format!("{}:'{}'", icon.name(), icon.path()),
    });
    let health = Health::ALL.iter();
    let health = health.map(|health| entry(health.as_str(), badges::health(*health)));
    let outcomes = RunOutcome::ALL.iter().chain(&[RunOutcome::Unknown]);
    let outcomes = outcomes.map(|outcome| entry(outcome.as_str(), badges::outcome(Some(*outcome))));
    format!(
        "const RING='{RING}';\nconst ICONS={{{}}};\nconst HEALTH={{{}}};\nconst OUTCOME={{{}}};",
        icons.join(","),
        health.collect::<Vec<_>>().join(","),
        outcomes.collect::<Vec<_>>().join(",")
    )
}

/// Returns the `_meta` of a tool, which tells the host to show the tool's results in the card.
pub(super) fn shows_results() -> MetaObject {
    ui(json!({"resourceUri": URI}))
}

/// Returns the `_meta` that asks the host to draw a border around the card, and to let the card connect to no domain.
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

    /// Data from the databases is untrusted text, and the card may contact only its host.
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
