//! One round: everything is measured once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meter_sync::mirrors::Mirror;
use meter_sync::model::Health;
use meter_sync::reports::status::StatusQuery;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::conversation::{
    Conversation, OverHttp, SessionConversation, SseConversation, StatelessConversation,
    StdioConversation,
};
use crate::message::Question;
use crate::program::{Program, server_cpu};
use crate::results::{Asked, CrowdTransport, FirstAnswer, Moment, Processor, Results};
use crate::site::{METERS, Site};
use crate::{crowd, options::Options};

/// How often the program is started in a round.
const STARTS: u32 = 20;
/// Calls before those that are timed: connections are made and buffers grow.
const WARM_UP: u32 = 20;
/// The length of an answer to a status call, roughly.
const STATUS_BYTES: usize = 6 * 1024;

/// A round over a site.
pub(crate) struct Round<'a> {
    pub(crate) site: &'a Site,
    pub(crate) options: &'a Options,
    pub(crate) results: &'a mut Results,
}

impl Round<'_> {
    pub(crate) async fn run(&mut self) -> Result<()> {
        self.references().await.context("references")?;
        self.stdio().await.context("standard input and output")?;
        self.serve().await.context("HTTP")?;
        self.starts().await.context("starts")?;
        let clients = self.options.clients;
        let sessions = crowd::measure::<SessionConversation>(self.site, clients).await?;
        self.crowd(CrowdTransport::Sessions, sessions);
        let stateless = crowd::measure::<StatelessConversation>(self.site, clients).await?;
        self.crowd(CrowdTransport::Stateless, stateless);
        let events = crowd::measure::<SseConversation>(self.site, clients).await?;
        self.crowd(CrowdTransport::Events, events);
        Ok(())
    }

    fn crowd(&mut self, transport: CrowdTransport, crowd: crate::results::Crowd) {
        self.results
            .crowds
            .entry(transport)
            .or_default()
            .push(crowd);
    }

    fn memory(&mut self, moment: Moment, kib: u64) {
        self.results.memory_kib.entry(moment).or_default().push(kib);
    }

    fn first(&mut self, first: FirstAnswer, took: Duration) {
        self.results.starts.entry(first).or_default().push(took);
    }

    /// Asks again and again, one thing after the other.
    async fn ask(
        &mut self,
        client: &mut impl Conversation,
        question: Question,
        asked: Asked,
    ) -> Result<()> {
        for n in 0..WARM_UP {
            client.ask(question, u64::from(n) + 1).await?;
        }
        let mut times = Vec::new();
        for n in 0..self.options.calls {
            times.push(client.ask(question, u64::from(n) + 1).await?);
        }
        self.results.asked(asked, &times);
        Ok(())
    }

    async fn stdio(&mut self) -> Result<()> {
        let (program, pipes) = Program::stdio(self.site.command("stdio"))?;
        let mut client = StdioConversation::begin(pipes).await?;
        self.memory(Moment::StdioStarted, program.memory_kib()?);
        client.ask(Question::Status(METERS), 1).await?;
        self.memory(Moment::StdioAsked, program.memory_kib()?);
        self.ask(&mut client, Question::Ping, Asked::StdioPing)
            .await?;
        let postgres = || self.site.local_pid().map(server_cpu).unwrap_or_default();
        let before = (program.cpu(), postgres());
        self.ask(&mut client, Question::Status(METERS), Asked::Stdio)
            .await?;
        let postgres = self.site.local_pid().map(server_cpu).unwrap_or_default();
        let calls = f64::from(self.options.calls + WARM_UP);
        let each = |spent: Duration| spent.as_secs_f64() / calls;
        self.results.processor.push(Processor {
            program: each(program.cpu().saturating_sub(before.0)),
            postgres: each(postgres.saturating_sub(before.1)),
        });
        self.ask_anew(&mut client, Asked::StdioAnew).await?;
        drop(client);
        program.stop().await
    }

    /// Asks when what was answered before may be true no more.
    pub(crate) async fn ask_anew(
        &mut self,
        client: &mut impl Conversation,
        asked: Asked,
    ) -> Result<()> {
        let question = Question::Status(self.site.meters);
        let mut times = Vec::new();
        for n in 0..self.options.calls {
            self.site.commit().await?;
            times.push(client.ask(question, u64::from(n) + 1).await?);
        }
        self.results.asked(asked, &times);
        Ok(())
    }

    async fn serve(&mut self) -> Result<()> {
        let (program, address) = Program::serve(self.site.command("serve")).await?;
        self.memory(Moment::ServeStarted, program.memory_kib()?);
        let mut session = SessionConversation::begin(&address).await?;
        session.ask(Question::Status(METERS), 1).await?;
        self.memory(Moment::ServeAsked, program.memory_kib()?);
        self.ask(&mut session, Question::Ping, Asked::SessionPing)
            .await?;
        self.ask(&mut session, Question::Status(METERS), Asked::Session)
            .await?;
        self.ask_anew(&mut session, Asked::SessionAnew).await?;
        let mut stateless = StatelessConversation::begin(&address).await?;
        self.ask(
            &mut stateless,
            StatelessConversation::status(METERS),
            Asked::Stateless,
        )
        .await?;
        let mut events = SseConversation::begin(&address).await?;
        self.ask(&mut events, Question::Status(METERS), Asked::Events)
            .await?;
        drop((session, stateless, events));
        program.stop().await
    }

    async fn starts(&mut self) -> Result<()> {
        for _ in 0..STARTS {
            let started = Instant::now();
            let (program, pipes) = Program::stdio(self.site.command("stdio"))?;
            let mut client = StdioConversation::begin(pipes).await?;
            self.first(FirstAnswer::Hello, started.elapsed());
            client.ask(Question::Status(METERS), 1).await?;
            self.first(FirstAnswer::StdioStatus, started.elapsed());
            drop(client);
            program.stop().await?;

            let started = Instant::now();
            let (program, address) = Program::serve(self.site.command("serve")).await?;
            let mut client = StatelessConversation::begin(&address).await?;
            client.ask(StatelessConversation::status(METERS), 1).await?;
            self.first(FirstAnswer::HttpStatus, started.elapsed());
            drop(client);
            program.stop().await?;
        }
        Ok(())
    }

    /// What the figures are held against.
    async fn references(&mut self) -> Result<()> {
        let calls = self.options.calls;
        let runs = self.site.mirror()?;
        let database = timed(calls, async || known(&runs).await).await?;
        self.results.asked(Asked::Database, &database);
        let client = &self.site.client;
        let statement = client.prepare("select 1").await?;
        let one = async || Ok(client.execute(&statement, &[]).await.map(drop)?);
        self.results
            .asked(Asked::SelectOne, &timed(calls, one).await?);
        let mut stream = echo().await?;
        let mut bytes = vec![b'.'; STATUS_BYTES];
        let there_and_back = async || {
            stream.write_all(&bytes).await?;
            stream.read_exact(&mut bytes).await?;
            Ok(())
        };
        self.results
            .asked(Asked::Echo, &timed(calls, there_and_back).await?);
        Ok(())
    }
}

/// Does something again and again.
async fn timed(calls: u32, mut once: impl AsyncFnMut() -> Result<()>) -> Result<Vec<Duration>> {
    for _ in 0..WARM_UP {
        once().await?;
    }
    let mut times = Vec::new();
    for _ in 0..calls {
        let start = Instant::now();
        once().await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

/// The status as the tool asks for it, without a server around it.
async fn known(runs: &Mirror) -> Result<()> {
    let status = runs.status(&StatusQuery::default()).await;
    let status = status.map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let active = status.meters.map(|meters| meters.active);
    ensure!(
        (status.health, active) == (Health::Ok, Some(METERS)),
        "not the status that was expected: {}",
        status.summary
    );
    Ok(())
}

/// A connection to a task that sends back what it gets.
async fn echo() -> Result<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    #[expect(clippy::disallowed_methods, reason = "it ends with the connection")]
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (mut from, mut to) = stream.into_split();
        tokio::io::copy(&mut from, &mut to).await.map(drop)
    });
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
