//! A standby of a server of a test's own.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use meter_sync::embedded::Server;
use tokio_postgres::Client;

use super::postgres::{binaries, connect, start_server_with};
use super::wait;

/// A copy of the primary's files, which goes on with the primary's log.
pub(crate) async fn standby_of(primary: &mut Server) -> Server {
    let settings = vec!["max_standby_streaming_delay=100ms".to_owned()];
    let mut standby = start_server_with(&binaries().await, "standby", settings).await;
    let stopped = tokio::try_join!(standby.stop_immediately(), primary.stop_immediately());
    stopped.expect("stop the servers");
    let data = standby.directory().join("data");
    fs::remove_dir_all(&data).expect("remove its data");
    let from = primary.directory().join("data");
    let copied = Command::new("cp").arg("-a").args([&from, &data]).status();
    assert!(copied.expect("run cp").success());
    let conninfo = format!(
        "primary_conninfo = 'host=127.0.0.1 port={} user=postgres'\n",
        primary.port()
    );
    // not an option of the command, so that `alter system` can change it
    fs::write(data.join("postgresql.auto.conf"), conninfo).expect("say where its primary is");
    say_that_it_is_a_standby(&data);
    let started = tokio::try_join!(standby.restart(), primary.restart());
    started.expect("start the servers");
    standby
}

/// Lets a server that was a primary start again as a standby of nobody, at its old address.
pub(crate) async fn demote(server: &mut Server) {
    server.stop_immediately().await.expect("stop the server");
    say_that_it_is_a_standby(&server.directory().join("data"));
    server.restart().await.expect("start the server");
}

fn say_that_it_is_a_standby(data: &Path) {
    let signal = data.join("standby.signal");
    fs::write(&signal, "").expect("say that it is a standby");
    let owner = fs::metadata(data).expect("the server's data");
    chown(&signal, Some(owner.uid()), Some(owner.gid())).expect("give it to the server");
}

/// A primary and a standby, which streams the primary's log.
pub(crate) struct Cluster {
    pub(crate) primary: Server,
    pub(crate) standby: Server,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let mut primary = start_server_with(&binaries().await, "primary", Vec::new()).await;
        let standby = standby_of(&mut primary).await;
        let cluster = Self { primary, standby };
        let stream = "select from pg_stat_replication where state = 'streaming'";
        let admin = cluster.on_primary().await;
        let streams = async || !admin.query(stream, &[]).await.expect("look").is_empty();
        wait::until("the standby streams", streams).await;
        cluster
    }

    pub(crate) async fn on_primary(&self) -> Client {
        connect(&self.primary.url("postgres")).await
    }

    pub(crate) async fn on_standby(&self) -> Client {
        connect(&self.standby.url("postgres")).await
    }

    /// The URL of both servers, the primary first.
    pub(crate) fn url(&self, attrs: &str) -> String {
        url_of(
            [self.primary.port(), self.standby.port()],
            "postgres",
            attrs,
        )
    }

    /// Waits until the standby has replayed all that the primary has committed.
    pub(crate) async fn catch_up(&self) {
        let written = "select pg_current_wal_lsn()::text";
        let written = self.on_primary().await.query_one(written, &[]).await;
        let replayed = format!(
            "select pg_last_wal_replay_lsn() >= '{}'",
            written.expect("look").get::<_, String>(0)
        );
        let standby = self.on_standby().await;
        let is_there = async || {
            let row = standby.query_one(&replayed, &[]).await.expect("look");
            row.get(0)
        };
        wait::until("the standby has caught up", is_there).await;
    }

    /// From now on the standby gets nothing of the primary any more.
    pub(crate) async fn cut_the_stream(&self) {
        self.catch_up().await;
        let standby = self.on_standby().await;
        for sql in [
            "alter system set primary_conninfo = 'host=127.0.0.1 port=1'",
            "select pg_reload_conf()",
        ] {
            standby.batch_execute(sql).await.expect("cut it");
        }
        let admin = self.on_primary().await;
        let left = "select from pg_stat_replication";
        let is_cut = async || admin.query(left, &[]).await.expect("look").is_empty();
        wait::until("the stream is cut", is_cut).await;
    }

    /// The standby becomes a primary.
    pub(crate) async fn promote(&self) {
        let promoted = self
            .on_standby()
            .await
            .query_one("select pg_promote()", &[])
            .await;
        assert!(promoted.expect("promote it").get::<_, bool>(0));
    }

    /// The primary dies, and the standby takes its place.
    pub(crate) async fn fail_over(&mut self) {
        self.primary.stop_immediately().await.expect("stop it");
        self.promote().await;
    }
}

/// The URL of a database on two servers of this machine.
pub(crate) fn url_of(ports: [u16; 2], database: &str, attrs: &str) -> String {
    let [first, second] = ports;
    format!(
        "postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/{database}?sslmode=disable&target_session_attrs={attrs}"
    )
}
