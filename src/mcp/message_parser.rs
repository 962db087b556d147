//! Reads the messages of MCP clients, for every transport. A message in which a JSON object has the same name twice is
//! refused, because programs differ in which of the two values they use.

use std::fmt;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use rmcp::model::{ClientJsonRpcMessage, ErrorCode};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::arguments::parse_json::parse;
use crate::arguments::read_body_bytes;

/// The longest body of a request in bytes. A typical message, a tool call, has a few hundred bytes.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Reads the body of a request with one message. If it is too long, late or incomplete, returns the answer to the
/// client.
pub(super) async fn read_body(body: Body) -> Result<Bytes, Response> {
    let read = read_body_bytes::read(body, MAX_BODY_BYTES).await;
    read.map_err(|fault| (fault.status(), fault.detail()).into_response())
}

/// The reason why a text is not a valid message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidMessage {
    pub(super) code: ErrorCode,
    pub(super) message: String,
    /// The id to use in the error answer; null if the text has no usable id.
    pub(super) id: Value,
    /// Whether the text is a notification, which must not be answered (JSON-RPC 2.0, section 4.1).
    pub(super) is_notification: bool,
}

/// Parses the JSON text of one message.
pub(super) fn read(text: &[u8]) -> Result<ClientJsonRpcMessage, InvalidMessage> {
    let value = parse(text).map_err(|error| {
        let message = format!("The message is not JSON as it should be: {error}.");
        match error.is_data() {
            // The text is JSON, but an object has a name twice.
            true => invalid(text, message),
            false => InvalidMessage {
                code: ErrorCode::PARSE_ERROR,
                message,
                id: Value::Null,
                is_notification: false,
            },
        }
    })?;
    serde_json::from_value(value).map_err(|_untold| {
        let message = "This is no JSON-RPC message of MCP, or several at once.";
        invalid(text, message.to_owned())
    })
}

fn invalid(text: &[u8], message: String) -> InvalidMessage {
    let head: MessageHead = serde_json::from_slice(text).unwrap_or_default();
    InvalidMessage {
        code: ErrorCode::INVALID_REQUEST,
        message,
        is_notification: head.has_method && head.ids.is_empty(),
        id: head.id(),
    }
}

impl IntoResponse for InvalidMessage {
    fn into_response(self) -> Response {
        let error = json!({"code": self.code, "message": self.message});
        let answer = json!({"jsonrpc": "2.0", "id": self.id, "error": error});
        (StatusCode::BAD_REQUEST, Json(answer)).into_response()
    }
}

/// The top-level members of an invalid message from which its error answer gets its id.
#[derive(Default)]
struct MessageHead {
    ids: Vec<Value>,
    has_method: bool,
    /// Whether the message answers a request of this server. Its id is then an id of this server, not of the client.
    is_answer: bool,
}

impl MessageHead {
    /// Returns the id of the client's request. Returns null if the message has no id or more than one, if the id is
    /// neither a string nor a number, or if the message is an answer to a request of this server.
    fn id(self) -> Value {
        match <[Value; 1]>::try_from(self.ids) {
            Ok([id]) if !self.is_answer && (id.is_string() || id.is_number()) => id,
            Ok(_) | Err(_) => Value::Null,
        }
    }
}

impl<'de> Deserialize<'de> for MessageHead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MessageHeadVisitor)
    }
}

/// Reads a [`MessageHead`], and skips all other members of the message.
struct MessageHeadVisitor;

impl<'de> Visitor<'de> for MessageHeadVisitor {
    type Value = MessageHead;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<MessageHead, A::Error> {
        let mut head = MessageHead::default();
        while let Some(name) = members.next_key::<String>()? {
            if name == "id" {
                head.ids.push(members.next_value()?);
                continue;
            }
            head.has_method |= name == "method";
            head.is_answer |= ["result", "error"].contains(&name.as_str());
            members.next_value::<IgnoredAny>()?;
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> InvalidMessage {
        read(text.as_bytes()).expect_err(text)
    }

    #[test]
    fn what_is_no_message_is_told_by_the_code_of_json_rpc() {
        assert_eq!(told("{").code, ErrorCode::PARSE_ERROR);
        let spelt = told(r#"{"jsonrpc":"2.0","id":7,"METHOD":"ping"}"#);
        assert_eq!(
            (spelt.code, spelt.id),
            (ErrorCode::INVALID_REQUEST, json!(7))
        );
        assert_eq!(told("[]").code, ErrorCode::INVALID_REQUEST);
        assert!(read(br#"{"jsonrpc":"2.0","id":7,"method":"ping"}"#).is_ok());
    }

    #[test]
    fn a_name_given_twice_is_refused_with_the_id_of_the_request_where_there_is_one() {
        for (text, id) in [
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"ping","method":"x"}"#,
                json!(7),
            ),
            (
                r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{"b":{"c":1,"c":2}}}"#,
                json!("a"),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
                Value::Null,
            ),
            (
                r#"{"jsonrpc":"2.0","id":[1],"method":"ping","method":"x"}"#,
                Value::Null,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{"action":"accept","action":"decline"}}"#,
                Value::Null,
            ),
        ] {
            let told = told(text);
            assert_eq!(
                (told.code, told.id),
                (ErrorCode::INVALID_REQUEST, id),
                "{text}"
            );
            assert!(told.message.contains(" is given twice "), "{text}");
        }
    }
}
