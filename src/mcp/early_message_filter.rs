//! Drops the notifications that a client sends before its first request. rmcp, the library for MCP, stops serving a
//! client whose first message is a notification. Some clients send one right after their first probe (`ping` or
//! `server/discover`).

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, GetMeta, ProtocolVersion};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;

/// A transport that wraps another one. Until the conversation has begun, it passes on only requests, and drops all
/// other messages.
pub(super) struct EarlyMessageFilter<T> {
    inner: T,
    begun: bool,
}

impl<T> EarlyMessageFilter<T> {
    /// Wraps a transport from which no message was read yet.
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner,
            begun: false,
        }
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for EarlyMessageFilter<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            let message = self.inner.receive().await?;
            self.begun = self.begun || begins(&message);
            if self.begun || matches!(message, ClientJsonRpcMessage::Request(_)) {
                return Some(message);
            }
            tracing::debug!("dropped a message that came before the client's first request");
        }
    }

    fn close(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.inner.close()
    }
}

/// Returns whether rmcp begins the conversation with this message: an `initialize`, or a request that has the complete
/// metadata of version 2026-07-28 and is not a probe (`ping`, `server/discover`).
fn begins(message: &RxJsonRpcMessage<RoleServer>) -> bool {
    let ClientJsonRpcMessage::Request(request) = message else {
        return false;
    };
    if matches!(request.request, ClientRequest::InitializeRequest(_)) {
        return true;
    }
    let is_probe = matches!(
        request.request,
        ClientRequest::PingRequest(_) | ClientRequest::DiscoverRequest(_)
    );
    let meta = request.request.get_meta();
    let is_complete = meta
        .missing_required_keys(&ProtocolVersion::V_2026_07_28)
        .is_empty();
    let is_known = meta
        .protocol_version()
        .is_some_and(|version| ProtocolVersion::KNOWN_VERSIONS.contains(&version));
    !is_probe && is_complete && is_known
}

#[cfg(test)]
mod tests {
    use rmcp::transport::async_rw::AsyncRwTransport;
    use serde_json::{Value, json};

    use super::*;

    const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

    /// Returns the methods of the messages in `lines` that the filter passes on.
    async fn received(lines: &[&str]) -> Vec<Value> {
        let input = lines.join("\n") + "\n";
        let transport = AsyncRwTransport::new(input.as_bytes(), tokio::io::sink());
        let mut patient = EarlyMessageFilter::new(transport);
        let mut methods = Vec::new();
        while let Some(message) = patient.receive().await {
            let message = serde_json::to_value(&message).expect("JSON");
            methods.push(message["method"].clone());
        }
        methods
    }

    fn request(method: &str, params: &Value) -> String {
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
    }

    #[tokio::test]
    async fn a_notification_before_initialize_is_dropped_and_after_it_kept() {
        let initialize = request(
            "initialize",
            &json!({"protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"}}),
        );
        let ping = request("ping", &json!({}));
        let lines = [INITIALIZED, &ping, INITIALIZED, &initialize, INITIALIZED];
        assert_eq!(
            received(&lines).await,
            ["ping", "initialize", "notifications/initialized"]
        );
    }

    #[tokio::test]
    async fn a_conversation_without_initialize_begins_with_its_first_complete_request() {
        let meta = json!({"_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }});
        let discover = request("server/discover", &meta);
        let list = request("tools/list", &meta);
        let lines = [&discover, INITIALIZED, &list, INITIALIZED];
        assert_eq!(
            received(&lines).await,
            ["server/discover", "tools/list", "notifications/initialized"]
        );
    }
}
