//! A strict brake lets no other remote through before a person allows it, and then at once.

use meter_sync::check::Verdict;
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{DeactivationApproval, RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::json;

use super::{another_database, on, synced, syncs, told_by_check};
use crate::support::postgres::{connect, pair};
use crate::support::site::{
    REMOTE_SCHEMA, SHARED_LOCAL_SCHEMA, Site, finish, mirror, mirrors, rows, settings,
};

fn request() -> RunRequest {
    RunRequest::new(RunTrigger::Cli)
}

fn allowing() -> RunRequest {
    RunRequest {
        allow: RunApprovals {
            remote_change: true,
            ..RunApprovals::default()
        },
        ..request()
    }
}

fn code(run: &RunReport) -> Option<ErrorCode> {
    run.error.as_ref().map(|error| error.code)
}

const REFUSED: Option<ErrorCode> = Some(ErrorCode::RemoteChangedRefused);

#[tokio::test]
async fn an_emptied_local_table_is_not_loaded_from_another_remote() {
    let site = synced().await;
    let other = another_database().await;
    site.on_local("truncate meter cascade").await;
    let strict = settings(&other.remote_url, &site.pair.local_url).with(Setting::Brake, "strict");
    let run = finish(&mirror(&strict), request()).await;
    assert_eq!(code(&run), REFUSED, "{run:#?}");
    let run = finish(&mirror(&strict), allowing()).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let standard = settings(&site.pair.remote_url, &site.pair.local_url);
    site.on_local("truncate meter cascade").await;
    let warning = syncs(&standard, RunOutcome::Succeeded)
        .await
        .unwrap_or_default();
    assert!(warning.contains("another database"), "{warning}");
}

#[tokio::test]
async fn an_unchanged_run_does_not_make_another_remote_the_known_one() {
    let site = synced().await;
    let other = another_database().await;
    let strict = settings(&other.remote_url, &site.pair.local_url).with(Setting::Brake, "strict");
    for _ in 0..2 {
        let warning = syncs(&strict, RunOutcome::NoChange)
            .await
            .unwrap_or_default();
        assert!(warning.contains("another database"), "{warning}");
    }
    let swapped = connect(&other.remote_url).await;
    on(&swapped, "update meter set name = 'staging' where id = 5").await;
    let run = finish(&mirror(&strict), request()).await;
    assert_eq!(code(&run), REFUSED, "{run:#?}");
}

#[tokio::test]
async fn a_sweep_does_not_make_another_remote_the_known_one() {
    const METERS: &str = "insert into meter (id, tenant_id, name) select n, n, 'one' from generate_series(100, 140) n";
    let site = Site::with_schemas(REMOTE_SCHEMA, SHARED_LOCAL_SCHEMA).await;
    site.on_remote(METERS).await;
    let ids = (100..=140).map(|n| n.to_string());
    let ids = ids.collect::<Vec<_>>().join(",");
    let sweep = async |url: &str, request: RunRequest| {
        let strict = settings(url, &site.pair.local_url).with(Setting::Tenants, ids.clone());
        let all = mirrors(&strict.with(Setting::Brake, "strict"));
        let mut ends = Vec::new();
        let swept = all.sweep(&request, |_, run| {
            let run = run.expect("a run");
            ends.push((code(&run), run.warning.is_some()));
        });
        let swept = swept.await.expect("a sweep");
        (swept.record.counts.unchanged, ends)
    };
    sweep(&site.pair.remote_url, request()).await;
    let other = pair().await;
    let swapped = connect(&other.remote_url).await;
    on(&swapped, REMOTE_SCHEMA).await;
    on(&swapped, METERS).await;
    for _ in 0..2 {
        let swept = sweep(&other.remote_url, request()).await;
        assert_eq!(swept, (0, vec![(None, true); 41]), "each is told");
    }
    on(&swapped, "update meter set name = 'staging' where id = 105").await;
    let (_, ends) = sweep(&other.remote_url, request()).await;
    let refused = ends.iter().filter(|(code, _)| *code == REFUSED);
    assert_eq!(refused.count(), 1, "{ends:?}");
    let (_, ends) = sweep(&other.remote_url, allowing()).await;
    assert!(ends.iter().all(|(code, _)| code.is_none()), "{ends:?}");
    assert_eq!(sweep(&other.remote_url, request()).await, (41, Vec::new()));
}

#[tokio::test]
async fn the_site_of_an_earlier_version_notices_another_remote() {
    let site = synced().await;
    // As the migration leaves it: watermarks, and no remote known.
    site.on_local("delete from meter_sync.meter_sync_remote")
        .await;
    assert_eq!(syncs(&site.settings(), RunOutcome::NoChange).await, None);
    let other = another_database().await;
    let swapped = connect(&other.remote_url).await;
    on(&swapped, "update meter set name = 'other' where id = 5").await;
    let strict = settings(&other.remote_url, &site.pair.local_url).with(Setting::Brake, "strict");
    let run = finish(&mirror(&strict), request()).await;
    assert_eq!(code(&run), REFUSED, "{run:#?}");
}

#[tokio::test]
async fn two_reasons_to_refuse_are_allowed_one_after_the_other() {
    let site = synced().await;
    let other = another_database().await;
    on(
        &connect(&other.remote_url).await,
        "delete from meter where id > 10",
    )
    .await;
    let strict = settings(&other.remote_url, &site.pair.local_url).with(Setting::Brake, "strict");
    let strict = mirror(&strict);
    let run = finish(&strict, request()).await;
    assert_eq!(code(&run), REFUSED, "{run:#?}");
    let run = finish(&strict, allowing()).await;
    assert_eq!(code(&run), Some(ErrorCode::MassDeactivationRefused));
    let approved = RunRequest {
        allow: RunApprovals {
            mass_deactivation: DeactivationApproval::OfRun(run.run_id),
            ..RunApprovals::default()
        },
        ..request()
    };
    let run = finish(&strict, approved).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
}

#[tokio::test]
async fn a_person_allows_once_though_a_row_stays_rejected() {
    let site = synced().await;
    let strict = site.settings().with(Setting::Brake, "strict");
    site.on_remote("insert into meter (id, tenant_id, name) values (31, 7, 'new')")
        .await;
    assert_eq!(syncs(&strict, RunOutcome::Succeeded).await, None);
    site.on_remote("delete from meter where id = 31").await;
    site.on_local(
        "alter table meter add constraint c check (name <> 'Meter 3') not valid; delete from meter where id = '3'",
    )
    .await;
    let mut codes = Vec::new();
    for request in [request(), allowing(), request()] {
        site.on_local("update meter set name = 'edited' where id = '1'")
            .await;
        codes.push(code(&finish(&mirror(&strict), request).await));
    }
    let rejected = Some(ErrorCode::LocalConstraint);
    assert_eq!(codes, [REFUSED, rejected, rejected]);
}

/// SQL that makes a statement which asks the server which one it is take longer than a statement may.
const SLOW_FUNCTION: &str = "\
alter function pg_catalog.pg_control_system() rename to usual_control_system;
create function pg_catalog.pg_control_system(out system_identifier bigint)
language plpgsql as $$ begin perform pg_sleep(60); end $$";

/// Undoes [`SLOW_FUNCTION`].
const USUAL_FUNCTION: &str = "\
drop function pg_catalog.pg_control_system();
alter function pg_catalog.usual_control_system() rename to pg_control_system";

/// The remote is not taken for one that does not tell which it is.
#[tokio::test]
async fn a_run_fails_if_it_cannot_look_which_remote_it_is_in_time() {
    let site = synced().await;
    let strict = site.settings().with(Setting::Brake, "strict");
    let strict = strict.with(Setting::StatementTimeout, "1s");
    assert_eq!(syncs(&strict, RunOutcome::NoChange).await, None);
    site.on_remote(SLOW_FUNCTION).await;
    site.on_remote("update meter set name = 'new' where id = 1")
        .await;
    let run = finish(&mirror(&strict), request()).await;
    assert_eq!(code(&run), Some(ErrorCode::RemoteTimeout), "{run:#?}");
    let known = "select count(*)::integer from meter_sync.meter_sync_remote";
    assert_eq!(rows(&site.local, known).await, json!([{"count": 1}]));
    site.on_remote(USUAL_FUNCTION).await;
    assert_eq!(syncs(&strict, RunOutcome::Succeeded).await, None);
}

#[tokio::test]
async fn a_check_tells_of_a_table_made_anew() {
    let site = synced().await;
    site.on_remote(
        "create table copy (like meter including all); insert into copy select * from meter;
         drop table meter; alter table copy rename to meter; update meter set name = 'older' where id = 2",
    )
    .await;
    let told = told_by_check(&site.settings()).await;
    assert!(matches!(told, Some(Verdict::Ok(_))), "{told:?}");
    let strict = site.settings().with(Setting::Brake, "strict");
    let told = told_by_check(&strict).await;
    assert!(matches!(told, Some(Verdict::Warning(_))), "{told:?}");
    let run = finish(&mirror(&strict), request()).await;
    assert_eq!(code(&run), REFUSED, "{run:#?}");
}

#[tokio::test]
async fn a_remote_that_does_not_tell_which_it_is_is_warned_of() {
    let site = synced().await;
    site.on_remote(
        "revoke execute on function pg_control_system() from public;
         create role mute login; grant select on meter to mute; update meter set name = 'x' where id = 2",
    )
    .await;
    // The watermark is not valid any more, as after a restart.
    site.on_local("vacuum full meter").await;
    let url = site.pair.remote_url.replace("postgres@", "mute@");
    let strict = settings(&url, &site.pair.local_url).with(Setting::Brake, "strict");
    let told = told_by_check(&strict).await;
    let Some(Verdict::Warning(text)) = told else {
        panic!("a warning, not {told:?}");
    };
    assert!(text.contains("grant execute on function"), "{text}");
    let warning = syncs(&strict, RunOutcome::Succeeded)
        .await
        .unwrap_or_default();
    assert!(warning.contains("does not tell"), "{warning}");
    site.on_remote("drop owned by mute; drop role mute").await;
}
