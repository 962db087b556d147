//! Timeouts that the servers enforce: those of a role, and ours, which a frozen process cannot enforce itself.

use std::process::Stdio;

use meter_sync::check::{self, Verdict};
use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::schemas::with_role;
use crate::support::breakable_site::BreakableSite;
use crate::support::postgres::{connect, postgres_18, start_server};
use crate::support::program;
use crate::support::site::{
    LOCAL_SCHEMA, REMOTE_SCHEMA, Site, config, finish, mirror, rows, settings,
};
use crate::support::wait;
use meter_sync::mirrors::RunRequest;
use meter_sync::model::RunTrigger;

/// A view in place of the remote table that takes a while.
const SLOW_VIEW: &str = "
    alter table meter rename to old_meter;
    create view meter as select m.* from old_meter m, lateral (select pg_sleep(2), m.id) s";

const READ: &str = "grant select on meter to $role; alter role $role set";
const WRITE: &str = "
    grant select, insert, update on meter, tenant to $role; grant usage on schema meter_sync to $role;
    grant select, insert, update, delete on all tables in schema meter_sync to $role;
    alter role $role set";

async fn limits(settings: &meter_sync::config::CommandLineSettings, subject: &str) -> String {
    let findings = check::run(&config(settings)).await;
    let found = findings.iter().find(|finding| finding.subject == subject);
    match found.map(|finding| &finding.verdict) {
        Some(Verdict::Warning(text)) => text.clone(),
        _ => panic!("no warning of {subject}: {findings:#?}"),
    }
}

#[tokio::test]
async fn a_lower_limit_of_the_remote_role_is_kept_and_told() {
    let mut broken = BreakableSite::with_changes().await;
    let url = with_role(
        &broken.site.pair.remote_url,
        &broken.site.remote,
        &format!("{READ} statement_timeout = '300ms'"),
    )
    .await;
    broken.site.on_remote(SLOW_VIEW).await;
    broken
        .site
        .on_remote("grant select on meter to public")
        .await;
    let patient = [
        (Setting::RemoteUrl, url.as_str()),
        (Setting::StatementTimeout, "1m"),
    ];
    broken.reconfigure(&patient);
    let run = broken.fails_with(ErrorCode::RemoteTimeout).await;
    let error = run.error.expect("an error");
    assert!(error.message.contains("57014"), "{error:?}");
    assert!(error.remedy.contains("statement_timeout"), "{error:?}");
    let settings = broken.settings().with(Setting::RemoteUrl, &url);
    let found = limits(&settings, "remote limits").await;
    assert!(found.contains("statement_timeout of 300ms"), "{found}");
}

#[tokio::test]
async fn a_local_role_that_may_not_be_idle_for_long_is_told_which_limit_it_is() {
    let mut broken = BreakableSite::with_changes().await;
    let limit = "idle_in_transaction_session_timeout";
    let url = with_role(
        &broken.site.pair.local_url,
        &broken.site.local,
        &format!("{WRITE} {limit} = '300ms'"),
    )
    .await;
    broken.site.on_remote(SLOW_VIEW).await;
    let patient = [
        (Setting::LocalUrl, url.as_str()),
        (Setting::StatementTimeout, "1m"),
    ];
    broken.reconfigure(&patient);
    let run = broken.fails_with(ErrorCode::LocalTimeout).await;
    let error = run.error.expect("an error");
    assert!(error.message.contains("25P03"), "{error:?}");
    assert!(error.remedy.contains(limit), "{error:?}");
    let settings = broken.settings().with(Setting::LocalUrl, &url);
    let found = limits(&settings, "local limits").await;
    assert!(found.contains(limit), "{found}");
}

#[tokio::test]
async fn a_remote_role_that_may_not_be_idle_for_long_is_told_which_limit_it_is() {
    let mut broken = BreakableSite::with_changes().await;
    let limit = "idle_in_transaction_session_timeout";
    let url = with_role(
        &broken.site.pair.remote_url,
        &broken.site.remote,
        &format!("{READ} {limit} = '300ms'"),
    )
    .await;
    let patient = [
        (Setting::RemoteUrl, url.as_str()),
        (Setting::StatementTimeout, "1m"),
        (Setting::LockTimeout, "1m"),
    ];
    broken.reconfigure(&patient);
    let holder = connect(&broken.site.pair.local_url).await;
    let lock = "begin; lock table meter in access exclusive mode";
    holder.batch_execute(lock).await.unwrap();
    let lets_go = async {
        // The role is of this test alone; an application name is set for a transaction only.
        let sessions = "select state from pg_stat_activity
             where datname = current_database() and usename like 'of_%'";
        let is_there = async || rows(&broken.site.remote, sessions).await != json!([]);
        wait::until("the run is at the remote", is_there).await;
        let is_gone = async || rows(&broken.site.remote, sessions).await == json!([]);
        wait::until("the remote has ended the connection", is_gone).await;
        holder.batch_execute("commit").await.unwrap();
    };
    let (run, ()) = tokio::join!(broken.site.sync(), lets_go);
    let error = run.error.expect("an error");
    assert_eq!(error.code, ErrorCode::RemoteTimeout, "{error:?}");
    assert!(error.message.contains("25P03"), "{error:?}");
    assert!(error.remedy.contains(limit), "{error:?}");
}

