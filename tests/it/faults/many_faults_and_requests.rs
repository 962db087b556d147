//! What many runs, many askers and many faults leave behind: nothing.

use std::time::Duration;

use futures_util::future::join_all;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{Mirror, RunRequest, RunRequestOutcome};
use meter_sync::model::{ActivityState, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::{RunReport, RunState};
use serde_json::json;

use crate::support::breakable_site::BreakableSite;
use crate::support::postgres::connect;
use crate::support::proxy::Fault;
use crate::support::site::{finish, mirror, rows};
use crate::support::wait;

#[tokio::test]
async fn twenty_faulty_runs_spoil_neither_the_next_one_nor_either_server() {
    let broken = BreakableSite::with_changes().await;
    for round in 0..20 {
        let fault = match round % 4 {
            0 => Fault::CutBefore(&["-- update meters"]),
            1 => Fault::LoseReply(&["-- take the run lock"]),
            2 => Fault::CutBefore(&["-- try to start a run"]),
            _ => Fault::LoseReply(&["-- log the end of a run"]),
        };
        broken.local.set_once(fault, Fault::None);
        let run = broken.site.sync().await;
        let code = run.error.as_ref().map(|error| error.code);
        assert_eq!(code, Some(ErrorCode::LocalUnreachable), "{run:#?}");
    }
    broken.remote.set(Fault::Refuse);
    broken.fails_with(ErrorCode::RemoteUnreachable).await;
    broken.heals().await;
    let ours = "select state, query from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle'";
    assert_eq!(rows(&broken.site.local, ours).await, json!([]));
    let count = "select count(*) from pg_stat_activity where datname = current_database()";
    let connections: i64 = broken
        .site
        .local
        .query_one(count, &[])
        .await
        .unwrap()
        .get(0);
    assert!(connections <= 6 + 1, "{connections}");
}

/// Runs held in progress: until the lock is let go no run gets past its plan.
async fn hold(broken: &BreakableSite) -> tokio_postgres::Client {
    let holder = connect(&broken.site.pair.remote_url).await;
    let lock = "begin; lock table meter in access exclusive mode";
    holder.batch_execute(lock).await.unwrap();
    holder
}

async fn request(mirror: &Mirror) -> RunRequestOutcome {
    mirror
        .request(RunRequest::new(RunTrigger::Rest))
        .await
        .expect("an answer")
}

fn already_running(requested: &RunRequestOutcome) -> Option<&RunReport> {
    match requested {
        RunRequestOutcome::AlreadyRunning(report) => Some(report),
        RunRequestOutcome::Started(_) | RunRequestOutcome::Finished(_) => None,
    }
}

/// A run that was started must come to a good end.
async fn follow(requested: RunRequestOutcome) {
    if let RunRequestOutcome::Started(mut ticket) = requested {
        let run = ticket.wait(Duration::from_secs(30)).await;
        assert!(run.outcome.is_some_and(RunOutcome::is_success), "{run:#?}");
    }
}

#[tokio::test]
async fn of_many_requests_at_once_one_runs_and_the_others_learn_its_id() {
    let broken = BreakableSite::with_changes().await;
    let others: Vec<Mirror> = (0..3).map(|_| mirror(&broken.settings())).collect();
    let all: Vec<&Mirror> = others.iter().chain([&broken.site.mirror]).collect();
    for round in 0..5 {
        let holder = hold(&broken).await;
        let answers =
            join_all((0..8).map(|n| request(all[if round % 2 == 0 { 0 } else { n % 4 }]))).await;
        let mut started = answers.iter().filter_map(|answer| match answer {
            RunRequestOutcome::Started(ticket) => Some(ticket.run_id()),
            RunRequestOutcome::AlreadyRunning(_) | RunRequestOutcome::Finished(_) => None,
        });
        let id = started.next().expect("one started");
        assert_eq!(started.next(), None);
        let told: Vec<_> = answers.iter().filter_map(already_running).collect();
        assert_eq!(told.len(), 7);
        for report in told {
            assert_eq!(
                (report.run_id, report.state),
                (id, RunState::AlreadyRunning)
            );
        }
        holder.batch_execute("commit").await.unwrap();
        drop(holder);
        join_all(answers.into_iter().map(follow)).await;
    }
    let logged = "select count(*) as runs from meter_sync.meter_sync_log";
    assert_eq!(
        rows(&broken.site.local, logged).await,
        json!([{"runs": 1 + 5}])
    );
    broken.heals().await;
}

#[tokio::test]
async fn whoever_asks_right_after_the_end_of_a_run_gets_a_run() {
    let broken = BreakableSite::with_changes().await;
    for _ in 0..50 {
        let run = finish(&broken.site.mirror, RunRequest::new(RunTrigger::Rest)).await;
        assert_eq!(run.state, RunState::Finished, "{run:#?}");
    }
}

#[tokio::test]
async fn a_request_whose_asker_goes_away_still_becomes_a_run() {
    let broken = BreakableSite::with_changes().await;
    let asked = tokio::time::timeout(Duration::from_millis(1), request(&broken.site.mirror)).await;
    assert!(asked.is_err(), "it cannot have started yet");
    let succeeded = async || {
        let log = "select outcome from meter_sync.meter_sync_log order by started_at";
        // The log tells a moment before the process knows.
        rows(&broken.site.local, log).await
            == json!([{"outcome": "succeeded"}, {"outcome": "succeeded"}])
            && broken.site.status().await.activity == ActivityState::Idle
    };
    wait::until("the run has ended", succeeded).await;
    broken.heals().await;
}

#[tokio::test]
async fn the_status_answers_in_time_with_both_databases_frozen() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[
        (meter_sync::config::Setting::StatementTimeout, "300ms"),
        (meter_sync::config::Setting::ConnectTimeout, "300ms"),
    ]);
    broken.site.status().await;
    broken.local.set(Fault::Stall);
    broken.remote.set(Fault::Stall);
    for _ in 0..10 {
        let status = tokio::time::timeout(Duration::from_secs(5), broken.site.status()).await;
        let status = status.expect("a status in time");
        assert!(!status.warnings.is_empty(), "{status:?}");
    }
    broken.local.set(Fault::Refuse);
    broken.remote.set(Fault::Refuse);
    broken.heals().await;
}
