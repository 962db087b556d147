//! Most meters get new versions on the remote and none is gone or new, so that one statement writes all that differ.
//! Somebody else writes meanwhile, a row is refused, or the brake refuses the run.

use meter_sync::config::Setting;
use meter_sync::embedded::Server;
use meter_sync::mirrors::{RunHandle, RunRequest, RunRequestOutcome};
use meter_sync::model::{Counts, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::json;
use tokio_postgres::Client;

use crate::support::postgres::{connect, pair_alone};
use crate::support::site::{Site, rows};
use crate::support::wait::until;

const METERS: i64 = 100;

const COLUMNS: &str = "name text, port integer";
const CHECK: &str = ", check (port > 0)";

/// A site in sync. Every tenth meter is inactive.
async fn settled() -> Site {
    settle(super::site(COLUMNS, CHECK).await).await
}

/// The same on servers of its own. Where other transactions run for long, rows are not overwritten.
async fn settled_alone() -> (Site, (Server, Server)) {
    let (pair, servers) = pair_alone().await;
    let site = super::site_on(pair, COLUMNS, CHECK).await;
    (settle(site).await, servers)
}

async fn settle(site: Site) -> Site {
    site.on_remote(&format!(
        "insert into meter select n, 7, 'meter ' || n, n, n % 10 > 0 from generate_series(1, {METERS}) n;
         insert into meter select n, 8, 'other ' || n, n, true from generate_series(1001, 1010) n"
    ))
    .await;
    site.sync().await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    site
}

/// All get a new version; five keep their values, one is switched on and one off.
const CHANGES: &str = "
    update meter set name = case when id > 5 then name || '!' else name end,
        active = case id when 10 then true when 11 then false else active end where tenant_id = 7";

const COUNTS: Counts = Counts {
    inserted: 0,
    updated: METERS - 6,
    deactivated: 0,
    reactivated: 1,
    unchanged: 5,
    rejected: 0,
};

/// Somebody who has written to the local meters, and has not committed yet.
struct Writer(Client);

impl Writer {
    async fn of(site: &Site, write: &str) -> Self {
        let client = connect(&site.pair.local_url).await;
        client.batch_execute("begin").await.expect("a transaction");
        client.batch_execute(write).await.expect("a write");
        Self(client)
    }

    /// Starts a run, and waits until its one statement waits for this writer.
    async fn is_waited_for(&self, site: &Site) -> RunHandle {
        let pid: i32 = self
            .0
            .query_one("select pg_backend_pid()", &[])
            .await
            .expect("a process")
            .get(0);
        let request = RunRequest::new(RunTrigger::Cli);
        let Ok(RunRequestOutcome::Started(run)) = site.mirror.request(request).await else {
            panic!("no run");
        };
        let blocked = "select exists (select from pg_stat_activity
            where $1 = any (pg_blocking_pids(pid)) and query like '-- update meters%was_inactive%')";
        until("the run waits for the writer", async || {
            let row = site.local.query_one(blocked, &[&pid]).await;
            row.expect("an answer").get(0)
        })
        .await;
        run
    }

    async fn end(self, how: &str, run: &mut RunHandle) -> RunReport {
        self.0.batch_execute(how).await.expect("an end");
        run.wait(std::time::Duration::from_secs(60)).await
    }
}

/// A run of [`CHANGES`] while somebody has written, and then ends that transaction so.
async fn sync_beside(site: &Site, write: &str, end: &str) -> RunReport {
    site.on_remote(CHANGES).await;
    let writer = Writer::of(site, write).await;
    let mut run = writer.is_waited_for(site).await;
    writer.end(end, &mut run).await
}

async fn assert_is_equal(site: &Site) {
    let meters =
        |filter| format!("select id, name, port, active from meter where {filter} order by id");
    assert_eq!(
        rows(&site.local, &meters("true")).await,
        rows(&site.remote, &meters("tenant_id = 7")).await
    );
    let again = site.sync().await;
    assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
}

#[tokio::test]
async fn all_rows_that_differ_are_written_and_told_as_by_a_plan() {
    let (site, _servers) = settled_alone().await;
    let run = sync_beside(
        &site,
        "select from meter where id = 50 for update",
        "rollback",
    )
    .await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(run.counts, COUNTS, "{run:#?}");
    let recorded =
        "select n, action, key->>'id' as id, before->>'name' as before, after->>'name' as after
        from meter_sync.meter_sync_change where action <> 'insert' order by n";
    let expected: Vec<_> = (6..=METERS)
        .zip(1..)
        .map(|(id, n): (i64, i64)| {
            let action = if id == 10 { "reactivate" } else { "update" };
            json!({"n": n, "action": action, "id": id.to_string(),
                "before": format!("meter {id}"), "after": format!("meter {id}!")})
        })
        .collect();
    assert_eq!(rows(&site.local, recorded).await, json!(expected));
    assert_is_equal(&site).await;
    // The stored versions are those of the rows that were written: the next change is found by them.
    site.on_remote("update meter set port = 1 where id = 60")
        .await;
    let run = site.sync().await;
    assert_eq!(run.counts.updated, 1, "{run:#?}");
    let compared = "select compared from meter_sync.meter_sync_log order by seq desc limit 2";
    let by_versions = json!([{"compared": "differences"}, {"compared": "differences"}]);
    assert_eq!(rows(&site.local, compared).await, by_versions);
}

