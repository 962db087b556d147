//! The two servers, with the meters of many tenants on the remote one, and the connections of the bench.

use std::path::PathBuf;

use anyhow::{Context, Result};
use meter_sync::config::{Config, Environment, Setting, Settings};
use meter_sync::embedded::{Binaries, Data, Server, ServerOptions};
use meter_sync::mirrors::Mirrors;
use tokio::process::Command;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;

use crate::data;
use crate::options::{Options, Size};
use crate::server_cpu::server_cpu_seconds;

const DATABASE: &str = "postgres";
/// It does not fire while we measure.
pub(crate) const NO_SCHEDULE: &str = "0 0 1 1 *";

/// Settings of both servers beside those of every temporary server. Nothing is vacuumed in the midst of a measurement.
const SETTINGS: [&str; 6] = [
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=1h",
    "autovacuum=off",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// The servers, and what is measured with them.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) size: Size,
    remote_server: Server,
    local_server: Server,
    program: PathBuf,
    workers: u32,
    pub(crate) postgres: String,
    /// A connection of the bench to the remote.
    pub(crate) remote: Client,
    /// A connection of the bench to the local database.
    pub(crate) local: Client,
}

/// Processor time of both servers, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) remote: f64,
    pub(crate) local: f64,
}

impl Spent {
    pub(crate) fn sum(self) -> f64 {
        self.remote + self.local
    }
}

impl Site {
    /// Starts the servers and fills the remote.
    pub(crate) async fn start(options: &Options, size: Size) -> Result<Self> {
        let binaries = Binaries::find_or_install(None).await?;
        let of = |name| ServerOptions {
            name,
            data: Data::Temporary,
            settings: SETTINGS.map(str::to_owned).to_vec(),
        };
        let remote_server = Server::start(&binaries, of("remote")).await?;
        let local_server = Server::start(&binaries, of("local")).await?;
        let remote = connect(&remote_server).await?;
        let local = connect(&local_server).await?;
        remote.batch_execute(&data::remote(size)).await?;
        local.batch_execute(&data::local(size)).await?;
        remote.batch_execute("vacuum (freeze, analyze)").await?;
        Ok(Self {
            size,
            remote_server,
            local_server,
            program: options.program.canonicalize().context("find the program")?,
            workers: options.workers,
            postgres: binaries.version().to_owned(),
            remote,
            local,
        })
    }

    fn settings(&self, schedule: &str) -> [(Setting, String); 6] {
        [
            (Setting::RemoteUrl, self.remote_server.url(DATABASE)),
            (Setting::LocalUrl, self.local_server.url(DATABASE)),
            (Setting::Tenants, "all".to_owned()),
            (Setting::Workers, self.workers.to_string()),
            (Setting::Schedule, schedule.to_owned()),
            (Setting::Jitter, "0s".to_owned()),
        ]
    }

    /// The command `serve` of the program for all tenants, with nothing else in its environment.
    pub(crate) fn serve(&self, schedule: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("serve").env_clear().kill_on_drop(true);
        for (setting, value) in self.settings(schedule) {
            command.env(setting.env(), value);
        }
        command
    }

    /// The mirrors of all tenants in this process.
    pub(crate) fn mirrors(&self) -> Result<Mirrors> {
        let mut settings = Settings::default();
        for (setting, value) in self.settings(NO_SCHEDULE) {
            settings = settings.with(setting, value);
        }
        let config = Config::load_from(&settings, &Environment::default())?;
        Ok(Mirrors::new(config, TaskTracker::new())?)
    }

    /// One more connection to either server.
    pub(crate) async fn connect_both(&self) -> Result<[Client; 2]> {
        let remote = connect(&self.remote_server).await?;
        Ok([remote, connect(&self.local_server).await?])
    }

    /// The processor time that the servers have spent so far.
    pub(crate) fn spent(&self) -> Spent {
        let of = |server: &Server| server.pid().map(server_cpu_seconds).unwrap_or_default();
        Spent {
            remote: of(&self.remote_server),
            local: of(&self.local_server),
        }
    }

    pub(crate) async fn stop(self) -> Result<()> {
        drop((self.remote, self.local));
        let (remote, local) = tokio::join!(self.remote_server.stop(), self.local_server.stop());
        Ok(remote.and(local)?)
    }
}

async fn connect(server: &Server) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&server.url(DATABASE), NoTls).await?;
    #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}
