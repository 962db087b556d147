//! Reads and writes MCP messages as lines of text, one message a line, as MCP over standard input and output requires
//! (<https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio>).
//!
//! Empty lines and lines that are not JSON get no answer; otherwise two programs could answer each other's errors for
//! ever. The line transport of rmcp, the library for MCP, does the same. But only this one refuses a message in which a
//! JSON object has the same name twice.

use std::io;
use std::sync::Arc;

use futures_util::SinkExt;
use rmcp::RoleServer;
use rmcp::model::{ErrorCode, ErrorData};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::{DEFAULT_MAX_LINE_LENGTH, JsonRpcMessageCodec, TransportWriter};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::sync::Mutex;
use tokio_util::codec::FramedWrite;

use super::message_parser::{self, InvalidMessage};

/// The UTF-8 byte order mark. It is removed from the start of a message, because some programs write it before their
/// text (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A transport that reads messages as lines from `R` and writes messages as lines to `W`.
///
/// The future of `receive` may be dropped at any point: this struct keeps the partly read line and the error answer
/// that is not sent yet, and the next call of `receive` continues with them.
pub(super) struct LineTransport<R, W> {
    input: BufReader<R>,
    line: Vec<u8>,
    /// Whether the current line is too long. The rest of such a line is dropped.
    is_too_long: bool,
    output: Arc<Mutex<Option<TransportWriter<RoleServer, W>>>>,
    refusal: Option<PendingErrorAnswer>,
}

