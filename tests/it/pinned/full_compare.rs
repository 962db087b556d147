//! The full compare of contents: it finds what row versions do not show. If it fails, the run before it stands.

use std::time::Duration;

use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::db::SideName;
use meter_sync::engine::RowsToCompare;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirror, RunHandle, RunRequest, RunRequestOutcome};
use meter_sync::model::{ActivityState, Counts, Health, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_util::task::TaskTracker;

use crate::support::postgres::connect;
use crate::support::site::{Site, finish, mirror, rows};
use crate::support::wait::until;

const METERS: i64 = 300;

pub(super) async fn settled() -> Site {
    settled_on(super::site("name text", "").await).await
}

/// The same in these databases.
pub(super) async fn settled_on(site: Site) -> Site {
    site.on_remote(&format!(
        "insert into meter select n, 7, 'meter ' || n, true from generate_series(1, {METERS}) n"
    ))
    .await;
    for _ in 0..2 {
        site.sync().await;
    }
    site
}

/// Each run is followed by a comparison.
pub(super) fn always(site: &Site) -> CommandLineSettings {
    site.settings().with(Setting::FullCompare, "0s")
}

async fn sync(mirror: &Mirror) -> RunReport {
    finish(mirror, RunRequest::new(RunTrigger::Cli)).await
}

/// How the last run compared, and what it warns of.
pub(super) async fn last(site: &Site) -> Value {
    let last =
        "select compared, warning from meter_sync.meter_sync_log order by started_at desc limit 1";
    rows(&site.local, last).await[0].clone()
}

fn updated(n: i64, all: i64) -> Counts {
    Counts {
        updated: n,
        unchanged: all - n,
        ..Counts::default()
    }
}

async fn holds(client: &Client, condition: &str) -> bool {
    let sql = format!(
        "select exists (select from pg_stat_activity where datname = current_database() and {condition})"
    );
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

/// A run that has changed a meter, and whose comparison waits for a lock that somebody holds on the meters of a side.
pub(super) struct WaitingRun {
    pub(super) ticket: RunHandle,
    locked: JoinHandle<Client>,
}

const COMPARING: &str =
    "application_name = 'meter-sync compare contents' and wait_event_type = 'Lock'";

impl WaitingRun {
    pub(super) async fn on(side: SideName, site: &Site, mirror: &Mirror) -> Self {
        site.on_remote("update meter set name = name || '!' where id = 5")
            .await;
        let holder = connect(&site.pair.local_url).await;
        let hold = "begin; select from meter where id = 5 for update";
        holder.batch_execute(hold).await.unwrap();
        let Ok(RunRequestOutcome::Started(ticket)) =
            mirror.request(RunRequest::new(RunTrigger::Cli)).await
        else {
            panic!("no run");
        };
        until(
            "the run has read the remote and waits for the meter",
            async || {
                holds(
                    &site.local,
                    "query like '-- update meters%' and wait_event_type = 'Lock'",
                )
                .await
            },
        )
        .await;
        // On the local side the lock is given when the run has committed, before the comparison may have its own.
        let (client, url, state) = match side {
            SideName::Remote => (&site.remote, &site.pair.remote_url, "idle in transaction"),
            SideName::Local => (&site.local, &site.pair.local_url, "active"),
        };
        let locker = connect(url).await;
        let locked = TaskTracker::new().spawn(async move {
            let lock = "begin; lock table meter in access exclusive mode";
            locker.batch_execute(lock).await.unwrap();
            locker
        });
        until("the lock is asked for", async || {
            holds(
                client,
                &format!("query like 'begin; lock table meter%' and state = '{state}'"),
            )
            .await
        })
        .await;
        holder.batch_execute("commit").await.unwrap();
        until("the comparison waits", async || {
            holds(client, COMPARING).await
        })
        .await;
        Self { ticket, locked }
    }

    /// The run, and the holder of the lock.
    pub(super) async fn parts(self) -> (RunHandle, Client) {
        (self.ticket, self.locked.await.expect("the lock"))
    }

    /// The run has done what it was to do, and warns of the comparison by the name of this.
    async fn assert_stands(mut self, site: &Site, named: &str) {
        let run = self.ticket.wait(Duration::from_secs(60)).await;
        assert!(self.ticket.is_over());
        assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
        assert_eq!(run.counts, updated(1, METERS), "{run:#?}");
        let last = last(site).await;
        assert_eq!(last["compared"], "differences");
        let warning = last["warning"].as_str().unwrap();
        assert!(warning.contains("could not be compared"), "{warning}");
        assert!(warning.contains(named), "{warning}");
        assert_eq!(run.next_step, warning);
        // The status counts the meters.
        drop(self.locked);
        let status = site.status().await;
        assert_eq!(status.health, Health::Paused, "{status:#?}");
        assert_eq!(status.warnings, [warning]);
    }
}

/// Once nothing keeps it from it, a run is followed by a comparison again.
async fn assert_is_compared_later(site: &Site) {
    let before = site.status().await.verified_at;
    let run = sync(&mirror(&always(site))).await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    let expected = json!({"compared": "contents", "warning": null});
    assert_eq!(last(site).await, expected);
    let after = site.status().await.verified_at;
    assert!(after > before, "{before:?} {after:?}");
}

#[tokio::test]
async fn a_comparison_that_exceeds_the_statement_timeout_leaves_the_run_as_it_was() {
    let site = settled().await;
    let hurried = mirror(&always(&site).with(Setting::StatementTimeout, "3s"));
    for side in [SideName::Remote, SideName::Local, SideName::Remote] {
        let waiting = WaitingRun::on(side, &site, &hurried).await;
        waiting
            .assert_stands(&site, "METER_SYNC_STATEMENT_TIMEOUT")
            .await;
    }
    assert_is_compared_later(&site).await;
}

#[tokio::test]
async fn a_comparison_that_exceeds_the_run_timeout_leaves_the_run_as_it_was() {
    let site = settled().await;
    let hurried = mirror(&always(&site).with(Setting::RunTimeout, "6s"));
    let waiting = WaitingRun::on(SideName::Remote, &site, &hurried).await;
    waiting.assert_stands(&site, "METER_SYNC_RUN_TIMEOUT").await;
    assert_is_compared_later(&site).await;
}

#[tokio::test]
async fn a_comparison_whose_connection_breaks_leaves_the_run_as_it_was() {
    let site = settled().await;
    let mirror = mirror(&always(&site));
    for (side, client) in [
        (SideName::Remote, &site.remote),
        (SideName::Local, &site.local),
    ] {
        let waiting = WaitingRun::on(side, &site, &mirror).await;
        let kill = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and {COMPARING}"
        );
        client.query_one(&kill, &[]).await.unwrap();
        waiting.assert_stands(&site, &side.to_string()).await;
    }
    assert_is_compared_later(&site).await;
}

#[tokio::test]
async fn who_waits_no_longer_is_told_of_a_run_while_its_contents_are_compared() {
    let site = settled().await;
    let mut waiting = WaitingRun::on(SideName::Remote, &site, &mirror(&always(&site))).await;
    let run = waiting.ticket.wait(Duration::ZERO).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert!(!waiting.ticket.is_over());
    let status = site.status().await;
    assert_eq!(status.activity, ActivityState::Idle);
    assert_eq!(
        status.last_run.map(|run| run.outcome),
        Some(Some(RunOutcome::Succeeded))
    );
}

/// What the versions of all local rows come to, as a run remembers them.
const REMEMBER_AS_EQUAL: &str = "update meter_sync.meter_sync_seen set local_sum = (
    select bit_xor(hashtidextended(ctid, ((select age('3'::xid)::bigint) - age(xmin)) & 4294967295)) from meter)";

