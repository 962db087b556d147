//! A database fails over to its standby: on the local side, on the remote, with one tenant and with many.

mod kinds_of_sessions;
mod local;
mod lost_commits;
mod remote;

use meter_sync::config::Setting;
use meter_sync::mirrors::Mirror;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::postgres::{Pair, connect, pair};
use crate::support::site::{self, LOCAL_SCHEMA, REMOTE_SCHEMA, finish, rows, settings};
use crate::support::standby::Cluster;

const METERS: &str = "
    insert into meter (id, tenant_id, name)
    select n, 7, 'Meter ' || n from generate_series(1, 50) n";

/// The local meters as the remote should have them, and the remote ones.
const HERE: &str = "select id::integer, name from meter where active order by id::integer";
const THERE: &str =
    "select id::integer, name from meter where active and tenant_id = 7 order by id";

/// A site one of whose two databases is a primary with a standby.
struct Site {
    /// The database that has no standby; it outlives its connections.
    _other: Pair,
    remote: Client,
    cluster: Cluster,
    mirror: Mirror,
    urls: [String; 2],
}

impl Site {
    /// The local database has a standby. Both servers are in the URL.
    async fn with_local_standby() -> Self {
        let (other, cluster) = tokio::join!(pair(), Cluster::start());
        let remote = connect(&other.remote_url).await;
        run(&remote, REMOTE_SCHEMA).await;
        run(&remote, METERS).await;
        run(&cluster.on_primary().await, LOCAL_SCHEMA).await;
        let urls = [other.remote_url.clone(), cluster.url("read-write")];
        let mut site = Self {
            _other: other,
            remote,
            cluster,
            mirror: site::mirror(&settings(&urls[0], &urls[1])),
            urls,
        };
        site.start_anew();
        site
    }

    /// As a new process would see it.
    fn start_anew(&mut self) {
        self.mirror = site::mirror(&settings(&self.urls[0], &self.urls[1]));
    }

    async fn sync(&self) -> RunReport {
        finish(&self.mirror, RunRequest::new(RunTrigger::Cli)).await
    }

    /// A run that changes meters, or does not, as `expected` says.
    async fn syncs(&self, expected: RunOutcome) -> RunReport {
        let run = self.sync().await;
        assert_eq!(run.outcome, Some(expected), "{run:#?}");
        run
    }
}

async fn run(client: &Client, sql: &str) {
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// The outcomes in the log, in the order of the runs.
async fn outcomes(local: &Client) -> Vec<Value> {
    let log = "select outcome from meter_sync.meter_sync_log order by seq";
    let log = rows(local, log).await;
    let log = log.as_array().expect("rows").iter();
    log.map(|row| row["outcome"].clone()).collect()
}

/// The settings of the real program over a site.
fn of_program(urls: &[String; 2]) -> [(Setting, &str); 4] {
    [
        (Setting::RemoteUrl, &urls[0]),
        (Setting::LocalUrl, &urls[1]),
        (Setting::Schedule, "*/2 * * * * *"),
        (Setting::LockTimeout, "60s"),
    ]
}
