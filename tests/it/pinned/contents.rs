//! Comparing contents now and then: it finds what versions do not show, and where it cannot be done the run before it
//! stands.

use meter_sync::config::{Setting, Settings};
use meter_sync::meter::{Counts, Outcome, Trigger};
use meter_sync::runs::report::RunReport;
use meter_sync::runs::{Request, Requested, Runs};
use meter_sync::sync::Compare;
use serde_json::{Value, json};

use crate::support::site::{Site, finish, rows, runs};
use crate::support::wait::until;

const METERS: i64 = 30_000;

/// A site that is in sync, where what the rows hold takes seconds to compare, and their versions no time: each `size` is
/// stored in a few bytes and written out as 131,000 digits.
async fn laborious() -> Site {
    let site = super::site("name text, size numeric", "").await;
    site.on_remote(&format!(
        "insert into meter select n, 7, 'meter ' || n, '1e131000', true from generate_series(1, {METERS}) n"
    ))
    .await;
    assert_eq!(site.sync().await.counts.inserted, METERS);
    assert_eq!(site.sync().await.outcome, Some(Outcome::NoChange));
    site
}

/// Each run is followed by a comparison.
fn always(site: &Site) -> Settings {
    site.settings().with(Setting::FullCompare, "0s")
}

async fn sync(runs: &Runs) -> RunReport {
    finish(runs, Request::new(Trigger::Cli)).await
}

/// How the last run compared, and what it warns of.
async fn last(site: &Site) -> Value {
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

/// The change of a meter arrives in each of some runs, and each warns of the comparison, by the name of this setting.
async fn assert_changes_arrive(site: &Site, runs: &Runs, setting: &str) {
    for name in ["new", "newer"] {
        site.on_remote(&format!("update meter set name = '{name}' where id = 5"))
            .await;
        let run = sync(runs).await;
        assert_eq!(run.outcome, Some(Outcome::Succeeded), "{run:#?}");
        assert_eq!(run.counts, updated(1, METERS), "{run:#?}");
        let last = last(site).await;
        assert_eq!(last["compared"], "differences");
        let warning = last["warning"].as_str().unwrap();
        assert!(warning.contains("could not be compared"), "{warning}");
        assert!(warning.contains(setting), "{warning}");
        assert_eq!(run.next_step, warning);
    }
}

/// Once nothing keeps it from it, the next run is followed by a comparison again.
async fn assert_is_compared_later(site: &Site) {
    site.on_remote("update meter set size = 1").await;
    site.on_local("update meter set size = 1").await;
    site.sync().await;
    let run = sync(&runs(&always(site))).await;
    assert_eq!(run.outcome, Some(Outcome::NoChange), "{run:#?}");
    let expected = json!({"compared": "contents", "warning": null});
    assert_eq!(last(site).await, expected);
}

#[tokio::test]
async fn a_comparison_that_exceeds_the_statement_timeout_leaves_the_run_as_it_was() {
    let site = laborious().await;
    let hurried = runs(&always(&site).with(Setting::StatementTimeout, "500ms"));
    assert_changes_arrive(&site, &hurried, "METER_SYNC_STATEMENT_TIMEOUT").await;
    assert_is_compared_later(&site).await;
}

#[tokio::test]
async fn a_comparison_that_exceeds_the_run_timeout_leaves_the_run_as_it_was() {
    let site = laborious().await;
    let hurried = runs(&always(&site).with(Setting::RunTimeout, "2s"));
    assert_changes_arrive(&site, &hurried, "METER_SYNC_RUN_TIMEOUT").await;
    assert_is_compared_later(&site).await;
}

#[tokio::test]
async fn a_comparison_whose_connection_breaks_leaves_the_run_as_it_was() {
    let site = laborious().await;
    for client in [&site.remote, &site.local] {
        site.on_remote("update meter set name = name || '!' where id = 5")
            .await;
        let runs = runs(&always(&site));
        let requested = runs.request(Request::new(Trigger::Cli)).await.unwrap();
        let Requested::Started(mut ticket) = requested else {
            panic!("{requested:?}");
        };
        let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
            where application_name = 'meter-sync compare contents' and query like '-- compare the contents%'
              and datname = current_database()";
        until("the comparison is killed", async || {
            client.query_one(kill, &[]).await.unwrap().get::<_, i64>(0) > 0
        })
        .await;
        let run = ticket.wait(std::time::Duration::from_secs(60)).await;
        assert_eq!(run.counts, updated(1, METERS), "{run:#?}");
        let warning = last(&site).await["warning"].as_str().unwrap().to_owned();
        assert!(warning.contains("could not be compared"), "{warning}");
    }
}

/// What the versions of all local rows come to, as a run remembers them.
const REMEMBER_AS_EQUAL: &str = "update meter_sync.meter_sync_seen set local_sum = (
    select bit_xor(hashtidextended(ctid, ((select age('3'::xid)::bigint) - age(xmin)) & 4294967295)) from meter)";

async fn settled() -> Site {
    let site = super::site("name text", "").await;
    site.on_remote(
        "insert into meter select n, 7, 'meter ' || n, true from generate_series(1, 300) n",
    )
    .await;
    for _ in 0..2 {
        site.sync().await;
    }
    site
}

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
    assert_eq!(unseen.outcome, Some(Outcome::NoChange), "{unseen:#?}");
    let run = sync(&runs(&always(&site))).await;
    assert_eq!(run.outcome, Some(Outcome::NoChange), "{run:#?}");
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
    let again = sync(&runs(&always(&site))).await;
    assert_eq!(again.outcome, Some(Outcome::NoChange), "{again:#?}");
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
    let run = sync(&runs(&always(&site))).await;
    assert_eq!(run.outcome, Some(Outcome::NoChange), "{run:#?}");
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
    let run = sync(&runs(&always(&site))).await;
    assert_eq!(last(&site).await["compared"], "contents");
    assert!(load.remote_bytes > 900_000, "{load:#?}");
    assert!(run.remote_bytes < 8192, "{run:#?}");
}

#[tokio::test]
async fn comparing_every_value_against_a_tight_limit_fails_and_harms_nothing() {
    let site = laborious().await;
    // What the comparison of every value takes long for is a type without a binary form of its own.
    site.on_remote("update meter set name = 'new' where id = 5")
        .await;
    site.on_local("create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(3); return new; end $$;
        create trigger slow before update on meter for each statement execute function slow()")
        .await;
    let hurried = runs(&site.settings().with(Setting::StatementTimeout, "500ms"));
    let everything = Request {
        compare: Compare::Everything,
        ..Request::new(Trigger::Cli)
    };
    let failed = finish(&hurried, everything).await;
    assert_eq!(failed.outcome, Some(Outcome::Failed), "{failed:#?}");
    let error = failed.error.unwrap();
    assert_eq!(error.code.as_str(), "LOCAL_TIMEOUT");
    assert!(error.remedy.contains("METER_SYNC_STATEMENT_TIMEOUT"));
    site.on_local("drop trigger slow on meter").await;
    let run = sync(&hurried).await;
    assert_eq!(run.counts, updated(1, METERS), "{run:#?}");
}
