//! Somebody else writes the local meters after a run has planned and before it locks or writes them.

use meter_sync::engine::RowsToCompare;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{RunHandle, RunRequest, RunRequestOutcome};
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::json;
use tokio_postgres::Client;

use crate::support::postgres::connect;
use crate::support::site::{Site, rows};
use crate::support::wait::until;

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A site in sync but for one meter, which is new on the remote.
async fn differing() -> Site {
    let site = super::site("name text", "").await;
    site.on_remote(
        "insert into meter select n, 7, 'meter ' || n, true from generate_series(1, 50) n",
    )
    .await;
    site.sync().await;
    site.on_remote("update meter set name = 'new' where id = 1")
        .await;
    site
}

/// Somebody who changes a meter, and has not committed yet.
struct Writer {
    client: Client,
    pid: i32,
}

impl Writer {
    async fn of(site: &Site, meter: usize) -> Self {
        let client = connect(&site.pair.local_url).await;
        client
            .batch_execute(&format!(
                "begin; update meter set name = 'theirs' where id = {meter}"
            ))
            .await
            .unwrap();
        let pid = client.query_one("select pg_backend_pid()", &[]).await;
        Self {
            client,
            pid: pid.unwrap().get(0),
        }
    }

    /// Waits until the run waits for this writer's row.
    async fn is_waited_for(&self, site: &Site) {
        let blocked = "select exists (select from pg_stat_activity
            where $1 = any (pg_blocking_pids(pid))
            and query ~ '^-- (lock the rows of the plan|update meters|deactivate meters)')";
        until("the run waits for the writer", async || {
            let row = site.local.query_one(blocked, &[&self.pid]).await;
            row.unwrap().get(0)
        })
        .await;
    }

    async fn commit(self) {
        self.client.batch_execute("commit").await.unwrap();
    }
}

/// A run that looks at all rows, so that each one that differs in the meantime is in its next plan.
async fn start(site: &Site) -> RunHandle {
    start_to(site, RowsToCompare::Everything).await
}

async fn start_to(site: &Site, compare: RowsToCompare) -> RunHandle {
    let request = RunRequest {
        compare,
        ..RunRequest::new(RunTrigger::Cli)
    };
    let Ok(RunRequestOutcome::Started(ticket)) = site.mirror.request(request).await else {
        panic!("no run");
    };
    ticket
}

/// A run whose plan is outdated so many times: each time a meter of the plan is written by somebody else while the
/// run waits to write or lock it, and one more meter differs by then.
async fn disturbed(site: &Site, times: usize) -> RunReport {
    let mut writer = Writer::of(site, 1).await;
    let mut ticket = start(site).await;
    for meter in 2..=times + 1 {
        writer.is_waited_for(site).await;
        if meter <= times {
            site.on_local(&format!(
                "update meter set name = 'different' where id = {meter}"
            ))
            .await;
            let next = Writer::of(site, meter).await;
            std::mem::replace(&mut writer, next).commit().await;
        }
    }
    writer.commit().await;
    ticket.wait(PATIENCE).await
}

async fn assert_is_equal(site: &Site) {
    let all = "select id, name, active from meter order by id";
    assert_eq!(rows(&site.local, all).await, rows(&site.remote, all).await);
}

#[tokio::test]
async fn a_meter_that_is_written_between_plan_and_write_is_planned_anew() {
    let site = differing().await;
    let run = disturbed(&site, 1).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let change = &run.changes[0];
    assert_eq!(change.before["name"], "theirs", "{run:#?}");
    assert_eq!(change.after["name"], "new", "{run:#?}");
    assert_is_equal(&site).await;
}

#[tokio::test]
async fn a_plan_that_is_outdated_four_times_is_carried_out_at_the_fifth() {
    let site = differing().await;
    let run = disturbed(&site, 4).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(run.counts.updated, 4, "{run:#?}");
    assert_is_equal(&site).await;
}

#[tokio::test]
async fn a_run_whose_plans_are_outdated_five_times_gives_up_and_leaves_the_meters_alone() {
    let site = differing().await;
    let run = disturbed(&site, 5).await;
    assert_eq!(run.outcome, Some(RunOutcome::Failed), "{run:#?}");
    let error = run.error.unwrap();
    assert_eq!(error.code, ErrorCode::LocalTimeout);
    assert!(error.message.contains("kept changing"), "{error}");
    let theirs = rows(
        &site.local,
        "select count(*) from meter where name = 'theirs'",
    )
    .await;
    assert_eq!(theirs, json!([{"count": 5}]));
    let recorded = "select count(*) from meter_sync.meter_sync_change where action = 'update'";
    assert_eq!(rows(&site.local, recorded).await, json!([{"count": 0}]));
    let next = site.sync().await;
    assert_eq!(next.counts.updated, 5, "{next:#?}");
    assert_is_equal(&site).await;
}

/// The first plan finds it among the rows that were selected while the remote began to send, the second one does not.
#[tokio::test]
async fn a_missing_meter_that_is_written_between_plan_and_write_is_planned_anew() {
    let site = differing().await;
    site.sync().await;
    site.on_remote("delete from meter where id = 1; update meter set name = 'newer' where id = 2")
        .await;
    let writer = Writer::of(&site, 1).await;
    let mut ticket = start_to(&site, RowsToCompare::Differences).await;
    writer.is_waited_for(&site).await;
    writer.commit().await;
    let run = ticket.wait(PATIENCE).await;
    assert_eq!(
        (run.counts.deactivated, run.counts.updated),
        (1, 1),
        "{run:#?}"
    );
    let one = rows(&site.local, "select name, active from meter where id = 1").await;
    assert_eq!(one, json!([{"name": "theirs", "active": false}]));
}

#[tokio::test]
async fn a_meter_that_is_deleted_between_plan_and_write_is_inserted_anew() {
    let site = differing().await;
    let deleter = Writer::of(&site, 1).await;
    deleter
        .client
        .batch_execute("delete from meter where id = 1")
        .await
        .unwrap();
    let mut ticket = start(&site).await;
    deleter.is_waited_for(&site).await;
    deleter.commit().await;
    let run = ticket.wait(PATIENCE).await;
    assert_eq!(run.counts.inserted, 1, "{run:#?}");
    assert_is_equal(&site).await;
}