#[tokio::test]
async fn a_transaction_timeout_of_the_role_is_told_by_its_name() {
    let binaries = postgres_18().await;
    let remote = start_server(&binaries, "remote").await;
    let local = start_server(&binaries, "local").await;
    let (remote_url, local_url) = (remote.url("postgres"), local.url("postgres"));
    let (there, here) = (connect(&remote_url).await, connect(&local_url).await);
    there.batch_execute(REMOTE_SCHEMA).await.unwrap();
    here.batch_execute(LOCAL_SCHEMA).await.unwrap();
    let meters = "insert into meter (id, tenant_id, name) values (1, 7, 'One'), (2, 7, 'Two')";
    there.batch_execute(meters).await.unwrap();
    let usual = settings(&remote_url, &local_url);
    let first = finish(&mirror(&usual), RunRequest::new(RunTrigger::Cli)).await;
    assert_eq!(first.outcome, Some(RunOutcome::Succeeded), "{first:#?}");
    there
        .batch_execute("update meter set name = name || '!'")
        .await
        .unwrap();
    there.batch_execute(SLOW_VIEW).await.unwrap();
    for (server, side, code) in [
        (&there, "remote", ErrorCode::RemoteTimeout),
        (&here, "local", ErrorCode::LocalTimeout),
    ] {
        let limit = "alter role postgres set transaction_timeout = '700ms'";
        server.batch_execute(limit).await.unwrap();
        let run = finish(&mirror(&usual), RunRequest::new(RunTrigger::Cli)).await;
        let error = run.error.expect("an error");
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains("25P04"), "{error:?}");
        assert!(error.remedy.contains("transaction_timeout"), "{error:?}");
        let found = limits(&usual, &format!("{side} limits")).await;
        assert!(found.contains("transaction_timeout of 700ms"), "{found}");
        let lift = "alter role postgres reset transaction_timeout";
        server.batch_execute(lift).await.unwrap();
    }
}

#[tokio::test]
async fn a_frozen_process_lets_go_of_the_rows_and_the_lock() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'One'), (2, 7, 'Two')")
        .await;
    site.sync().await;
    site.on_local(
        "create function slow() returns trigger language plpgsql as
             $$begin perform pg_sleep(0.7); return new; end$$;
         create trigger slow before update on meter for each row execute function slow()",
    )
    .await;
    site.on_remote("update meter set name = name || '!'").await;
    let short = [
        (Setting::RunTimeout, "3s"),
        (Setting::StatementTimeout, "2s"),
    ];
    let mut frozen = program::over(&site, &["sync", "--json"], &short);
    frozen
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut frozen = frozen.spawn().expect("start it");
    let sessions = "select query from pg_stat_activity where application_name = 'meter-sync sync'";
    let writes = format!("{sessions} and query like '-- update meters%'");
    let is_writing = async || rows(&site.local, &writes).await != json!([]);
    wait::until("the run writes", is_writing).await;
    let pid = frozen.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    kill_process(pid.expect("a process"), Signal::STOP).expect("freeze it");
    let is_free = async || rows(&site.local, sessions).await == json!([]);
    wait::until("the server has ended the frozen run", is_free).await;
    site.on_local("drop trigger slow on meter; update meter set site_note = 'by the site'")
        .await;
    let run = site.sync().await;
    assert_eq!(run.outcome, Some(RunOutcome::Succeeded), "{run:#?}");
    frozen.kill().await.expect("end it");
}

#[tokio::test]
async fn a_process_that_is_frozen_while_it_relays_rows_is_ended_by_the_next_run() {
    let mut site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) select n, 7, 'M' from generate_series(1, 100) n",
    )
    .await;
    site.sync().await;
    site.on_remote(
        "update meter set name = name || '!'; alter table meter rename to old_meter;
         create view meter as select m.* from old_meter m, lateral (select pg_sleep(0.02), m.id) s",
    )
    .await;
    let short = [
        (Setting::RunTimeout, "8s"),
        (Setting::StatementTimeout, "2s"),
    ];
    let mut frozen = program::over(&site, &["sync", "--json"], &short);
    frozen
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut frozen = frozen.spawn().expect("start it");
    let sessions = "select query from pg_stat_activity where application_name = 'meter-sync sync'";
    let relays = format!("{sessions} and query like '-- read the meters%' and state = 'active'");
    let is_relaying = async || rows(&site.remote, &relays).await != json!([]);
    wait::until("the run relays rows", is_relaying).await;
    let pid = frozen.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    kill_process(pid.expect("a process"), Signal::STOP).expect("freeze it");
    let is_free = async || rows(&site.remote, sessions).await == json!([]);
    wait::until("the remote has ended the frozen run", is_free).await;
    site.on_remote("drop view meter; alter table old_meter rename to meter")
        .await;
    let settings = site.settings();
    let settings = short.iter().fold(settings, |settings, (setting, value)| {
        settings.with(*setting, *value)
    });
    site.reconfigure(&settings);
    let goes_on = async || {
        let outcome = site.sync().await.outcome;
        assert!(
            [None, Some(RunOutcome::Succeeded)].contains(&outcome),
            "{outcome:?}"
        );
        outcome.is_some()
    };
    wait::until("a run goes on in its place", goes_on).await;
    frozen.kill().await.expect("end it");
}
