//! Builds the running process: creates the mirrors from the settings (a *mirror* is one tenant's meters in one local
//! table) and connects them to MCP, the status page, the REST API and the schedule. No other module does this.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::error::{ErrorCode, Failure};
use crate::mirrors::Mirrors;
use crate::schedule::SlotTiming;
use crate::shutdown::{DRAIN, Shutdown};
use crate::{http, mcp, page, rest, schedule, telemetry};

/// The running process: it syncs its mirrors (each is one tenant's meters in one local table) and serves clients.
#[derive(Debug)]
pub struct App {
    mirrors: Mirrors,
    shutdown: Shutdown,
}

impl App {
    /// Builds the process from the settings. Opens no database connection, so it succeeds even if both databases are
    /// down.
    pub fn build(config: Config, shutdown: Shutdown) -> anyhow::Result<Self> {
        let mirrors =
            Mirrors::new(config, shutdown.tasks().clone()).context("set up the databases")?;
        Ok(Self { mirrors, shutdown })
    }

    /// Returns the mirrors of this process, through which runs are started and the state of each tenant's meters is
    /// read.
    pub fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    /// Serves MCP, the status page and the REST API over HTTP, and starts scheduled runs, until a stop is requested.
    /// Error: the address cannot be listened on.
    pub async fn serve(self) -> anyhow::Result<()> {
        let listen = self.mirrors.config().listen;
        let listener = http::listen(listen).map_err(|error| cannot_listen(listen, &error))?;
        self.serve_on(listener).await
    }

    /// Like [`App::serve`], but on a socket that is already listening.
    pub async fn serve_on(self, listener: TcpListener) -> anyhow::Result<()> {
        let address = listener
            .local_addr()
            .context("read the address listened on")?;
        let config = self.mirrors.config();
        if !config.allowed_hosts.is_empty() && !config.requires_token() {
            tracing::warn!(
                "METER_SYNC_ALLOWED_HOSTS names a host by which others may come, and no tokens are set: whoever gets here by it may sync"
            );
        }
        let server = mcp::McpServer::new(self.mirrors.clone());
        let mcp =
            mcp::streamable_http::routes(move || server.for_new_client(), self.shutdown.token());
        let recorder = telemetry::recorder();
        let upkeep = telemetry::upkeep(recorder.clone(), self.shutdown.token());
        self.shutdown.tasks().spawn(upkeep);
        let router = router(&self.mirrors, mcp, recorder, &self.shutdown);
        self.start_tasks();
        tracing::info!(%address, "serving MCP at /mcp, the page at / and REST");
        let stop = self.shutdown.token().drop_guard();
        let served = async {
            let served = http::serve(listener, router, self.shutdown.token(), DRAIN).await;
            drop(stop);
            served
        };
        // At shutdown, runs and open requests are waited for at the same time, because a request may wait for its run.
        let drained = async {
            self.shutdown.token().cancelled().await;
            log_stopping();
            self.shutdown.drained().await;
        };
        let (served, ()) = tokio::join!(served, drained);
        log_stopped();
        served.context("serve HTTP")
    }

    /// Serves MCP on standard input and output, and starts scheduled runs, until the client disconnects or a stop is
    /// requested.
    pub async fn stdio(self) -> anyhow::Result<()> {
        self.start_tasks();
        let server = mcp::McpServer::new(self.mirrors.clone());
        let served = mcp::stdio::serve(server, self.shutdown.token()).await;
        log_stopping();
        self.shutdown.finish().await;
        log_stopped();
        served.context("serve MCP on standard input and output")
    }

    /// Starts the background tasks:
    ///
    /// - the one that starts scheduled runs, if there is a schedule;
    /// - if the process is set up for several tenants, the one that keeps reading the states of all tenants' meters,
    ///   and the one that takes part in scheduled sweeps of other processes.
    fn start_tasks(&self) {
        let config = self.mirrors.config();
        if !config.tenants.is_one() {
            let observer = self.mirrors.clone().observe(self.shutdown.token());
            self.shutdown.tasks().spawn(observer);
        }
        if let Some(line) = config.schedule.clone() {
            if !config.tenants.is_one() {
                let helper = self.mirrors.clone().help_others(self.shutdown.token());
                self.shutdown.tasks().spawn(helper);
            }
            let slots = schedule::run(
                line,
                SlotTiming::new(config.jitter, config.catch_up),
                self.mirrors.clone(),
                self.shutdown.token(),
            );
            self.shutdown.tasks().spawn(slots);
        }
    }
}

/// Logs that a stop was requested, so that an operator sees what the process still waits for.
fn log_stopping() {
    tracing::info!("stopping: runs and open requests have {DRAIN:?} to end");
}

/// Logs that the process has ended all it does.
fn log_stopped() {
    tracing::info!("stopped");
}

/// Returns the HTTP routes of MCP (`mcp`), the status page, the REST API and the metrics (`recorder`), behind the
/// checks that each request must pass: host, origin and token. Open streams end when `shutdown` is requested.
pub fn router(
    mirrors: &Mirrors,
    mcp: Router,
    recorder: PrometheusHandle,
    shutdown: &Shutdown,
) -> Router {
    let config = mirrors.config();
    let routes = page::routes(mirrors.clone())
        .merge(rest::routes(config, mirrors.clone(), shutdown))
        .merge(http::routes(config, mirrors.clone(), recorder))
        .merge(mcp)
        .fallback(page::not_found)
        .method_not_allowed_fallback(page::method_not_allowed);
    http::guard(routes, mirrors.clone(), page::ROUTES, shutdown)
}

/// Returns the error to report if the program cannot listen on `address`.
pub(crate) fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> Failure {
    let message = if error.kind() == ErrorKind::AddrInUse {
        format!("Port {} on {} is in use.", address.port(), address.ip())
    } else {
        format!("{address} cannot be listened on: {}.", error.kind())
    };
    Failure::new(ErrorCode::ConfigInvalid, message)
        .with_remedy("Set METER_SYNC_LISTEN to a free address, such as 127.0.0.1:8766.")
}
