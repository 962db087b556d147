//! The only wiring: settings -> databases -> runs -> {MCP, HTTP, schedule}.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::error::{ErrorCode, Failure};
use crate::runs::Runs;
use crate::schedule::Pace;
use crate::shutdown::{DRAIN, Shutdown};
use crate::{http, mcp, schedule, telemetry};

/// A process's parts, wired.
#[derive(Debug)]
pub struct App {
    runs: Runs,
    shutdown: Shutdown,
}

impl App {
    /// Wires the parts. Nothing connects yet: both databases may be down.
    pub fn build(config: Config, shutdown: Shutdown) -> anyhow::Result<Self> {
        let runs = Runs::new(config, shutdown.tasks().clone()).context("set up the databases")?;
        Ok(Self { runs, shutdown })
    }

    /// The one way to start a run and to learn what happened.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }

    /// Serves MCP, REST and the schedule over HTTP until a stop is asked for.
    pub async fn serve(self) -> anyhow::Result<()> {
        let listen = self.runs.config().listen;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| cannot_listen(listen, &error))?;
        self.serve_on(listener).await
    }

    /// The same on a socket that is open already.
    pub async fn serve_on(self, listener: TcpListener) -> anyhow::Result<()> {
        let address = listener
            .local_addr()
            .context("read the address listened on")?;
        let config = self.runs.config();
        if !config.allowed_hosts.is_empty() && !config.asks_for_tokens() {
            tracing::warn!(
                "METER_SYNC_ALLOWED_HOSTS names a host by which others may come, and no tokens are set: whoever gets here by it may sync"
            );
        }
        let server = mcp::Server::new(self.runs.clone());
        let mounted = mcp::http::routes(move || server.for_a_client(), self.shutdown.token());
        let recorder = telemetry::recorder();
        let upkeep = telemetry::upkeep(recorder.clone(), self.shutdown.token());
        self.shutdown.tasks().spawn(upkeep);
        let router = http::router(
            self.runs.config(),
            self.runs.clone(),
            recorder,
            mounted,
            &self.shutdown,
        );
        self.start_schedule();
        tracing::info!(%address, "serving MCP at /mcp, the page at / and REST");
        let stop = self.shutdown.token().drop_guard();
        let served = async {
            let served = http::serve(listener, router, self.shutdown.token(), DRAIN).await;
            drop(stop);
            served
        };
        // Runs and open requests share the time that is left: an answer waits for its run.
        let (served, ()) = tokio::join!(served, self.shutdown.drained());
        served.context("serve HTTP")
    }

    /// Serves MCP on standard input and output, and the schedule, until the client goes.
    pub async fn stdio(self) -> anyhow::Result<()> {
        self.start_schedule();
        let server = mcp::Server::new(self.runs.clone());
        let served = mcp::stdio::serve(server, self.shutdown.token()).await;
        self.shutdown.finish().await;
        served.context("serve MCP on standard input and output")
    }

    fn start_schedule(&self) {
        let config = self.runs.config();
        if let Some(line) = config.schedule.clone() {
            let slots = schedule::run(
                line,
                Pace::new(config.jitter),
                self.runs.clone(),
                self.shutdown.token(),
            );
            self.shutdown.tasks().spawn(slots);
        }
    }
}

/// The failure of a program that cannot listen there.
pub(crate) fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    let message = if error.kind() == ErrorKind::AddrInUse {
        format!("Port {} on {} is in use.", address.port(), address.ip())
    } else {
        format!("{address} cannot be listened on: {}.", error.kind())
    };
    Failure::new(ErrorCode::ConfigInvalid, message)
        .with_remedy("Set METER_SYNC_LISTEN to a free address, such as 127.0.0.1:8766.")
}
