//! A site: a remote and a local database with meter tables of the usual shapes, and the runs over
//! them.

use std::time::Duration;

use meter_sync::config::{CommandLineSettings, Config, Environment, Setting};
use meter_sync::history::parse_meter_key::MeterKeyText;
use meter_sync::mirrors::{Mirror, Mirrors, RunRequest, RunRequestOutcome};
use meter_sync::model::RunTrigger;
use meter_sync::reports::meter_report::MeterReport;
use meter_sync::reports::run_report::RunReport;
use meter_sync::reports::status::{Status, StatusQuery};
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use super::postgres::{Pair, connect, pair};

/// The remote as the users have it, with three organisations: 7, 8 and 9.
pub(crate) const REMOTE_SCHEMA: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme'), (8, 'Byte'), (9, 'Cole');
    create table meter (
        id bigint primary key, tenant_id bigint not null, name text, type text,
        serial_number text, installation_date date, device_id bigint, location_id bigint,
        ip inet, port integer, protocol text, status text, register_map jsonb, notes text,
        active boolean not null default true,
        created_at timestamptz, updated_at timestamptz)";

/// The local side in the earlier program's shape: text ids and ports, a foreign key from readings, and
/// a column of the site's own.
pub(crate) const LOCAL_SCHEMA: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme');
    create table meter (
        id varchar(40) primary key, name varchar(80), type text,
        serial_number text, installation_date date, device_id text, location_id text,
        ip varchar(45), port varchar(5), protocol text, status text, register_map jsonb, notes text,
        active boolean not null default true,
        created_at timestamptz, updated_at timestamptz,
        site_note text default 'ours');
    create table meter_reading (
        id bigint generated always as identity primary key,
        meter_id varchar(40) not null references meter, value double precision)";

/// A local side that holds the meters of all three organisations.
pub(crate) const SHARED_LOCAL_SCHEMA: &str = "
    create table tenant (id bigint primary key, name text);
    insert into tenant values (7, 'Acme'), (8, 'Byte'), (9, 'Cole');
    create table meter (
        id bigint primary key, tenant_id bigint not null, name text, active boolean not null default true)";

/// The URL of a database where nothing listens. No answer may hold its password.
pub(crate) const NOWHERE: &str = "postgres://nobody:hunter2@127.0.0.1:1/nothing";

/// No run of a test takes longer unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A remote and a local database of one test, the runs over them, and a connection to each for the
/// test's own eyes and hands.
pub(crate) struct Site {
    pub(crate) pair: Pair,
    pub(crate) remote: Client,
    pub(crate) local: Client,
    pub(crate) mirror: Mirror,
}

/// Makes the server count what this session has written. It would do so within some seconds, and before Postgres 15 it
/// has no such function.
pub(crate) const COUNT_WRITES: &str = "
    do $$ begin
        if to_regproc('pg_stat_force_next_flush') is not null then
            perform pg_stat_force_next_flush();
        end if;
    end $$";

impl Site {
    /// A site with the usual schemas and no meters.
    pub(crate) async fn new() -> Self {
        Self::with_schemas(REMOTE_SCHEMA, LOCAL_SCHEMA).await
    }

    /// A site whose local table holds the meters of the organisations 7, 8 and 9.
    pub(crate) async fn shared() -> Self {
        Self::with_schemas(REMOTE_SCHEMA, SHARED_LOCAL_SCHEMA).await
    }

    /// A site in sync with twenty meters, of which ten are gone on the remote since: the brake holds the next run back.
    pub(crate) async fn with_meters_gone() -> Self {
        let site = Self::new().await;
        site.on_remote(
            "insert into meter (id, tenant_id, name) select n, 7, 'Meter ' || n from generate_series(1, 20) n",
        )
        .await;
        site.sync().await;
        site.on_remote("delete from meter where id > 10").await;
        site
    }

    /// A site with schemas of the test's own.
    pub(crate) async fn with_schemas(remote_schema: &str, local_schema: &str) -> Self {
        Self::on_pair(pair().await, remote_schema, local_schema).await
    }