/// The error answer to a line that is not a valid message, and how far that answer was sent.
enum PendingErrorAnswer {
    /// The answer, not written yet.
    Unwritten(Box<TxJsonRpcMessage<RoleServer>>),
    /// The answer is in the buffer of the output, but not flushed yet.
    Unflushed,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> LineTransport<R, W> {
    pub(super) fn new(input: R, output: W) -> Self {
        let output = FramedWrite::new(output, JsonRpcMessageCodec::default());
        Self {
            input: BufReader::new(input),
            line: Vec::new(),
            is_too_long: false,
            output: Arc::new(Mutex::new(Some(output))),
            refusal: None,
        }
    }

    /// Sends the error answer that is not sent yet, if there is one. Returns `None` if the output is closed or broken.
    async fn refuse(&mut self) -> Option<()> {
        let Some(refusal) = &mut self.refusal else {
            return Some(());
        };
        let mut output = self.output.lock().await;
        let output = output.as_mut()?;
        if let PendingErrorAnswer::Unwritten(answer) = refusal {
            output.feed((**answer).clone()).await.ok()?;
            *refusal = PendingErrorAnswer::Unflushed;
        }
        SinkExt::<TxJsonRpcMessage<RoleServer>>::flush(output)
            .await
            .ok()?;
        self.refusal = None;
        Some(())
    }

    /// Reads into `line` until the line is complete. Skips a line that is too long. Returns `None` at the end of the
    /// input.
    async fn read_line(&mut self) -> io::Result<Option<()>> {
        loop {
            let read = self.input.fill_buf().await?;
            if read.is_empty() {
                return Ok(None);
            }
            let piece = read.split_inclusive(|byte| *byte == b'\n').next();
            let piece = piece.unwrap_or_default();
            let is_whole = piece.ends_with(b"\n");
            if !self.is_too_long {
                self.line.extend_from_slice(piece);
            }
            let bytes = piece.len();
            self.input.consume(bytes);
            if self.line.len() > DEFAULT_MAX_LINE_LENGTH {
                tracing::error!(
                    limit = DEFAULT_MAX_LINE_LENGTH,
                    "dropped a message that is too long"
                );
                self.line = Vec::new();
                self.is_too_long = true;
            }
            if is_whole && !std::mem::take(&mut self.is_too_long) {
                return Ok(Some(()));
            }
        }
    }
}

impl<R, W> Transport<RoleServer> for LineTransport<R, W>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let output = Arc::clone(&self.output);
        async move {
            let mut output = output.lock().await;
            let output = output.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            Ok(output.send(message).await?)
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            self.refuse().await?;
            match self.read_line().await {
                Ok(line) => line?,
                Err(error) => {
                    tracing::error!(%error, "standard input could not be read");
                    return None;
                }
            }
            let line = self.line.trim_ascii();
            let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
            let read = (!line.is_empty()).then(|| message_parser::read(line));
            self.line.clear();
            match read {
                Some(Ok(message)) => return Some(message),
                Some(Err(no_message)) => self.refusal = refusal(no_message),
                None => {}
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        drop(self.output.lock().await.take());
        Ok(())
    }
}

/// Returns the error answer to a line that is not a valid message. Returns `None` for an invalid notification and for a
/// line that is not JSON, because neither is answered.
fn refusal(invalid: InvalidMessage) -> Option<PendingErrorAnswer> {
    tracing::debug!(reason = invalid.message, "received what is no message");
    if invalid.is_notification || invalid.code == ErrorCode::PARSE_ERROR {
        return None;
    }
    let error = ErrorData::new(invalid.code, invalid.message, None);
    let id = serde_json::from_value(invalid.id).ok();
    Some(PendingErrorAnswer::Unwritten(Box::new(TxJsonRpcMessage::<
        RoleServer,
    >::error(
        error, id
    ))))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    /// Feeds the text to a transport. Returns the ids of the messages that the transport passes on, and the errors that
    /// it answers.
    async fn heard(text: &[u8]) -> (Vec<Value>, Vec<Value>) {
        let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
        let mut lines = LineTransport::new(io::Cursor::new(text.to_vec()), ours);
        let mut ids = Vec::new();
        while let Some(message) = lines.receive().await {
            let message = serde_json::to_value(&message).expect("JSON");
            ids.push(message["id"].clone());
        }
        lines.close().await.expect("closed");
        let mut said = String::new();
        theirs.read_to_string(&mut said).await.expect("UTF-8");
        let said = said
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        (ids, said.collect())
    }

    #[tokio::test]
    async fn what_is_no_message_is_answered_by_its_id_and_the_next_one_is_read() {
        let twice =
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"a","name":"b"}}"#;
        let answer = r#"{"jsonrpc":"2.0","id":7,"result":{},"result":{}}"#;
        let (ids, said) = heard(format!("{twice}\n{answer}\n{PING}\n").as_bytes()).await;
        assert_eq!(ids, [json!(1)]);
        let told: Vec<_> = said
            .iter()
            .map(|said| (&said["id"], &said["error"]["code"]))
            .collect();
        assert_eq!(
            told,
            [(&json!(7), &json!(-32600)), (&Value::Null, &json!(-32600))]
        );
        let message = said[0]["error"]["message"].as_str().expect("text");
        assert!(message.contains("`name` is given twice"), "{message}");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_an_answer_to_is_passed_over() {
        let notification = r#"{"jsonrpc":"2.0","method":"a","method":"b"}"#;
        let text = format!("\n \r\nno JSON\n{notification}\n\u{feff}{PING}\r\n{{\"jsonrpc\"");
        let text = [b"\xff\n", text.as_bytes()].concat();
        assert_eq!(heard(&text).await, (vec![json!(1)], Vec::new()));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_dropped_and_the_next_one_is_read() {
        let mut text = vec![b' '; 2 * DEFAULT_MAX_LINE_LENGTH];
        text.extend_from_slice(format!("{PING}\n{PING}\n").as_bytes());
        assert_eq!(heard(&text).await, (vec![json!(1)], Vec::new()));
    }

    #[tokio::test]
    async fn a_read_that_is_given_up_loses_nothing() {
        let (mut theirs, ours) = tokio::io::duplex(64 * 1024);
        let (output, _said) = tokio::io::duplex(64 * 1024);
        let mut lines = LineTransport::new(ours, output);
        let (begin, end) = PING.split_at(10);
        theirs.write_all(begin.as_bytes()).await.expect("sent");
        assert!(lines.receive().now_or_never().is_none());
        theirs
            .write_all(format!("{end}\n").as_bytes())
            .await
            .expect("sent");
        assert!(lines.receive().await.is_some());
    }
}
