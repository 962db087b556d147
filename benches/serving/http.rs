//! HTTP/1.1 with as little as a client needs, so that its own cost is small: one connection that is kept,
//! and answers of a known length or in chunks.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No answer of ours is longer.
const MAX_BYTES: usize = 1024 * 1024;
const PIECE: usize = 16 * 1024;

/// A connection that is kept.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What comes before a body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// The session that it opens.
    pub(crate) session: Option<String>,
    length: Option<usize>,
    is_chunked: bool,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            received: Vec::new(),
        })
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: &str) -> Result<()> {
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    /// Sends a request; gives the whole answer.
    pub(crate) async fn ask(&mut self, request: &str) -> Result<(Head, Vec<u8>)> {
        self.send(request).await?;
        self.answer().await
    }

    /// A whole answer.
    pub(crate) async fn answer(&mut self) -> Result<(Head, Vec<u8>)> {
        let head = self.head().await?;
        let mut body = Vec::new();
        if head.is_chunked {
            while let Some(chunk) = self.chunk().await? {
                body.extend(chunk);
            }
        } else if let Some(length) = head.length {
            while self.received.len() < length {
                self.read().await?;
            }
            body.extend(self.received.drain(..length));
        }
        Ok((head, body))
    }

    /// The head of an answer.
    pub(crate) async fn head(&mut self) -> Result<Head> {
        let text = self.until(b"\r\n\r\n").await?;
        parse(&String::from_utf8_lossy(&text))
    }

    /// The next chunk of an answer; `None` after the last one.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let size = self.until(b"\r\n").await?;
        let size = String::from_utf8_lossy(&size);
        let size = usize::from_str_radix(size.trim(), 16).context("the size of a chunk")?;
        ensure!(size <= MAX_BYTES, "a chunk of {size} bytes");
        while self.received.len() < size + 2 {
            self.read().await?;
        }
        let mut chunk: Vec<u8> = self.received.drain(..size + 2).collect();
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }

    /// What comes up to and with `end`.
    async fn until(&mut self, end: &[u8]) -> Result<Vec<u8>> {
        loop {
            let at = self
                .received
                .windows(end.len())
                .position(|bytes| bytes == end);
            if let Some(at) = at {
                return Ok(self.received.drain(..at + end.len()).collect());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<()> {
        ensure!(self.received.len() <= MAX_BYTES, "an answer without an end");
        self.received.reserve(PIECE);
        match self.stream.read_buf(&mut self.received).await? {
            0 => bail!("the connection was closed"),
            _ => Ok(()),
        }
    }
}

fn parse(text: &str) -> Result<Head> {
    let mut lines = text.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let mut head = Head {
        status: status.context("no status")?.parse()?,
        session: None,
        length: None,
        is_chunked: false,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "mcp-session-id" => head.session = Some(value.to_owned()),
            "content-length" => head.length = Some(value.parse()?),
            "transfer-encoding" => head.is_chunked = value.eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    Ok(head)
}

/// A POST of JSON, with more headers.
pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// The message in a body that is JSON, or the last one in events.
pub(crate) fn message(body: &[u8]) -> &[u8] {
    if body.starts_with(b"{") {
        return body;
    }
    let lines = body.rsplit(|byte| *byte == b'\n');
    let data = lines.filter_map(|line| line.strip_prefix(b"data:"));
    data.map(<[u8]>::trim_ascii)
        .find(|data| data.starts_with(b"{"))
        .unwrap_or_default()
}
