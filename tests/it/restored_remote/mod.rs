//! A remote that is restored, taken back or swapped for another is noticed; a strict brake waits for a person.

use meter_sync::check::{self, Verdict};
use meter_sync::config::{CommandLineSettings, Setting};
use meter_sync::embedded::{DataDirectory, Server, ServerOptions};
use meter_sync::error::ErrorCode;
use meter_sync::mirrors::{RunApprovals, RunRequest};
use meter_sync::model::{RunOutcome, RunTrigger};
use meter_sync::reports::run_report::RunReport;
use serde_json::json;
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::support::postgres::{Pair, binaries, connect, pair};
use crate::support::program;
use crate::support::site::{REMOTE_SCHEMA, Site, config, finish, mirror, mirrors, rows, settings};

mod false_alarms;
mod machine_with_memory;
mod strict_brake;
mod volumes;

const METERS: &str = "
    insert into meter (id, tenant_id, name)
    select n, 7, 'Meter ' || n from generate_series(1, 30) n";

const NAMES_HERE: &str = "select id::integer, name from meter order by id::integer";
const NAMES_THERE: &str = "select id::integer, name from meter where tenant_id = 7 order by id";

async fn on(client: &Client, sql: &str) {
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// A run that ends so, and its warning.
async fn syncs(settings: &CommandLineSettings, expected: RunOutcome) -> Option<String> {
    let run = finish(&mirror(settings), RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(run.outcome, Some(expected), "{run:#?}");
    run.warning
}

async fn warns(settings: &CommandLineSettings, expected: RunOutcome, text: &str) {
    let warning = syncs(settings, expected).await.unwrap_or_default();
    assert!(warning.contains(text), "{text}: {warning}");
    // It is told once.
    assert_eq!(syncs(settings, RunOutcome::NoChange).await, None);
}

/// Fills an empty database as the remote of a site.
async fn fill(url: &str) {
    let swapped = connect(url).await;
    on(&swapped, REMOTE_SCHEMA).await;
    on(&swapped, METERS).await;
}

/// A server that `initdb` made for itself. Those of other tests are copies of one, and so have its identifier.
async fn new_server(name: &'static str) -> (TempDir, Server) {
    let home = tempfile::tempdir().expect("a directory");
    let options = ServerOptions {
        name,
        data: DataDirectory::Persistent(home.path().join(name)),
        settings: Vec::new(),
    };
    let server = Server::start(&binaries().await, options).await;
    (home, server.expect("a server"))
}

/// A second database like the remote of a site, on the same server.
async fn another_database() -> Pair {
    let other = pair().await;
    fill(&other.remote_url).await;
    other
}

async fn synced() -> Site {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Succeeded));
    site
}

#[tokio::test]
async fn another_database_of_the_same_server_is_told_though_its_meters_are_equal() {
    let site = synced().await;
    let other = another_database().await;
    let url = &other.remote_url;
    let swapped = settings(url, &site.pair.local_url);
    warns(
        &swapped,
        RunOutcome::NoChange,
        "another database than at the last sync, on the same server",
    )
    .await;
}

