//! What a client says, and whether it was answered right.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const WITH_SESSION: &str = "2025-11-25";
pub(crate) const WITH_SSE: &str = "2024-11-05";

pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The name of the tool that is called.
pub(crate) const STATUS: &str = "meter_sync_status";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// `ping`: the way there and back, and nothing more.
    Ping,
    /// A call of the tool, at a site of so many meters.
    Status(i64),
    /// The same as version 2026-07-28 has it.
    ModernStatus(i64),
}

impl Question {
    /// The request.
    pub(crate) fn request(self, id: u64) -> String {
        match self {
            Self::Ping => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#),
            Self::Status(_) => format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{STATUS}","arguments":{{}}}}}}"#
            ),
            Self::ModernStatus(_) => format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{STATUS}","arguments":{{}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{{"name":"bench","version":"1"}}}}}}}}"#
            ),
        }
    }

    /// Holds an answer against what is known of the site.
    pub(crate) fn check(self, id: u64, answer: &[u8]) -> Result<()> {
        let told: Value = serde_json::from_slice(answer).with_context(|| shown(answer))?;
        let is_answer = told.get("id").and_then(Value::as_u64) == Some(id);
        ensure!(is_answer && told.get("result").is_some(), "{told}");
        let meters = match self {
            Self::Ping => return Ok(()),
            Self::Status(meters) | Self::ModernStatus(meters) => meters,
        };
        let field = |pointer: &str| told.pointer(pointer);
        let is_error = field("/result/isError").and_then(Value::as_bool);
        let health = field("/result/structuredContent/health").and_then(Value::as_str);
        let active = field("/result/structuredContent/meters/active").and_then(Value::as_i64);
        ensure!(
            (is_error, health, active) == (Some(false), Some("ok"), Some(meters)),
            "not the status that was expected: {told}"
        );
        Ok(())
    }
}

/// The request that begins a conversation.
pub(crate) fn initialize(version: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"bench","version":"1"}}}}}}"#
    )
}

/// Holds the answer to [`initialize`] against what was asked for.
pub(crate) fn check_initialized(version: &str, answer: &[u8]) -> Result<()> {
    let told: Value = serde_json::from_slice(answer).with_context(|| shown(answer))?;
    let agreed = told.pointer("/result/protocolVersion");
    ensure!(agreed.and_then(Value::as_str) == Some(version), "{told}");
    Ok(())
}

fn shown(answer: &[u8]) -> String {
    format!("no JSON: {}", String::from_utf8_lossy(answer))
}
