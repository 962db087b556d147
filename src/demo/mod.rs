//! `meter-sync demo`: starts two real Postgres servers with sample meters, and meter-sync with all its features.
//!
//! The demo reads and writes its own two databases and no others, whatever databases the settings name. Any other
//! setting that is given applies as usual and replaces the demo's default. However and whenever the demo is stopped, it
//! leaves no process running, and the next start continues with the same data. It makes the same changes on the remote,
//! at the same pace, on every machine.
//!
//! [`ServerPair`] and [`sample_data`] are public for the programs in `examples/`, which need two databases to work on.

use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::time::timeout;

pub use server_pair::ServerPair;

use crate::app::{App, cannot_listen};
use crate::config::{
    CommandLineSettings, Config, DatabaseEndpoint, Mapping, OnDrift, Setting, SourceSetting,
    TenantSelection,
};
use crate::embedded::{self, EmbeddedError, PostgresBinaries};
use crate::error::Failure;
use crate::mirrors::{RunRequest, RunRequestOutcome};
use crate::model::RunTrigger;
use crate::reports::run_report::RunReport;
use crate::shutdown::Shutdown;
use scene::DemoScene;
use server_pair::ServerPairDirectories;
use welcome_text::WelcomeData;

mod owner_connection;
mod sample_changes;
pub mod sample_data;
mod scene;
mod server_pair;
mod welcome_text;

/// The flags of `meter-sync demo`, in addition to the settings.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Delete the data of an earlier demo and start anew
    #[arg(long, env = "METER_SYNC_DEMO_FRESH", value_parser = clap::builder::BoolishValueParser::new())]
    fresh: bool,
    /// Start anew and show a state that an operator should have seen once
    #[arg(long, value_name = "SCENE", env = "METER_SYNC_DEMO_SCENE")]
    scene: Option<DemoScene>,
    /// The directory of the demo's two databases [default: meter-sync in the user's data directory]
    #[arg(long, value_name = "DIR", env = "METER_SYNC_DEMO_DATA_DIR")]
    data_dir: Option<OsString>,
    /// The directory that has Postgres's `initdb` and `postgres` [default: searched for, or else installed]
    #[arg(long, value_name = "DIR", env = "METER_SYNC_POSTGRES_BIN")]
    postgres_bin: Option<OsString>,
}

impl DemoArgs {
    /// Finds the Postgres binaries, or installs them if there are none. Dropping this future does not stop a package
    /// manager that is already running.
    async fn binaries(&self) -> Result<PostgresBinaries, EmbeddedError> {
        let named = given(self.postgres_bin.as_ref());
        let mut finding = pin!(PostgresBinaries::find_or_install(named));
        if let Ok(found) = timeout(INSTALL_WARNING_DELAY, &mut finding).await {
            return found;
        }
        tracing::warn!("{}", embedded::still_installing());
        finding.await
    }

    /// Whether to delete the data of an earlier demo. A scene would spoil that data.
    fn is_fresh(&self) -> bool {
        self.fresh || self.scene.is_some()
    }

    fn directories(&self) -> anyhow::Result<ServerPairDirectories> {
        let named = given(self.data_dir.as_ref());
        let directory = named.map(std::path::absolute).transpose()?;
        Ok(ServerPairDirectories::kept(directory.as_deref())?)
    }
}

/// Returns the path; `None` if it is unset or empty, as with an empty environment variable.
fn given(path: Option<&OsString>) -> Option<&Path> {
    path.filter(|path| !path.is_empty()).map(Path::new)
}

/// The default schedule of the demo, once a minute: often enough to watch, and slow enough to read what changed.
const SCHEDULE: &str = "* * * * *";
/// How long the demo looks for Postgres or installs it before it warns that the network may be missing.
const INSTALL_WARNING_DELAY: Duration = Duration::from_secs(8);
/// How long the demo waits for a stop signal if the servers fail to start. Ctrl-C may have ended a child process before
/// this process receives the signal; the demo then ends without an error.
const SIGNAL_WAIT: Duration = Duration::from_millis(500);
/// The address on which the demo listens by default. Port 0 means [`USUAL_PORT`], or any free port if that one is
/// taken.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const USUAL_PORT: u16 = 8765;
/// How long the demo waits for its first sync to end. A run over a few hundred meters takes longer only if it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const STOPPED_EARLY: &str = "\nStopped before the two servers were up; nothing of them runs.\n";

/// Runs the demo until a stop is requested.
pub async fn run(
    args: DemoArgs,
    settings: &CommandLineSettings,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let mut config = config(settings)?;
    let listener = listen(config.listen).await?;
    config.listen = listener
        .local_addr()
        .context("read the address listened on")?;
    let stop = shutdown.token();
    let Some(binaries) = stop.run_until_cancelled(args.binaries()).await else {
        say(STOPPED_EARLY);
        return Ok(());
    };
    let (binaries, directories) = (binaries?, args.directories()?);
    tracing::info!("starting two servers of Postgres {}", binaries.version());
    // The start takes a second or two and has a time limit. If a stop is requested meanwhile, the start still finishes,
    // so that the started servers are shut down in order.
    let pair = match ServerPair::start(&binaries, directories, args.is_fresh()).await {
        // Ctrl-C also reaches `initdb`, which may then fail before this process handles the signal.
        Err(_) if timeout(SIGNAL_WAIT, stop.cancelled()).await.is_ok() => {
            say(STOPPED_EARLY);
            return Ok(());
        }
        started => started?,
    };
    let served = serve(config, listener, &pair, args.scene, shutdown.clone());
    let served = Box::pin(served).await;
    shutdown.finish().await;
    let directory = pair.directory().to_owned();
    let stopped = pair.stop().await;
    served.and(stopped.context("stop the two Postgres servers"))?;
    say(&welcome_text::farewell(&directory));
    Ok(())
}

