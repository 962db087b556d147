//! The site that is asked about: two servers, a synced tenant, and some runs in the log.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meter_sync::config::{Config, Environment, Setting, Settings};
use meter_sync::embedded::{Binaries, Data, Server, ServerOptions};
use meter_sync::runs::Runs;
use tokio::process::Command;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::TaskTracker;

const DATABASE: &str = "postgres";
const TENANT: &str = "7";
/// The meters of the usual site.
pub(crate) const METERS: i64 = 1000;
/// How many runs there are in the log: more than a status lists.
const RUNS: u32 = 8;
/// How many there are in that of a large site: 15 minutes apart they are those of seven weeks.
pub(crate) const LARGE_RUNS: u32 = 5000;
/// It does not fire while we measure, and a schedule that is off is no health `ok`.
const SCHEDULE: &str = "0 0 1 1 *";
/// A sync takes less than a second, and the first one of a million meters some ten.
const PATIENCE: Duration = Duration::from_secs(600);

/// How much there is at a site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// The site's meters, among as many of another tenant.
    pub(crate) meters: i64,
    /// How often it was synced.
    syncs: u32,
    /// How many runs are written to the log besides.
    logged: u32,
}

impl Size {
    pub(crate) const SMALL: Self = Self {
        meters: METERS,
        syncs: RUNS,
        logged: 0,
    };

    pub(crate) fn large(meters: u32) -> Self {
        Self {
            meters: meters.into(),
            syncs: 1,
            logged: LARGE_RUNS - 1,
        }
    }

    fn remote(self) -> String {
        format!("{REMOTE}(1, {}) id", self.meters * 2)
    }
}

/// Runs before the first one, each as it was.
const LOGGED: &str = "\
insert into meter_sync.meter_sync_log
    (id, tenant, local_table, trigger, started_at, finished_at, outcome, unchanged)
select md5(n::text)::uuid, g.tenant, g.local_table, 'schedule',
    g.started_at - n * interval '15 min', g.finished_at - n * interval '15 min', 'no_change', g.inserted
from meter_sync.meter_sync_log g, generate_series(1, ";

const REMOTE: &str = "
    create table meter (
        id bigint primary key, tenant_id bigint not null, name text, type text, serial_number text,
        active boolean not null default true);
    create index on meter (tenant_id);
    insert into meter
    select id, 7 + id % 2, 'Meter ' || id, 'electricity', 'SN-' || id from generate_series";

const LOCAL: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme');
    create table meter (
        id bigint primary key, name text, type text, serial_number text,
        active boolean not null default true)";

/// The servers, and what is known of them.
#[derive(Debug)]
pub(crate) struct Site {
    remote: Server,
    local: Server,
    program: PathBuf,
    pub(crate) postgres: String,
    /// A connection of the bench's own.
    pub(crate) client: Client,
    pub(crate) meters: i64,
}

impl Site {
    /// Starts the servers, and syncs as often as is wanted.
    pub(crate) async fn start(program: &Path, size: Size) -> Result<Self> {
        let binaries = Binaries::find_or_install(None).await?;
        let options = |name| ServerOptions {
            name,
            data: Data::Temporary,
            settings: Vec::new(),
        };
        let remote = Server::start(&binaries, options("remote")).await?;
        let local = Server::start(&binaries, options("local")).await?;
        let client = connect(&local.url(DATABASE)).await?;
        client.batch_execute(LOCAL).await?;
        let site = Self {
            remote,
            local,
            program: program.canonicalize().context("find the program")?,
            postgres: binaries.version().to_owned(),
            client,
            meters: size.meters,
        };
        site.fill(size).await?;
        // what autovacuum would do in the midst of a measurement
        site.client
            .batch_execute("vacuum (freeze, analyze)")
            .await?;
        Ok(site)
    }

    async fn fill(&self, size: Size) -> Result<()> {
        let remote = connect(&self.remote.url(DATABASE)).await?;
        remote.batch_execute(&size.remote()).await?;
        for run in 1..=size.syncs {
            let sql = format!("update meter set name = name || '*' where id % 100 = {run}");
            remote.batch_execute(&sql).await?;
            let status = self.sync().await?;
            ensure!(status.success(), "meter-sync sync ended with {status}");
        }
        let logged = format!("{LOGGED}{}) n", size.logged);
        Ok(self.client.batch_execute(&logged).await?)
    }

    async fn sync(&self) -> Result<ExitStatus> {
        let mut command = self.command("sync");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let ended = tokio::time::timeout(PATIENCE, command.status());
        ended.await.context("a sync hangs")?.context("start it")
    }

    fn settings(&self) -> [(Setting, String); 4] {
        [
            (Setting::RemoteUrl, self.remote.url(DATABASE)),
            (Setting::LocalUrl, self.local.url(DATABASE)),
            (Setting::TenantId, TENANT.to_owned()),
            (Setting::Schedule, SCHEDULE.to_owned()),
        ]
    }

    /// The program over this site, with nothing else in its environment.
    pub(crate) fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(subcommand).env_clear().kill_on_drop(true);
        for (setting, value) in self.settings() {
            command.env(setting.env(), value);
        }
        command
    }

    /// What the program asks the database through, in this process.
    pub(crate) fn runs(&self) -> Result<Runs> {
        let mut settings = Settings::default();
        for (setting, value) in self.settings() {
            settings = settings.with(setting, value);
        }
        let config = Config::load_from(&settings, &Environment::default())?;
        Ok(Runs::new(config, TaskTracker::new())?)
    }

    /// Commits something in the local database that changes no answer.
    pub(crate) async fn commit(&self) -> Result<()> {
        let commit = "update tenant set name = name";
        Ok(self.client.batch_execute(commit).await?)
    }

    /// The first process of the local server.
    pub(crate) fn local_pid(&self) -> Option<u32> {
        self.local.pid()
    }

    pub(crate) async fn stop(self) -> Result<()> {
        drop(self.client);
        let (remote, local) = tokio::join!(self.remote.stop(), self.local.stop());
        Ok(remote.and(local)?)
    }
}

async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    #[expect(clippy::disallowed_methods, reason = "it ends with its client")]
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}
