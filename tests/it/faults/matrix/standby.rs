//! A standby as the remote: changes that are replayed, reads that are in the way of the replay, and its promotion.

use meter_sync::config::Setting;
use meter_sync::embedded::Server;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use serde_json::json;
use tokio_postgres::Client;

use super::case::{Ends, HoldPoint, hold_lock};
use super::invariants;
use super::trial_site::Side::Remote;
use super::trial_site::{CHANGES, Trial, TrialDatabase};
use crate::support::postgres::{binaries, start_server, start_server_with};
use crate::support::standby::standby_of;
use crate::support::wait;

/// What a role that may only read sees of the meters, once it has the lock of meter 20.
const VIEW: &str = "
    create view waiting as
    select * from meter where id <> 20 or pg_advisory_xact_lock_shared(20) is not null;
    grant select on waiting to $role";

/// Where a run is held while the replay comes.
const IDLE: HoldPoint = HoldPoint::At(Remote, &["-- read the meters"]);
const READING: HoldPoint = HoldPoint::Behind(Remote, "select pg_advisory_xact_lock(20)");

/// A primary, a standby that reads are not to hold up for long, and a site that reads from the standby.
struct Site {
    _servers: [Server; 3],
    primary: TrialDatabase,
    trial: Trial,
}

impl Site {
    async fn start() -> Self {
        let binaries = binaries().await;
        let settings = || {
            vec![
                "wal_level=replica".to_owned(),
                "max_wal_senders=4".to_owned(),
            ]
        };
        let (mut primary_server, local_server) = tokio::join!(
            start_server_with(&binaries, "primary", settings()),
            start_server(&binaries, "local")
        );
        let urls = (primary_server.url("postgres"), local_server.url("postgres"));
        let mut trial = Trial::over((&urls.0, &urls.1), 40).await;
        trial.remote.run(VIEW).await;
        let standby_server = standby_of(&mut primary_server).await;
        let standby = TrialDatabase::at(&standby_server.url("postgres")).await;
        let primary = std::mem::replace(&mut trial.remote, standby);
        trial.start_anew(&[]);
        trial.other_tasks = primary.line.tasks();
        Self {
            _servers: [primary_server, local_server, standby_server],
            primary,
            trial,
        }
    }

    /// Runs statements on the primary, and waits until the standby has replayed them.
    async fn on_primary(&self, sql: &str) {
        self.primary.run(sql).await;
        let written = self
            .primary
            .rows("select pg_current_wal_lsn()::text as lsn")
            .await;
        let replayed = format!(
            "select pg_last_wal_replay_lsn() >= '{}' as done",
            written[0]["lsn"].as_str().expect("a place in the log")
        );
        let is_replayed =
            async || self.trial.remote.rows(&replayed).await == json!([{"done": true}]);
        wait::until("the standby has replayed it", is_replayed).await;
    }

    /// A run that brings what waits, after which everything holds.
    async fn syncs(&mut self, name: &str) {
        println!("{name}");
        let before = self.trial.state().await;
        let run = self.trial.sync().await;
        Ends::With(RunOutcome::Succeeded).hold(name, &run);
        invariants::hold(name, &mut self.trial, &before, Some(&run)).await;
    }

    /// A run that is in the way of the replay.
    async fn is_ended(&mut self, name: &str, hold: HoldPoint) {
        println!("{name}");
        self.on_primary(CHANGES).await;
        let before = self.trial.state().await;
        let rewrite = async |_: Option<&Client>| self.on_primary("vacuum full meter").await;
        let run = hold
            .run(name, &self.trial, self.trial.sync(), rewrite)
            .await;
        let error = run.error.as_ref().expect("an error");
        assert!(
            error.remedy.contains("max_standby_streaming_delay"),
            "{run:#?}"
        );
        Ends::Failing(ErrorCode::RemoteTimeout).hold(name, &run);
        invariants::hold(name, &mut self.trial, &before, Some(&run)).await;
    }

    /// The standby goes its own way.
    async fn promote(&self) {
        let promoted = self.trial.remote.rows("select pg_promote() as done").await;
        assert_eq!(promoted, json!([{"done": true}]));
    }
}

#[tokio::test]
async fn a_standby_is_read_through_conflicts_with_its_replay_and_its_promotion() {
    let mut site = Site::start().await;
    site.on_primary(CHANGES).await;
    site.syncs("changes have been replayed").await;

    let late = hold_lock(
        &site.primary,
        "update meter set notes = 'late' where id = 11",
    )
    .await;
    site.trial.other_tasks += 1;
    site.on_primary(CHANGES).await;
    site.syncs("a transaction is open on the primary").await;
    late.batch_execute("commit").await.expect("a late commit");
    drop(late);
    site.trial.other_tasks -= 1;
    site.on_primary("select txid_current()").await;
    site.syncs("it has committed late").await;

    site.is_ended("the replay ends a transaction between statements", IDLE)
        .await;
    site.trial.start_anew(&[(Setting::RemoteTable, "waiting")]);
    site.on_primary(CHANGES).await;
    site.syncs("a view is read instead").await;
    site.is_ended("the replay ends a statement", READING).await;

    site.promote().await;
    site.trial.change().await;
    site.syncs("the standby is promoted").await;
}
