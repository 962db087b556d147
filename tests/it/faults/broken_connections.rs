//! Connections that break during a run.

use std::cell::Cell;
use std::time::{Duration, Instant};

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{RunRequest, RunRequestOutcome};
use meter_sync::model::{RunOutcome, RunTrigger};
use serde_json::json;

use crate::support::breakable_site::BreakableSite;
use crate::support::proxy::Fault;
use crate::support::run_hold::RunHold;
use crate::support::site::{mirror, rows};
use crate::support::wait;

/// The statements of a run on the local side, by their names.
const LOCAL_POINTS: &[&[&str]] = &[
    &["-- look up the table"],
    &["-- create the staging tables"],
    &["-- look for the local rows of the extent"],
    &["-- stage the meters"],
    &["-- analyze the staged rows"],
    &["-- plan the changes"],
    &["-- record the changes"],
    &["-- deactivate meters"],
    &["-- update meters"],
    &["-- insert meters"],
    &["-- log the end of a run"],
];

const REMOTE_POINTS: &[&[&str]] = &[&["-- look up the table"], &["-- read the meters"]];

/// The commit of the meters, with the end of the run in the log.
const COMMIT: &[&str] = &["-- log the end of a run", "COMMIT"];

/// More rows than a proxy passes on in one piece.
const MANY: &str = "
    insert into meter (id, tenant_id, name, notes)
    select n, 7, 'many', repeat('x', 200) from generate_series(100, 5000) n";

#[tokio::test]
async fn a_local_connection_cut_at_any_statement_leaves_the_meters_as_they_were() {
    let broken = BreakableSite::with_changes().await;
    for point in LOCAL_POINTS {
        cut_local_at(&broken, point).await;
    }
}

/// Rows are locked only if the table may store other values than those written.
#[tokio::test]
async fn a_local_connection_cut_while_rows_are_locked_leaves_the_meters_as_they_were() {
    let broken = BreakableSite::with_changes().await;
    broken
        .site
        .on_local(
            "create function keep() returns trigger language plpgsql as 'begin return new; end';
             create trigger keep before insert on meter for each row execute function keep()",
        )
        .await;
    cut_local_at(&broken, &["-- lock the rows of the plan"]).await;
}

async fn cut_local_at(broken: &BreakableSite, point: &'static [&'static str]) {
    for fault in [Fault::CutBefore(point), Fault::LoseReply(point)] {
        let struck = broken.local.struck();
        broken.local.set_once(fault, Fault::None);
        broken.fails_with(ErrorCode::LocalUnreachable).await;
        assert_eq!(broken.local.struck(), struck + 1, "{fault:?}");
    }
    broken.heals().await;
    broken.change_the_remote().await;
}

#[tokio::test]
async fn a_remote_connection_cut_at_any_statement_leaves_the_meters_as_they_were() {
    let broken = BreakableSite::with_changes().await;
    for point in REMOTE_POINTS {
        for fault in [Fault::CutBefore(point), Fault::LoseReply(point)] {
            let struck = broken.remote.struck();
            broken.remote.set_once(fault, Fault::None);
            broken.fails_with(ErrorCode::RemoteUnreachable).await;
            assert_eq!(broken.remote.struck(), struck + 1, "{fault:?}");
        }
        broken.heals().await;
        broken.change_the_remote().await;
    }
}

#[tokio::test]
async fn a_remote_gone_in_the_middle_of_the_rows_deactivates_nobody() {
    let broken = BreakableSite::with_changes().await;
    broken.site.on_remote(MANY).await;
    for bytes in [20_000, 500_000] {
        broken
            .remote
            .set_once(Fault::CutReply(bytes), Fault::Refuse);
        broken.fails_with(ErrorCode::RemoteUnreachable).await;
    }
    assert_eq!(broken.remote.struck(), 2);
    broken.heals().await;
}

#[tokio::test]
async fn a_remote_frozen_in_the_middle_of_the_rows_times_out() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[(Setting::StatementTimeout, "500ms")]);
    broken.site.on_remote(MANY).await;
    broken.remote.set(Fault::StallReply(500_000));
    let begun = Instant::now();
    broken.fails_with(ErrorCode::RemoteTimeout).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{begun:?}");
    assert_eq!(broken.remote.struck(), 1);
    broken.reconfigure(&[]);
    broken.heals().await;
}

#[tokio::test]
async fn a_slow_line_is_no_fault() {
    let broken = BreakableSite::with_changes().await;
    broken.remote.set(Fault::Delay(Duration::from_millis(20)));
    broken.local.set(Fault::Delay(Duration::from_millis(5)));
    let run = broken.site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    broken.heals().await;
}

#[tokio::test]
async fn a_lost_commit_reply_is_found_out_and_does_not_duplicate_rows() {
    let broken = BreakableSite::with_changes().await;
    broken.local.set_once(Fault::LoseReply(COMMIT), Fault::None);
    let run = broken.site.sync().await;
    assert_eq!(broken.local.struck(), 1);
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(run.error, None);
    assert_eq!((run.changes_total, run.changes.len()), (4, 4), "{run:#?}");
    let logged = broken.logged(&run).await;
    assert_eq!(
        logged,
        json!([{"outcome": "succeeded", "error_code": null, "error_message": null}])
    );
    broken.heals().await;
    let runs = "select outcome from meter_sync.meter_sync_log order by started_at";
    assert_eq!(
        rows(&broken.site.local, runs).await,
        json!([{"outcome": "succeeded"}, {"outcome": "succeeded"}, {"outcome": "no_change"}, {"outcome": "no_change"}])
    );
}