#[tokio::test]
async fn another_server_is_told_and_a_strict_brake_waits_for_a_person() {
    let site = synced().await;
    let (_home, server) = new_server("swapped").await;
    let url = server.url("postgres");
    fill(&url).await;
    let swapped = connect(&url).await;
    on(&swapped, "update meter set name = 'other' where id = 5").await;
    let strict = settings(&url, &site.pair.local_url).with(Setting::Brake, "strict");
    let told = told_by_check(&strict).await;
    let Some(Verdict::Warning(text)) = told else {
        panic!("a warning, not {told:?}");
    };
    assert!(
        text.contains("another database server than at the last sync"),
        "{text}"
    );
    let before = rows(&site.local, NAMES_HERE).await;

    let dry_run = RunRequest {
        dry_run: true,
        ..RunRequest::new(RunTrigger::Cli)
    };
    let is_refused = |run: &RunReport| {
        let error = run.error.as_ref().expect("an error");
        assert_eq!(error.code, ErrorCode::RemoteChangedRefused, "{run:#?}");
        assert!(
            error
                .message
                .contains("another database server than at the last sync"),
            "{run:#?}"
        );
        assert_eq!(run.warning, None, "{run:#?}");
    };
    let run = finish(&mirror(&strict), dry_run).await;
    assert_eq!(run.outcome, Some(RunOutcome::DryRun), "{run:#?}");
    is_refused(&run);
    for _ in 0..2 {
        let run = finish(&mirror(&strict), RunRequest::new(RunTrigger::Cli)).await;
        assert_eq!(run.outcome, Some(RunOutcome::Refused), "{run:#?}");
        is_refused(&run);
        assert_eq!(rows(&site.local, NAMES_HERE).await, before);
    }

    let allowed = RunRequest {
        allow: RunApprovals {
            remote_change: true,
            ..RunApprovals::default()
        },
        ..RunRequest::new(RunTrigger::Cli)
    };
    let run = finish(&mirror(&strict), allowed).await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    let warning = run.warning.unwrap_or_default();
    assert!(
        warning.contains("another database server than at the last sync"),
        "{warning}"
    );
    let there = rows(&swapped, NAMES_THERE).await;
    assert_eq!(rows(&site.local, NAMES_HERE).await, there);
    on(&swapped, "update meter set name = 'next' where id = 6").await;
    assert_eq!(syncs(&strict, RunOutcome::Succeeded).await, None);
    let told = told_by_check(&strict).await;
    assert!(matches!(told, Some(Verdict::Ok(_))), "{told:?}");
}

/// What a check says of the remote's identity.
async fn told_by_check(settings: &CommandLineSettings) -> Option<Verdict> {
    let findings = check::run(&config(settings)).await;
    let mut told = findings.into_iter();
    let told = told.find(|finding| finding.subject == "remote identity");
    told.map(|finding| finding.verdict)
}

#[tokio::test]
async fn the_command_line_names_what_lets_a_sync_pass_and_takes_it() {
    let site = synced().await;
    let other = another_database().await;
    let url = &other.remote_url;
    on(
        &connect(url).await,
        "update meter set name = 'other' where id = 5",
    )
    .await;
    let settings = [
        (Setting::RemoteUrl, url.as_str()),
        (Setting::LocalUrl, site.pair.local_url.as_str()),
        (Setting::Schedule, "off"),
        (Setting::Brake, "strict"),
    ];
    let refused = program::run(program::bare(&["sync"], &settings)).await;
    assert_eq!(refused.code, 3, "{refused:?}");
    refused.assert_says(&[
        "REMOTE_CHANGED_REFUSED",
        "meter-sync sync --allow-remote-change",
    ]);
    let allowing = ["sync", "--allow-remote-change"];
    let passed = program::run(program::bare(&allowing, &settings)).await;
    assert_eq!(passed.code, 0, "{passed:?}");
}

#[tokio::test]
async fn a_refusal_by_the_usual_brake_says_that_the_remote_is_another_one() {
    let site = synced().await;
    let other = another_database().await;
    let url = &other.remote_url;
    on(&connect(url).await, "delete from meter").await;
    let swapped = settings(url, &site.pair.local_url);
    for _ in 0..2 {
        let warning = syncs(&swapped, RunOutcome::Refused)
            .await
            .unwrap_or_default();
        assert!(
            warning.contains("another database than at the last sync, on the same server"),
            "{warning}"
        );
    }
}

#[tokio::test]
async fn a_table_that_is_made_anew_is_told_only_if_its_meters_differ() {
    let site = synced().await;
    let make_anew = |change: &str| {
        format!(
            "create table copy (like meter including all); insert into copy select * from meter;
             drop table meter; alter table copy rename to meter; {change}"
        )
    };
    site.on_remote(&make_anew("")).await;
    assert_eq!(syncs(&site.settings(), RunOutcome::NoChange).await, None);
    let insert = "insert into meter (id, tenant_id, name) values (31, 7, 'new')";
    site.on_remote(&make_anew(insert)).await;
    assert_eq!(syncs(&site.settings(), RunOutcome::Succeeded).await, None);
    site.on_remote(&make_anew("update meter set name = 'older' where id = 2"))
        .await;
    let told = "table was dropped and created anew";
    warns(&site.settings(), RunOutcome::Succeeded, told).await;
}

