//! The two servers of a site, and what is done over them: by the program, or in the bench's own process.

use std::path::Path;

use anyhow::Result;
use meter_sync::config::{CommandLineSettings, Config, Environment, Setting};
use meter_sync::embedded::{DataDirectory, PostgresBinaries, Server, ServerOptions};
use meter_sync::mirrors::Mirrors;
use tokio::process::Command;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;

/// The database of either server.
pub(crate) const DATABASE: &str = "postgres";

/// A remote and a local server whose data is gone at the end.
#[derive(Debug)]
pub(crate) struct ServerPair {
    pub(crate) remote: Server,
    pub(crate) local: Server,
    /// The version of Postgres.
    pub(crate) postgres: String,
}

impl ServerPair {
    /// Starts both servers with these settings.
    pub(crate) async fn start(settings: &[&str]) -> Result<Self> {
        let binaries = PostgresBinaries::find_or_install(None).await?;
        let of = |name| ServerOptions {
            name,
            data: DataDirectory::Temporary,
            settings: settings.iter().map(|line| (*line).to_owned()).collect(),
        };
        Ok(Self {
            remote: Server::start(&binaries, of("remote")).await?,
            local: Server::start(&binaries, of("local")).await?,
            postgres: binaries.version().to_owned(),
        })
    }

    /// The settings that name both servers.
    pub(crate) fn urls(&self) -> [(Setting, String); 2] {
        [
            (Setting::RemoteUrl, self.remote.url(DATABASE)),
            (Setting::LocalUrl, self.local.url(DATABASE)),
        ]
    }

    pub(crate) async fn stop(self) -> Result<()> {
        let (remote, local) = tokio::join!(self.remote.stop(), self.local.stop());
        Ok(remote.and(local)?)
    }
}

/// A connection of the bench.
pub(crate) async fn connect(server: &Server) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&server.url(DATABASE), NoTls).await?;
    #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// A command of the program, with nothing but the settings in its environment.
pub(crate) fn command(
    program: &Path,
    subcommand: &str,
    settings: impl IntoIterator<Item = (Setting, String)>,
) -> Command {
    let mut command = Command::new(program);
    command.arg(subcommand).env_clear().kill_on_drop(true);
    for (setting, value) in settings {
        command.env(setting.env(), value);
    }
    command
}

/// The mirrors of the settings, in this process.
pub(crate) fn mirrors(settings: impl IntoIterator<Item = (Setting, String)>) -> Result<Mirrors> {
    let all = settings.into_iter();
    let all = all.fold(CommandLineSettings::default(), |all, (setting, value)| {
        all.with(setting, value)
    });
    let config = Config::load_from(&all, &Environment::default())?;
    Ok(Mirrors::new(config, TaskTracker::new())?)
}