#[tokio::test]
async fn what_versions_do_not_show_is_put_right_when_contents_are_compared() {
    let site = settled().await;
    site.on_local(
        "update meter set name = 'mine' where id in (5, 6); delete from meter where id = 7;
         insert into meter values (1000, 'nobody', true)",
    )
    .await;
    site.on_local(REMEMBER_AS_EQUAL).await;
    let unseen = site.sync().await;
    assert_eq!(unseen.outcome, Some(RunOutcome::NoChange), "{unseen:#?}");
    let run = sync(&mirror(&always(&site))).await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    let log = "select compared, reason, inserted, updated, deactivated, unchanged from meter_sync.meter_sync_log
        order by started_at desc limit 1";
    let reason = format!(
        "Comparing contents found a difference after run {}.",
        run.run_id
    );
    let expected = json!([{"compared": "contents", "reason": reason,
        "inserted": 1, "updated": 2, "deactivated": 1, "unchanged": 297}]);
    assert_eq!(rows(&site.local, log).await, expected);
    assert!(run.next_step.contains("put it right"), "{run:#?}");
    let of_ours = "select id, name from meter where active order by id";
    assert_eq!(
        rows(&site.local, of_ours).await,
        rows(&site.remote, of_ours).await
    );
    let again = sync(&mirror(&always(&site))).await;
    assert_eq!(again.outcome, Some(RunOutcome::NoChange), "{again:#?}");
    assert_eq!(
        last(&site).await,
        json!({"compared": "contents", "warning": null})
    );
}