#[tokio::test]
async fn a_lost_commit_reply_is_found_out_while_another_process_runs() {
    let broken = BreakableSite::with_changes().await;
    broken
        .local
        .set_once(Fault::LoseReply(COMMIT), Fault::Refuse);
    let is_told = Cell::new(false);
    let first = async {
        let run = broken.site.sync().await;
        is_told.set(true);
        run
    };
    let second = async {
        let lost = async || broken.local.struck() == 1;
        wait::until("the reply is lost", lost).await;
        let held = RunHold::new(&broken.site).await;
        let other = mirror(&broken.site.settings());
        let begun = other.request(RunRequest::new(RunTrigger::Cli)).await;
        let Ok(RunRequestOutcome::Started(mut ticket)) = begun else {
            panic!("{begun:?}");
        };
        broken.local.set(Fault::None);
        wait::until("the first run's end is told", async || is_told.get()).await;
        held.release().await;
        ticket.wait(Duration::from_secs(30)).await
    };
    let (run, other) = tokio::join!(first, second);
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    assert_eq!(
        (run.error.as_ref(), run.changes_total),
        (None, 4),
        "{run:#?}"
    );
    assert_eq!(other.outcome, Some(RunOutcome::NoChange), "{other:#?}");
    broken.heals().await;
}

#[tokio::test]
async fn a_commit_that_nobody_can_tell_of_is_not_called_a_failure() {
    let broken = BreakableSite::with_changes().await;
    broken
        .local
        .set_once(Fault::LoseReply(COMMIT), Fault::Refuse);
    let run = broken.site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Unknown), "{run:#?}");
    let error = run.error.as_ref().expect("an error");
    assert_eq!(error.code, ErrorCode::LocalUnreachable);
    assert!(error.message.contains("not known whether"), "{error:?}");
    broken.local.set(Fault::None);
    let status = broken.site.status().await;
    let last = status.last_run.expect("a last run");
    assert_eq!(
        (last.run_id, last.outcome),
        (run.run_id, Some(RunOutcome::Succeeded))
    );
    broken.heals().await;
}

#[tokio::test]
async fn a_refusal_whose_commit_was_not_answered_can_be_approved() {
    let broken = BreakableSite::with_changes().await;
    broken.heals().await;
    broken
        .site
        .on_remote("update meter set tenant_id = 8 where tenant_id = 7")
        .await;
    broken.local.set_once(Fault::LoseReply(COMMIT), Fault::None);
    let run = broken.site.sync().await;
    assert_eq!(broken.local.struck(), 1);
    let code = run.error.as_ref().map(|error| error.code);
    assert_eq!(
        (run.outcome, code),
        (
            Some(RunOutcome::Refused),
            Some(ErrorCode::SourceEmptyRefused)
        ),
        "{run:#?}"
    );
    assert!(run.held_back.is_some(), "{run:#?}");
    let detail = broken.site.mirror.run(run.run_id).await.expect("an answer");
    assert!(detail.expect("a run").awaits_decision);
}

#[tokio::test]
async fn a_commit_that_never_arrived_is_a_failed_run() {
    let broken = BreakableSite::with_changes().await;
    broken.local.set_once(Fault::CutBefore(COMMIT), Fault::None);
    broken.fails_with(ErrorCode::LocalUnreachable).await;
    assert_eq!(broken.local.struck(), 1);
    broken.heals().await;
}

#[tokio::test]
async fn a_local_database_gone_for_good_in_the_middle_leaves_a_run_to_be_marked_interrupted() {
    let broken = BreakableSite::with_changes().await;
    let before = broken.meters().await;
    broken
        .local
        .set_once(Fault::CutBefore(&["-- update meters"]), Fault::Refuse);
    let run = broken.site.sync().await;
    let code = run.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::LocalUnreachable), "{run:#?}");
    assert_eq!(broken.meters().await, before);
    let unfinished = json!([{"outcome": null, "error_code": null, "error_message": null}]);
    assert_eq!(broken.logged(&run).await, unfinished);

    broken.heals().await;
    assert_eq!(broken.logged(&run).await[0]["outcome"], "interrupted");
}

#[tokio::test]
async fn a_start_whose_log_row_is_in_doubt_leaves_no_run_without_an_end() {
    let broken = BreakableSite::with_changes().await;
    let point = &["-- log the start of a run", "COMMIT"];
    for fault in [Fault::CutBefore(point), Fault::LoseReply(point)] {
        let before = broken.meters().await;
        broken.local.set_once(fault, Fault::None);
        let run = broken.site.sync().await;
        let code = run.error.as_ref().map(|error| error.code);
        assert_eq!(code, Some(ErrorCode::LocalUnreachable), "{run:#?}");
        assert_eq!(broken.meters().await, before);
        broken.heals().await;
        broken.change_the_remote().await;
    }
}

#[tokio::test]
async fn a_backend_ended_by_an_administrator_fails_the_run_and_no_more() {
    let broken = BreakableSite::with_changes().await;
    let blocker = crate::support::postgres::connect(&broken.site.pair.local_url).await;
    let lock = "begin; select from meter where id = '1' for update";
    blocker.batch_execute(lock).await.unwrap();
    let waiting = async || {
        let end = "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and query like '-- update meters%' and wait_event_type = 'Lock'";
        rows(&broken.site.local, end).await != json!([])
    };
    let (run, ()) = tokio::join!(
        broken.site.sync(),
        wait::until("the run's backend is ended", waiting)
    );
    let code = run.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::LocalUnreachable), "{run:#?}");
    assert_eq!(broken.logged(&run).await[0]["outcome"], "failed");
    blocker.batch_execute("rollback").await.unwrap();
    broken.heals().await;
}
