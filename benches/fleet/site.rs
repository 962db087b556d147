//! The two servers, with the meters of many tenants on the remote one, and the connections of the bench.

use std::path::PathBuf;

use anyhow::{Context, Result};
use meter_sync::config::{Setting, TENANT_PLACEHOLDER};
use meter_sync::embedded::Server;
use meter_sync::mirrors::Mirrors;
use tokio::process::Command;
use tokio_postgres::Client;

use crate::data::{self, OWN_TABLE};
use crate::options::{Options, Size};
use crate::server_cpu::server_cpu_seconds;
use crate::server_pair::{self, ServerPair, connect};

/// It does not fire while we measure.
pub(crate) const NO_SCHEDULE: &str = "0 0 1 1 *";

/// Settings of both servers beside those of every temporary server. Nothing is vacuumed in the midst of a measurement.
const SETTINGS: [&str; 7] = [
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=1h",
    "autovacuum=off",
    // The bench reads the own tables of all tenants with one statement.
    "max_locks_per_transaction=1024",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// The servers, and what is measured with them.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) size: Size,
    pub(crate) servers: ServerPair,
    program: PathBuf,
    workers: u32,
    /// A connection of the bench to the remote.
    pub(crate) remote: Client,
    /// A connection of the bench to the local database.
    pub(crate) local: Client,
}

/// Processor time of both servers, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerCpu {
    pub(crate) remote: f64,
    pub(crate) local: f64,
}

impl ServerCpu {
    pub(crate) fn sum(self) -> f64 {
        self.remote + self.local
    }
}

impl Site {
    /// Starts the servers and fills the remote.
    pub(crate) async fn start(options: &Options, size: Size) -> Result<Self> {
        let servers = ServerPair::start(&SETTINGS).await?;
        let remote = connect(&servers.remote).await?;
        let local = connect(&servers.local).await?;
        remote.batch_execute(&data::remote(size)).await?;
        local.batch_execute(&data::local(size)).await?;
        if size.has_own_tables {
            for tables in data::own_tables(size) {
                local.batch_execute(&tables).await?;
            }
        }
        remote.batch_execute("vacuum (freeze, analyze)").await?;
        let program = &options.program.program;
        Ok(Self {
            size,
            servers,
            program: program.canonicalize().context("find the program")?,
            workers: options.workers,
            remote,
            local,
        })
    }

    fn settings(&self, schedule: &str) -> impl Iterator<Item = (Setting, String)> {
        let others = [
            (Setting::Tenants, "all".to_owned()),
            (Setting::Workers, self.workers.to_string()),
            (Setting::Schedule, schedule.to_owned()),
            (Setting::Jitter, "0s".to_owned()),
        ];
        let own_table = (
            Setting::LocalTable,
            format!("{OWN_TABLE}{TENANT_PLACEHOLDER}"),
        );
        let own_table = Some(own_table).filter(|_| self.size.has_own_tables);
        self.servers
            .urls()
            .into_iter()
            .chain(others)
            .chain(own_table)
    }

    /// The command `serve` of the program for all tenants.
    pub(crate) fn serve(&self, schedule: &str) -> Command {
        server_pair::command(&self.program, "serve", self.settings(schedule))
    }

    /// The mirrors of all tenants in this process.
    pub(crate) fn mirrors(&self) -> Result<Mirrors> {
        server_pair::mirrors(self.settings(NO_SCHEDULE))
    }

    /// One more connection to either server.
    pub(crate) async fn connect_both(&self) -> Result<[Client; 2]> {
        let remote = connect(&self.servers.remote).await?;
        Ok([remote, connect(&self.servers.local).await?])
    }

    /// The processor time that the servers have spent so far.
    pub(crate) fn server_cpu(&self) -> ServerCpu {
        let of = |server: &Server| server.pid().map(server_cpu_seconds).unwrap_or_default();
        ServerCpu {
            remote: of(&self.servers.remote),
            local: of(&self.servers.local),
        }
    }

    pub(crate) async fn stop(self) -> Result<()> {
        drop((self.remote, self.local));
        self.servers.stop().await
    }
}
