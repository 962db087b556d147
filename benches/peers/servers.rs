//! The pair of servers, alike in all settings, and the databases on them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use meter_sync::embedded::{DataDirectory, PostgresBinaries, Server, ServerOptions};
use tokio_postgres::{Client, NoTls};

use crate::line::{Line, THIN};
use crate::options::LineKind;
use crate::server_cpu::server_cpu_seconds;

/// Settings of both servers beside those of every throw-away server (`fsync = off` and the like).
pub(crate) const SETTINGS: [&str; 9] = [
    "shared_buffers=512MB",
    "work_mem=32MB",
    "maintenance_work_mem=256MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=1h",
    "wal_level=logical",
    "autovacuum=off",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// The database of the remote server.
pub(crate) const REMOTE_DATABASE: &str = "central";
/// The database on either server that is always there.
pub(crate) const MAINTENANCE: &str = "postgres";

/// Both servers and the lines to the remote.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) remote: Server,
    pub(crate) local: Server,
    pub(crate) version: String,
    pub(crate) psql: PathBuf,
    lan: Line,
    thin: Line,
}

/// A side of the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Remote,
    Local,
}

/// What the servers have used so far. Two of these are subtracted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerUsage {
    pub(crate) remote_cpu: f64,
    pub(crate) local_cpu: f64,
    pub(crate) received: u64,
    pub(crate) wal: i64,
}

impl Servers {
    pub(crate) async fn start() -> Result<Self> {
        let binaries = PostgresBinaries::find_or_install(None).await?;
        let options = |name| ServerOptions {
            name,
            data: DataDirectory::Temporary,
            settings: SETTINGS.map(str::to_owned).to_vec(),
        };
        let remote = Server::start(&binaries, options("remote")).await?;
        let local = Server::start(&binaries, options("local")).await?;
        let installed = binaries.program("psql");
        Ok(Self {
            lan: Line::to(remote.port(), None).await?,
            thin: Line::to(remote.port(), Some(THIN)).await?,
            version: binaries.version().to_owned(),
            psql: match installed.exists() {
                true => installed,
                false => PathBuf::from("psql"),
            },
            remote,
            local,
        })
    }

    pub(crate) fn line(&self, kind: LineKind) -> &Line {
        match kind {
            LineKind::Lan => &self.lan,
            LineKind::Thin => &self.thin,
        }
    }

    pub(crate) fn server(&self, side: Side) -> &Server {
        match side {
            Side::Remote => &self.remote,
            Side::Local => &self.local,
        }
    }

    /// A connection of the bench's own, past the lines.
    pub(crate) async fn connect(&self, side: Side, database: &str) -> Result<Client> {
        connect(&self.server(side).url(database)).await
    }

    /// Runs statements that are no part of what is measured.
    pub(crate) async fn batch(&self, side: Side, database: &str, sql: &str) -> Result<()> {
        let client = self.connect(side, database).await?;
        let done = client.batch_execute(sql).await;
        done.with_context(|| format!("in {database}: {sql}"))
    }

    /// Makes a local database as another one is, in the place of an earlier one of that name.
    pub(crate) async fn recreate(&self, database: &str, template: &str) -> Result<()> {
        let client = self.connect(Side::Local, MAINTENANCE).await?;
        for sql in [
            format!("drop database if exists {database} with (force)"),
            format!("create database {database} template {template}"),
        ] {
            client.batch_execute(&sql).await?;
        }
        Ok(())
    }

    /// What the servers have used so far, on this line.
    pub(crate) async fn usage(&self, line: LineKind) -> Result<ServerUsage> {
        let client = self.connect(Side::Local, MAINTENANCE).await?;
        let sql = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let row = client.query_one(sql, &[]).await?;
        let cpu = |server: &Server| server.pid().map(server_cpu_seconds);
        Ok(ServerUsage {
            remote_cpu: cpu(&self.remote).unwrap_or_default(),
            local_cpu: cpu(&self.local).unwrap_or_default(),
            received: self.line(line).received(),
            wal: row.try_get(0)?,
        })
    }

    pub(crate) async fn stop(self) -> Result<()> {
        let (remote, local) = tokio::join!(self.remote.stop(), self.local.stop());
        Ok(remote.and(local)?)
    }
}

/// Connects, without TLS.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}