#[tokio::test]
async fn another_table_that_the_settings_name_is_not_told_as_a_change_of_the_remote() {
    let site = synced().await;
    site.on_remote("create table other (like meter including all); insert into other select * from meter; update other set name = 'x' where id = 1")
        .await;
    let other = site.settings().with(Setting::RemoteTable, "other");
    assert_eq!(syncs(&other, RunOutcome::Succeeded).await, None);
}

#[tokio::test]
async fn a_view_is_compared_though_its_row_versions_prove_nothing() {
    let site = synced().await;
    let of_view =
        |url: &str| settings(url, &site.pair.local_url).with(Setting::RemoteTable, "shown");
    let view = "create view shown as select * from meter";
    site.on_remote(view).await;
    let first = of_view(&site.pair.remote_url);
    for _ in 0..2 {
        assert_eq!(syncs(&first, RunOutcome::NoChange).await, None);
    }
    let other = another_database().await;
    let url = &other.remote_url;
    on(&connect(url).await, view).await;
    let told = "another database than at the last sync, on the same server";
    warns(&of_view(url), RunOutcome::NoChange, told).await;
}

#[tokio::test]
async fn a_remote_that_does_not_tell_which_it_is_is_synced_without_a_warning() {
    let site = Site::new().await;
    site.on_remote(METERS).await;
    site.on_remote(
        "revoke execute on function pg_control_system() from public;
         create role unprivileged login; grant select on meter to unprivileged",
    )
    .await;
    let url = site.pair.remote_url.replace("postgres@", "unprivileged@");
    assert_ne!(url, site.pair.remote_url);
    let unprivileged = settings(&url, &site.pair.local_url);
    assert_eq!(syncs(&unprivileged, RunOutcome::Succeeded).await, None);
    site.on_remote("update meter set name = 'new' where id = 2")
        .await;
    assert_eq!(syncs(&unprivileged, RunOutcome::Succeeded).await, None);
    let known = rows(
        &site.local,
        "select count(*) from meter_sync.meter_sync_remote",
    )
    .await;
    assert_eq!(known, json!([{"count": 0}]));
    site.on_remote("drop owned by unprivileged; drop role unprivileged")
        .await;
}

#[tokio::test]
async fn each_of_many_mirrors_is_told_and_only_one_that_differs_is_refused() {
    let site = Site::shared().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name)
         select n, 7 + n % 3, 'Meter ' || n from generate_series(1, 30) n",
    )
    .await;
    let many = |url: &str| {
        let settings = settings(url, &site.pair.local_url);
        mirrors(
            &settings
                .with(Setting::Tenants, "7,8,9")
                .with(Setting::Brake, "strict"),
        )
    };
    let sweep = async |url: &str| {
        let mut ends = Vec::new();
        let request = RunRequest::new(RunTrigger::Cli);
        let mirrors = many(url);
        let swept = mirrors.sweep(&request, |one, run| {
            let run = run.expect("a run");
            let code = run.error.map(|error| error.code);
            ends.push((one.id.as_str().to_owned(), run.outcome, code));
        });
        swept.await.expect("a sweep");
        ends.sort_by(|a, b| a.0.cmp(&b.0));
        ends
    };
    assert_eq!(sweep(&site.pair.remote_url).await.len(), 3);
    let other = another_database().await;
    let url = &other.remote_url;
    let swapped = connect(url).await;
    on(
        &swapped,
        "update meter set tenant_id = 7 + id % 3; update meter set name = 'other' where id = 10",
    )
    .await;
    let equal = |id: &str| (id.to_owned(), Some(RunOutcome::NoChange), None);
    let refused = (
        "8".to_owned(),
        Some(RunOutcome::Refused),
        Some(ErrorCode::RemoteChangedRefused),
    );
    for _ in 0..2 {
        assert_eq!(sweep(url).await, [equal("7"), refused.clone(), equal("9")]);
    }
}
