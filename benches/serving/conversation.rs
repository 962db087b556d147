//! A client in conversation with the program, over every way that leads to it. It writes and reads the
//! protocol itself, so that what it costs is small beside what it measures.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::http::{self, Connection, Head};
use crate::message::{self, Question};
use crate::program::Pipes;

/// No answer takes longer, however many others there are.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that asks one thing after another.
pub(crate) trait Conversation {
    /// Sends a request and gives the message that answers it.
    async fn answer(&mut self, question: Question, id: u64) -> Result<Vec<u8>>;

    /// Asks, and tells how long the answer took. It is looked at after that.
    async fn ask(&mut self, question: Question, id: u64) -> Result<Duration> {
        let asked = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, self.answer(question, id)).await;
        let took = asked.elapsed();
        let answer = answer.context("no answer")??;
        question.check(id, &answer)?;
        Ok(took)
    }
}

/// A conversation over HTTP, which anyone can begin who knows the address.
pub(crate) trait OverHttp: Conversation + Sized {
    /// Connects and says hello.
    async fn begin(address: &str) -> Result<Self>;

    /// What is asked in it, of a site of so many meters.
    fn status(meters: i64) -> Question {
        Question::Status(meters)
    }
}

/// Lines over the program's standard input and output.
#[derive(Debug)]
pub(crate) struct StdioConversation {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl StdioConversation {
    /// Says hello.
    pub(crate) async fn begin((input, output): Pipes) -> Result<Self> {
        let output = BufReader::new(output);
        let mut lines = Self { input, output };
        let version = message::WITH_SESSION;
        let hello = lines.line(message::initialize(version)).await?;
        message::check_initialized(version, &hello)?;
        let initialized = format!("{}\n", message::INITIALIZED);
        lines.input.write_all(initialized.as_bytes()).await?;
        Ok(lines)
    }

    async fn line(&mut self, mut line: String) -> Result<Vec<u8>> {
        line.push('\n');
        self.input.write_all(line.as_bytes()).await?;
        let mut answer = Vec::new();
        self.output.read_until(b'\n', &mut answer).await?;
        Ok(answer)
    }
}

impl Conversation for StdioConversation {
    async fn answer(&mut self, question: Question, id: u64) -> Result<Vec<u8>> {
        self.line(question.request(id)).await
    }
}

/// Requests to `/mcp` over a connection that is kept.
#[derive(Debug)]
struct Requests {
    connection: Connection,
    headers: String,
}

impl Requests {
    async fn answer(&mut self, question: Question, id: u64) -> Result<Vec<u8>> {
        let request = http::post("/mcp", &self.headers, &question.request(id));
        let (head, body) = self.connection.ask(&request).await?;
        expect(&head, 200, &body)?;
        Ok(http::message(&body).to_vec())
    }
}

/// A session at `/mcp`, as clients of version 2025-11-25 hold it.
#[derive(Debug)]
pub(crate) struct SessionConversation(Requests);

impl OverHttp for SessionConversation {
    async fn begin(address: &str) -> Result<Self> {
        let mut connection = Connection::open(address).await?;
        let version = message::WITH_SESSION;
        let hello = http::post("/mcp", "", &message::initialize(version));
        let (head, body) = connection.ask(&hello).await?;
        expect(&head, 200, &body)?;
        message::check_initialized(version, http::message(&body))?;
        let id = head.session.context("no session")?;
        let headers = format!("mcp-protocol-version: {version}\r\nmcp-session-id: {id}\r\n");
        let initialized = http::post("/mcp", &headers, message::INITIALIZED);
        let (head, body) = connection.ask(&initialized).await?;
        expect(&head, 202, &body)?;
        Ok(Self(Requests {
            connection,
            headers,
        }))
    }
}

impl Conversation for SessionConversation {
    async fn answer(&mut self, question: Question, id: u64) -> Result<Vec<u8>> {
        self.0.answer(question, id).await
    }
}

/// Requests to `/mcp` without a session, as version 2026-07-28 has it.
#[derive(Debug)]
pub(crate) struct StatelessConversation(Requests);

impl OverHttp for StatelessConversation {
    fn status(meters: i64) -> Question {
        Question::ModernStatus(meters)
    }

    async fn begin(address: &str) -> Result<Self> {
        Ok(Self(Requests {
            connection: Connection::open(address).await?,
            headers: format!(
                "mcp-protocol-version: {}\r\nmcp-method: tools/call\r\nmcp-name: {}\r\n",
                message::MODERN,
                message::STATUS
            ),
        }))
    }
}

impl Conversation for StatelessConversation {
    async fn answer(&mut self, question: Question, id: u64) -> Result<Vec<u8>> {
        self.0.answer(question, id).await
    }
}

/// A stream of events at `/sse`, and a second connection for what the client says.
#[derive(Debug)]
pub(crate) struct SseConversation {
    events: Connection,
    messages: Connection,
    path: String,
}

impl OverHttp for SseConversation {
    async fn begin(address: &str) -> Result<Self> {
        let mut events = Connection::open(address).await?;
        let request = "GET /sse HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
        events.send(request).await?;
        let head = events.head().await?;
        expect(&head, 200, b"")?;
        let first = events.chunk().await?.context("no first event")?;
        let first = String::from_utf8(first)?;
        let path = first.lines().find_map(|line| line.strip_prefix("data:"));
        let mut conversation = Self {
            path: path.context("no address")?.trim().to_owned(),
            messages: Connection::open(address).await?,
            events,
        };
        let version = message::WITH_SSE;
        let hello = conversation.exchange(&message::initialize(version)).await?;
        message::check_initialized(version, &hello)?;
        conversation.say(message::INITIALIZED).await?;
        conversation.accepted().await?;
        Ok(conversation)
    }
}

impl SseConversation {
    async fn say(&mut self, message: &str) -> Result<()> {
        let request = http::post(&self.path, "", message);
        self.messages.send(&request).await
    }

    async fn accepted(&mut self) -> Result<()> {
        let (head, body) = self.messages.answer().await?;
        expect(&head, 202, &body)
    }

    async fn exchange(&mut self, message: &str) -> Result<Vec<u8>> {
        self.say(message).await?;
        let answer = self.event().await?;
        self.accepted().await?;
        Ok(answer)
    }

    async fn event(&mut self) -> Result<Vec<u8>> {
        while let Some(chunk) = self.events.chunk().await? {
            let message = http::message(&chunk);
            // what only shows that the stream is alive holds none
            if !message.is_empty() {
                return Ok(message.to_vec());
            }
        }
        bail!("the stream of events ended")
    }
}

impl Conversation for SseConversation {
    async fn answer(&mut self, question: Question, id: u64) -> Result<Vec<u8>> {
        self.exchange(&question.request(id)).await
    }
}

fn expect(head: &Head, status: u16, body: &[u8]) -> Result<()> {
    ensure!(
        head.status == status,
        "HTTP {}: {}",
        head.status,
        String::from_utf8_lossy(body)
    );
    Ok(())
}