#[tokio::test]
async fn only_as_many_changes_are_recorded_as_the_log_keeps() {
    let mut site = settled().await;
    let settings = site.settings().with(Setting::ChangeLimit, "3");
    site.reconfigure(&settings);
    site.on_remote(CHANGES).await;
    let run = site.sync().await;
    assert_eq!((run.counts, run.truncated), (COUNTS, true), "{run:#?}");
    let ids = "select array_agg(key->>'id' order by n) as ids from meter_sync.meter_sync_change where action <> 'insert'";
    assert_eq!(
        rows(&site.local, ids).await,
        json!([{"ids": ["6", "7", "8"]}])
    );
    assert_is_equal(&site).await;
}

#[tokio::test]
async fn a_row_that_somebody_changes_meanwhile_is_planned_anew() {
    let (site, _servers) = settled_alone().await;
    let write = "update meter set name = 'theirs' where id = 50";
    let run = sync_beside(&site, write, "commit").await;
    assert_eq!(run.counts, COUNTS, "{run:#?}");
    let recorded = "select action, before->>'name' as before from meter_sync.meter_sync_change
        where action <> 'insert' and key->>'id' = '50'";
    let expected = json!([{"action": "update", "before": "theirs"}]);
    assert_eq!(rows(&site.local, recorded).await, expected);
    assert_is_equal(&site).await;
}

#[tokio::test]
async fn a_row_that_somebody_deletes_meanwhile_is_inserted_anew() {
    let (site, _servers) = settled_alone().await;
    let run = sync_beside(&site, "delete from meter where id = 50", "commit").await;
    assert_eq!(
        (run.counts.inserted, run.counts.updated),
        (1, METERS - 7),
        "{run:#?}"
    );
    assert_is_equal(&site).await;
}

#[tokio::test]
async fn a_row_that_somebody_inserts_meanwhile_is_left_to_the_next_run() {
    let (site, _servers) = settled_alone().await;
    let write = "update meter set name = name where id = 50; insert into meter values (999, 'theirs', 1, true)";
    let run = sync_beside(&site, write, "commit").await;
    assert_eq!(run.counts, COUNTS, "{run:#?}");
    let run = site.sync().await;
    assert_eq!(run.counts.deactivated, 1, "{run:#?}");
    let again = site.sync().await;
    assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
}

#[tokio::test]
async fn a_row_that_is_refused_is_rejected_alone() {
    let site = settled().await;
    site.on_remote(CHANGES).await;
    site.on_remote("update meter set port = -1 where id = 7")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Partial), "{run:#?}");
    let expected = Counts {
        rejected: 1,
        updated: COUNTS.updated - 1,
        ..COUNTS
    };
    assert_eq!(run.counts, expected, "{run:#?}");
    site.on_remote("update meter set port = 7 where id = 7")
        .await;
    site.sync().await;
    assert_is_equal(&site).await;
}

#[tokio::test]
async fn many_meters_that_are_switched_off_are_held_back() {
    let mut site = settled().await;
    let settings = site.settings().with(Setting::MaxDeactivatedRows, "5");
    site.reconfigure(&settings);
    site.on_remote("update meter set active = false where tenant_id = 7")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Refused), "{run:#?}");
    let active = "select count(*) as n from meter where active";
    assert_eq!(rows(&site.local, active).await, json!([{"n": 90}]));
    let recorded =
        "select count(*) as n from meter_sync.meter_sync_change where action <> 'insert'";
    assert_eq!(rows(&site.local, recorded).await, json!([{"n": 0}]));
}

/// As long as it runs, nothing tells which rows were written before the run.
#[tokio::test]
async fn a_transaction_that_runs_for_long_does_no_harm() {
    let site = super::site("name text, port integer", "").await;
    let old = Writer::of(&site, "create table theirs ()").await;
    site.on_remote("insert into meter select n, 7, 'meter ' || n, n, n % 10 > 0 from generate_series(1, 100) n")
        .await;
    site.sync().await;
    site.sync().await;
    site.on_remote(CHANGES).await;
    let run = site.sync().await;
    assert_eq!(run.counts, COUNTS, "{run:#?}");
    drop(old);
    assert_is_equal(&site).await;
}

/// The run has compared the sides before that, and has read no row of that meter.
#[tokio::test]
async fn a_row_that_somebody_changes_before_the_statement_is_found_by_the_next_run() {
    let (site, _servers) = settled_alone().await;
    site.on_remote("update meter set name = name || '!' where id > 20")
        .await;
    let write = "lock table meter in share row exclusive mode; update meter set active = false where id = 9";
    let writer = Writer::of(&site, write).await;
    let request = RunRequest::new(RunTrigger::Cli);
    let Ok(RunRequestOutcome::Started(mut run)) = site.mirror.request(request).await else {
        panic!("no run");
    };
    let waits = "select pid from pg_stat_activity
        where wait_event_type = 'Lock' and query like '-- hold the table to write to it%'";
    until("the run has read the remote", async || {
        rows(&site.local, waits).await != json!([])
    })
    .await;
    let run = writer.end("commit", &mut run).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let next = site.sync().await;
    assert_eq!(next.counts.reactivated, 1, "{next:#?}");
    assert_is_equal(&site).await;
}