    /// A site in these databases.
    pub(crate) async fn on_pair(pair: Pair, remote_schema: &str, local_schema: &str) -> Self {
        let remote = connect(&pair.remote_url).await;
        let local = connect(&pair.local_url).await;
        remote
            .batch_execute(remote_schema)
            .await
            .expect("create the remote schema");
        local
            .batch_execute(local_schema)
            .await
            .expect("create the local schema");
        let mirror = mirror(&settings(&pair.remote_url, &pair.local_url));
        Self {
            pair,
            remote,
            local,
            mirror,
        }
    }

    /// The settings of this site, to add to.
    pub(crate) fn settings(&self) -> CommandLineSettings {
        settings(&self.pair.remote_url, &self.pair.local_url)
    }

    /// Runs with settings of the test's own in place of the usual ones.
    pub(crate) fn reconfigure(&mut self, settings: &CommandLineSettings) {
        self.mirror = mirror(settings);
    }

    /// Changes the remote, which counts at once what was written.
    pub(crate) async fn on_remote(&self, sql: &str) {
        for sql in [sql, COUNT_WRITES] {
            self.remote
                .batch_execute(sql)
                .await
                .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        }
    }

    /// Changes the local database behind the sync's back.
    pub(crate) async fn on_local(&self, sql: &str) {
        self.local
            .batch_execute(sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e:?}"));
    }

    /// A sync to its end.
    pub(crate) async fn sync(&self) -> RunReport {
        finish(&self.mirror, RunRequest::new(RunTrigger::Cli)).await
    }

    /// A run that reads gigabytes, to its end.
    pub(crate) async fn sync_gigabytes(&self) -> RunReport {
        let request = RunRequest::new(RunTrigger::Cli);
        finish_within(&self.mirror, request, 5 * PATIENCE).await
    }

    /// A dry run to its end.
    pub(crate) async fn dry_run(&self) -> RunReport {
        finish(
            &self.mirror,
            RunRequest {
                dry_run: true,
                ..RunRequest::new(RunTrigger::Cli)
            },
        )
        .await
    }

    /// The meter of a key, which must be there.
    pub(crate) async fn meter(&self, key: &str) -> MeterReport {
        let key = MeterKeyText::parse(key).expect("a key");
        let meter = self.mirror.meter(&key, None).await;
        meter.expect("an answer").expect("a meter")
    }

    /// The status with everything in it.
    pub(crate) async fn status(&self) -> Status {
        let query = StatusQuery {
            include_changes: true,
            ..StatusQuery::default()
        };
        self.mirror.status(&query).await.expect("a status")
    }
}

/// The settings for two databases, with the schedule off.
pub(crate) fn settings(remote_url: &str, local_url: &str) -> CommandLineSettings {
    CommandLineSettings::default()
        .with(Setting::RemoteUrl, remote_url)
        .with(Setting::LocalUrl, local_url)
        .with(Setting::Schedule, "off")
}

/// The configuration for settings, whatever the environment of the test.
pub(crate) fn config(settings: &CommandLineSettings) -> Config {
    Config::load_from(settings, &Environment::default()).expect("settings a test can use")
}

/// The mirror as a process of its own would have it.
pub(crate) fn mirror(settings: &CommandLineSettings) -> Mirror {
    mirrors(settings)
        .only()
        .cloned()
        .expect("settings of one mirror")
}

/// All mirrors as a process of its own would have them.
pub(crate) fn mirrors(settings: &CommandLineSettings) -> Mirrors {
    Mirrors::new(config(settings), TaskTracker::new()).expect("pools")
}

/// A request to its end, whatever the answer.
pub(crate) async fn finish(mirror: &Mirror, request: RunRequest) -> RunReport {
    finish_within(mirror, request, PATIENCE).await
}

async fn finish_within(mirror: &Mirror, request: RunRequest, patience: Duration) -> RunReport {
    match mirror
        .request(request)
        .await
        .expect("an answer to the request")
    {
        RunRequestOutcome::Started(mut ticket) => ticket.wait(patience).await,
        RunRequestOutcome::AlreadyRunning(report) | RunRequestOutcome::Finished(report) => *report,
    }
}

/// All rows of a query as one JSON array, for comparison with what a test expects.
pub(crate) async fn rows(client: &Client, query: &str) -> serde_json::Value {
    let sql = format!("select coalesce(jsonb_agg(to_jsonb(q)), '[]') from ({query}) q");
    client
        .query_one(&sql, &[])
        .await
        .unwrap_or_else(|e| panic!("{query}: {e:?}"))
        .get(0)
}