#[tokio::test]
async fn the_brake_holds_for_what_a_comparison_finds() {
    let site = settled().await;
    site.on_local("insert into meter select n, 'nobody', true from generate_series(1001, 1400) n")
        .await;
    let remember = format!("{REMEMBER_AS_EQUAL}, local_rows = 700");
    site.on_local(&remember).await;
    let run = sync(&mirror(&always(&site))).await;
    assert_eq!(run.outcome, Some(RunOutcome::NoChange), "{run:#?}");
    let log = "select outcome, error_code from meter_sync.meter_sync_log order by started_at desc limit 1";
    let refused = json!([{"outcome": "refused", "error_code": "MASS_DEACTIVATION_REFUSED"}]);
    assert_eq!(rows(&site.local, log).await, refused);
    let active = rows(&site.local, "select count(*) from meter where active").await;
    assert_eq!(active, json!([{"count": 700}]));
}

#[tokio::test]
async fn a_comparison_fetches_digests_and_no_rows() {
    let site = super::site("name text", "").await;
    site.on_remote(
        "insert into meter select n, 7, repeat('meter ', 50) || n, true from generate_series(1, 3000) n",
    )
    .await;
    let load = site.sync().await;
    let run = sync(&mirror(&always(&site))).await;
    assert_eq!(last(&site).await["compared"], "contents");
    assert!(load.remote_bytes > 900_000, "{load:#?}");
    assert!(run.remote_bytes < 8192, "{run:#?}");
}

#[tokio::test]
async fn comparing_every_value_against_a_tight_limit_fails_and_harms_nothing() {
    let site = settled().await;
    site.on_remote("update meter set name = 'new' where id = 5")
        .await;
    let holder = connect(&site.pair.local_url).await;
    let hold = "begin; lock table meter in access exclusive mode";
    holder.batch_execute(hold).await.unwrap();
    let hurried = mirror(&site.settings().with(Setting::StatementTimeout, "1s"));
    let everything = || RunRequest {
        compare: RowsToCompare::Everything,
        ..RunRequest::new(RunTrigger::Cli)
    };
    let failed = finish(&hurried, everything()).await;
    assert_eq!(failed.outcome, Some(RunOutcome::Failed), "{failed:#?}");
    let error = failed.error.unwrap();
    assert_eq!(error.code, ErrorCode::LocalTimeout);
    assert!(error.remedy.contains("METER_SYNC_STATEMENT_TIMEOUT"));
    holder.batch_execute("commit").await.unwrap();
    let run = finish(&site.mirror, everything()).await;
    assert_eq!(run.counts, updated(1, METERS), "{run:#?}");
    assert_eq!(last(&site).await["compared"], "everything");
}

#[tokio::test]
async fn a_column_that_few_rows_get_anew_is_read_at_once() {
    let site = settled().await;
    site.on_remote("alter table meter add floor integer; update meter set floor = id")
        .await;
    site.on_local("alter table meter add floor integer").await;
    let run = sync(&site.mirror).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(last(&site).await["compared"], "everything");
    assert!(
        holds(
            &site.local,
            "not exists (select from meter where active and floor is distinct from id::integer)"
        )
        .await
    );
    assert_eq!(sync(&site.mirror).await.outcome, Some(RunOutcome::NoChange));
}
