//! The remote is a standby, or fails over to one.

use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};
use tokio_postgres::Client;

use super::{HERE, METERS, THERE, run};
use crate::support::postgres::{Pair, connect, pair};
use crate::support::site::{self, LOCAL_SCHEMA, REMOTE_SCHEMA, finish, rows, settings};
use crate::support::standby::Cluster;

/// A remote with a standby, and a local database without.
struct Servers {
    other: Pair,
    local: Client,
    cluster: Cluster,
}

async fn servers() -> Servers {
    let (other, cluster) = tokio::join!(pair(), Cluster::start());
    let local = connect(&other.local_url).await;
    run(&local, LOCAL_SCHEMA).await;
    let primary = cluster.on_primary().await;
    run(&primary, REMOTE_SCHEMA).await;
    run(&primary, METERS).await;
    cluster.catch_up().await;
    Servers {
        other,
        local,
        cluster,
    }
}

impl Servers {
    async fn is_equal_to(&self, remote: &Client) {
        assert_eq!(rows(&self.local, HERE).await, rows(remote, THERE).await);
    }
}

#[tokio::test]
async fn a_remote_that_fails_over_and_loses_commits_is_followed() {
    let mut servers = servers().await;
    let remote_url = servers.cluster.url("primary");
    let mirror = site::mirror(&settings(&remote_url, &servers.other.local_url));
    let syncs = async |expected| {
        let run = finish(&mirror, RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(expected), "{run:#?}");
        run.warning
    };
    assert_eq!(syncs(RunOutcome::Succeeded).await, None);
    servers.cluster.cut_the_stream().await;
    let primary = servers.cluster.on_primary().await;
    run(
        &primary,
        "update meter set name = 'lost' where id = 4; insert into meter (id, tenant_id, name) values (51, 7, 'lost')",
    )
    .await;
    assert_eq!(syncs(RunOutcome::Succeeded).await, None);
    assert_eq!(syncs(RunOutcome::NoChange).await, None);
    servers.is_equal_to(&primary).await;

    servers.cluster.fail_over().await;
    let promoted = servers.cluster.on_standby().await;
    let warning = syncs(RunOutcome::Succeeded).await.unwrap_or_default();
    assert!(warning.contains("taken back"), "{warning}");
    servers.is_equal_to(&promoted).await;
    assert_eq!(syncs(RunOutcome::NoChange).await, None);
    run(&promoted, "update meter set name = 'new' where id = 5").await;
    assert_eq!(syncs(RunOutcome::Succeeded).await, None);
    servers.is_equal_to(&promoted).await;
}

#[tokio::test]
async fn a_standby_is_read_and_goes_on_being_read_when_it_is_promoted() {
    let servers = servers().await;
    let remote_url = servers.cluster.url("prefer-standby");
    let mirror = site::mirror(&settings(&remote_url, &servers.other.local_url));
    let syncs = async |expected| {
        let run = finish(&mirror, RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(expected), "{run:#?}");
        run.warning
    };
    assert_eq!(syncs(RunOutcome::Succeeded).await, None);
    let (primary, standby) = (
        servers.cluster.on_primary().await,
        servers.cluster.on_standby().await,
    );
    run(&primary, "update meter set name = 'new' where id = 5").await;
    servers.cluster.catch_up().await;
    assert_eq!(syncs(RunOutcome::Succeeded).await, None);
    servers.is_equal_to(&standby).await;
    assert_eq!(syncs(RunOutcome::NoChange).await, None);

    // What the standby does not have is not read.
    servers.cluster.cut_the_stream().await;
    run(&primary, "update meter set name = 'late' where id = 6").await;
    assert_eq!(syncs(RunOutcome::NoChange).await, None);
    drop(primary);
    let mut servers = servers;
    servers.cluster.fail_over().await;
    run(&standby, "delete from meter where id = 7").await;
    assert_eq!(syncs(RunOutcome::Succeeded).await, None);
    servers.is_equal_to(&standby).await;
    assert_eq!(syncs(RunOutcome::NoChange).await, None);
}

/// The standby is read, and shows what was lost, before it is promoted.
#[tokio::test]
async fn a_loss_that_a_standby_has_shown_is_not_told_again_when_it_is_promoted() {
    let mut servers = servers().await;
    let remote_url = servers.cluster.url("any");
    let mirror = site::mirror(&settings(&remote_url, &servers.other.local_url));
    let syncs = async |expected| {
        let run = finish(&mirror, RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(expected), "{run:#?}");
        run.warning
    };
    assert_eq!(syncs(RunOutcome::Succeeded).await, None);
    servers.cluster.cut_the_stream().await;
    let primary = servers.cluster.on_primary().await;
    for id in 1..=3 {
        let lost = format!("update meter set name = 'lost' where id = {id}");
        run(&primary, &lost).await;
    }
    assert_eq!(syncs(RunOutcome::Succeeded).await, None);
    assert_eq!(syncs(RunOutcome::NoChange).await, None);

    let stopped = servers.cluster.primary.stop_immediately().await;
    stopped.expect("stop the primary");
    let warning = syncs(RunOutcome::Succeeded).await.unwrap_or_default();
    assert!(
        warning.contains("as they were before the last sync"),
        "{warning}"
    );
    let standby = servers.cluster.on_standby().await;
    servers.is_equal_to(&standby).await;
    servers.cluster.promote().await;
    assert_eq!(syncs(RunOutcome::NoChange).await, None);
    run(&standby, "update meter set name = 'new' where id = 5").await;
    assert_eq!(syncs(RunOutcome::Succeeded).await, None);
    servers.is_equal_to(&standby).await;
}