/// Writes to standard output. Ignores errors, because the demo goes on if nobody reads its output.
fn say(text: &str) {
    drop(std::io::stdout().write_all(text.as_bytes()));
}

/// Fills the two databases if they are empty, syncs once, prints the welcome text, and serves HTTP until a stop is
/// requested.
async fn serve(
    mut config: Config,
    listener: TcpListener,
    pair: &ServerPair,
    scene: Option<DemoScene>,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let stop = shutdown.token();
    let filling = sample_data::fill(pair.remote_url(), pair.local_url());
    match stop.run_until_cancelled(filling).await {
        Some(filled) => filled?,
        None => return Ok(()),
    }
    config.remote = Some(DatabaseEndpoint::parse(pair.remote_url(), &config.limits)?);
    config.local = Some(DatabaseEndpoint::parse(pair.local_url(), &config.limits)?);
    let app = App::build(config, shutdown.clone())?;
    let begin = async {
        let first = sync(&app).await;
        match scene {
            Some(scene) => {
                let mirror = app.mirrors().find(None).await?;
                scene.set(pair.remote_url(), &mirror).await?;
                anyhow::Ok(sync(&app).await)
            }
            None => Ok(first),
        }
    };
    let Some(first) = stop.run_until_cancelled(begin).await.transpose()? else {
        return Ok(());
    };
    let welcome = WelcomeData {
        config: app.mirrors().config(),
        pair,
        first_sync: match &first {
            Ok(report) => &report.summary,
            Err(failure) => &failure.message,
        },
    };
    say(&welcome.text());
    let changes = sample_changes::keep_changing(pair.remote_url().to_owned(), stop);
    shutdown.tasks().spawn(changes);
    app.serve_on(listener).await
}

async fn sync(app: &App) -> Result<RunReport, Failure> {
    let request = RunRequest {
        actor: Some("demo".to_owned()),
        ..RunRequest::new(RunTrigger::Startup)
    };
    let mirror = app.mirrors().find(None).await?;
    match mirror.request(request).await? {
        RunRequestOutcome::Started(mut ticket) => Ok(ticket.wait(PATIENCE).await),
        RunRequestOutcome::AlreadyRunning(report) | RunRequestOutcome::Finished(report) => {
            Ok(*report)
        }
    }
}

/// Loads the settings, with the demo's values for those that are not given. Always replaces the settings for databases,
/// tenants and tables, because the demo must never write to a database of the user.
fn config(settings: &CommandLineSettings) -> Result<Config, Failure> {
    let settings = settings
        .clone()
        .with(Setting::RemoteUrl, "host=127.0.0.1 dbname=remote")
        .with(Setting::RemoteUrlFile, "")
        .with(Setting::LocalUrl, "host=127.0.0.1 dbname=local")
        .with(Setting::LocalUrlFile, "")
        .with_default(Setting::Schedule, SCHEDULE)
        .with_default(Setting::Jitter, "0s")
        .with_default(Setting::Listen, LISTEN.to_string());
    let config = Config::load(&settings)?;
    Ok(Config {
        remote: None,
        local: None,
        tenants: TenantSelection::One(None),
        mapping: Mapping {
            tenant: None,
            source: SourceSetting::Table("meter".to_owned()),
            local_table: "meter".to_owned(),
            columns: None,
            key: None,
            tenant_column: "tenant_id".to_owned(),
            active_column: "active".to_owned(),
            on_drift: OnDrift::default(),
        },
        ..config
    })
}

async fn listen(wanted: SocketAddr) -> Result<TcpListener, Failure> {
    let usual = SocketAddr::new(wanted.ip(), USUAL_PORT);
    let first = if wanted.port() == 0 { usual } else { wanted };
    let mut bound = TcpListener::bind(first).await;
    if bound.is_err() && first != wanted {
        tracing::info!("{first} is taken; the demo listens on another port");
        bound = TcpListener::bind(wanted).await;
    }
    bound.map_err(|error| cannot_listen(first, &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn no_setting_leads_the_demo_to_a_database_of_the_users() {
        let settings = CommandLineSettings::default()
            .with(Setting::RemoteUrlFile, "/nowhere")
            .with(Setting::LocalUrl, "postgres://elsewhere/site")
            .with(Setting::Tenants, "8,9")
            .with(Setting::LocalTable, "meter_{tenant}")
            .with(Setting::RemoteQuery, "select 1")
            .with(Setting::Schedule, "off");
        let config = config(&settings).expect("settings");
        assert!(config.remote.is_none() && config.local.is_none());
        assert_eq!(config.tenants, TenantSelection::One(None));
        assert_eq!(config.mapping.tenant, None);
        assert_eq!(config.mapping.local_table, "meter");
        assert_eq!(
            config.mapping.source,
            SourceSetting::Table("meter".to_owned())
        );
        assert!(config.schedule.is_none(), "other settings hold");
    }

    #[tokio::test]
    async fn a_taken_port_is_replaced_only_where_nobody_asked_for_it() {
        // the usual port is taken now, by this test or by another one
        let _holder = TcpListener::bind((Ipv4Addr::LOCALHOST, USUAL_PORT)).await;
        let other = listen(LISTEN).await.expect("another port");
        let other = other.local_addr().expect("an address");
        assert_ne!(other.port(), USUAL_PORT);

        let _taken = TcpListener::bind(other).await;
        let refused = listen(other).await.expect_err("a taken port");
        assert_eq!(refused.code, ErrorCode::ConfigInvalid);
    }
}
