//! A stateless request of MCP, as in protocol version 2026-07-28.

use serde_json::{Value, json};

/// The headers of a request, apart from those of every HTTP request.
pub(crate) fn headers<'a>(method: &'a str, name: Option<&'a str>) -> Vec<(&'static str, &'a str)> {
    let named = name.map(|name| ("mcp-name", name));
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", method),
    ];
    headers.into_iter().chain(named).collect()
}

/// The message of a request with these parameters.
pub(crate) fn message(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}
