//! Databases that cannot be reached, or that refuse the connection.

use std::time::{Duration, Instant};

use meter_sync::config::{CommandLineSettings, ConfigError, Environment, Setting};
use meter_sync::error::ErrorCode;
use meter_sync::model::RunOutcome;

use crate::support::breakable_site::{BreakableSite, SECRET};
use crate::support::postgres::{binaries, connect, start_server};
use crate::support::proxy::{Fault, Proxy};
use crate::support::site::{LOCAL_SCHEMA, REMOTE_SCHEMA, mirror, rows, settings};

#[tokio::test]
async fn a_remote_that_is_not_there_is_unreachable() {
    let mut broken = BreakableSite::with_changes().await;
    let name = broken.site.pair.remote_url.rsplit('/').next().unwrap();
    let name = name.to_owned();
    for url in [
        format!("postgres://postgres:{SECRET}@no-such-host.invalid/{name}"),
        format!("postgres://postgres:{SECRET}@127.0.0.1:1/{name}"),
        broken
            .site
            .pair
            .remote_url
            .replace(&name, "no_such_database"),
    ] {
        broken.reconfigure(&[(Setting::RemoteUrl, &url)]);
        broken.fails_with(ErrorCode::RemoteUnreachable).await;
    }
    broken.reconfigure(&[]);
    broken.heals().await;
}

#[tokio::test]
async fn an_unreachable_remote_is_told_apart_in_words() {
    let mut broken = BreakableSite::with_changes().await;
    let said = async |broken: &mut BreakableSite, url: String| {
        broken.reconfigure(&[(Setting::RemoteUrl, &url)]);
        let run = broken.fails_with(ErrorCode::RemoteUnreachable).await;
        let error = run.error.expect("an error");
        format!("{} {}", error.message, error.remedy)
    };
    let refused = said(&mut broken, "postgres://postgres@127.0.0.1:1/x".to_owned()).await;
    assert!(refused.contains("refused"), "{refused}");
    let unknown = said(&mut broken, "postgres://h.invalid/x".to_owned()).await;
    assert!(unknown.contains("host name"), "{unknown}");
    let url = broken.site.pair.remote_url.replace("/test_", "/text_");
    let database = said(&mut broken, url).await;
    assert!(database.contains("database name"), "{database}");
}

#[tokio::test]
async fn options_that_a_server_does_not_take_are_told_as_a_setting_of_ours() {
    let mut broken = BreakableSite::with_changes().await;
    for (setting, url) in [
        (Setting::RemoteUrl, broken.site.pair.remote_url.clone()),
        (Setting::LocalUrl, broken.site.pair.local_url.clone()),
    ] {
        for (option, named) in [("work_mem%3Dabc", "work_mem"), ("nosuch%3D1", "nosuch")] {
            let url = format!("{url}?options=-c%20{option}");
            broken.reconfigure(&[(setting, &url)]);
            let run = broken.site.sync().await;
            let error = run.error.as_ref().expect("an error");
            assert_eq!(error.code, ErrorCode::ConfigInvalid, "{run:#?}");
            assert!(error.message.contains(named), "{error:?}");
            assert!(error.remedy.contains("options"), "{error:?}");
        }
    }
    broken.reconfigure(&[]);
    broken.heals().await;
}

#[tokio::test]
async fn a_search_path_in_the_options_is_taken_as_the_server_takes_it() {
    let mut broken = BreakableSite::with_changes().await;
    for path in ["", "my-schema,public", "user", "\"$user\",public"] {
        let option = format!("?options=-c%20search_path%3D{}", path.replace('"', "%22"));
        let urls = [&broken.site.pair.remote_url, &broken.site.pair.local_url];
        let [remote, local] = urls.map(|url| format!("{url}{option}"));
        broken.reconfigure(&[
            (Setting::RemoteUrl, &remote),
            (Setting::LocalUrl, &local),
            (Setting::RemoteTable, "public.meter"),
            (Setting::LocalTable, "public.meter"),
            (Setting::TenantId, "7"),
        ]);
        broken.heals().await;
        broken.change_the_remote().await;
    }
}

#[tokio::test]
async fn a_remote_without_tls_is_not_talked_to_in_clear_when_tls_is_required() {
    let mut broken = BreakableSite::with_changes().await;
    let url = format!("{}?sslmode=require", broken.site.pair.remote_url);
    broken.reconfigure(&[(Setting::RemoteUrl, &url)]);
    broken.fails_with(ErrorCode::RemoteTls).await;
    broken.reconfigure(&[]);
    broken.heals().await;
}

#[tokio::test]
async fn a_remote_that_is_silent_from_the_start_is_given_up() {
    let mut broken = BreakableSite::with_changes().await;
    broken.reconfigure(&[(Setting::ConnectTimeout, "300ms")]);
    broken.remote.set(Fault::Stall);
    let begun = Instant::now();
    broken.fails_with(ErrorCode::RemoteUnreachable).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{begun:?}");
    broken.reconfigure(&[]);
    broken.heals().await;
}

#[tokio::test]
async fn databases_that_are_down_at_the_start_are_synced_once_they_are_up() {
    let broken = BreakableSite::with_changes().await;
    broken.local.set(Fault::Refuse);
    broken.remote.set(Fault::Refuse);
    let run = broken.site.sync().await;
    let error = run.error.expect("an error");
    assert_eq!(error.code, ErrorCode::LocalUnreachable, "{error:?}");
    let status = broken.site.status().await;
    assert_eq!(status.last_run.map(|last| last.run_id), Some(run.run_id));

    broken.local.set(Fault::None);
    broken.fails_with(ErrorCode::RemoteUnreachable).await;
    broken.heals().await;
}

#[tokio::test]
async fn one_database_under_two_names_is_refused() {
    let mut broken = BreakableSite::with_changes().await;
    let local_url = broken.site.pair.local_url.clone();
    let by_name = local_url.replace("127.0.0.1", "localhost");
    let error = meter_sync::config::Config::load_from(
        &settings(&by_name, &local_url),
        &Environment::default(),
    );
    assert!(matches!(error, Err(ConfigError::Invalid { .. })));

    // by a name that only the database can see through
    let (_proxy, hidden) = Proxy::before(&local_url).await;
    broken.reconfigure(&[(Setting::RemoteUrl, &hidden)]);
    let run = broken.fails_with(ErrorCode::ConfigInvalid).await;
    let remedy = run.error.expect("an error").remedy;
    assert!(remedy.contains("METER_SYNC_REMOTE_URL"), "{remedy}");
    broken.reconfigure(&[]);
    broken.heals().await;
}

/// Signs `METER` in by password; everyone else by trust, as before.
async fn ask_for_a_password(server: &meter_sync::embedded::Server) {
    let file = server.directory().join("data/pg_hba.conf");
    let rules = std::fs::read_to_string(&file).unwrap();
    let rule = "host all meter_sync_user 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(&file, format!("{rule}{rules}")).unwrap();
    let role = format!(
        "create role meter_sync_user login superuser password '{SECRET}'; select pg_reload_conf()"
    );
    let admin = connect(&server.url("postgres")).await;
    admin.batch_execute(&role).await.unwrap();
}

/// A server with a central and a site's database, which one role enters by a password.
async fn guarded(name: &'static str) -> meter_sync::embedded::Server {
    let server = start_server(&binaries().await, name).await;
    ask_for_a_password(&server).await;
    let admin = connect(&server.url("postgres")).await;
    for (name, schema) in [("central", REMOTE_SCHEMA), ("site", LOCAL_SCHEMA)] {
        let create = format!("create database {name}");
        admin.batch_execute(&create).await.unwrap();
        let database = connect(&server.url(name)).await;
        database.batch_execute(schema).await.unwrap();
    }
    server
}

#[tokio::test]
async fn a_wrong_password_is_told_by_its_side_and_shown_nowhere() {
    let server = guarded("guarded").await;
    let url = |name: &str, login: &str| server.url(name).replace("postgres@", login);
    let right = format!("meter_sync_user:{SECRET}@");
    let wrong = format!("meter_sync_user:{SECRET}-not@");
    for (remote, local, code) in [
        (&wrong, &right, Some(ErrorCode::RemoteAuth)),
        (&right, &wrong, Some(ErrorCode::LocalAuth)),
        (
            &"meter_sync_user@".to_owned(),
            &right,
            Some(ErrorCode::RemoteAuth),
        ),
        (&right, &right, None),
    ] {
        let settings = settings(&url("central", remote), &url("site", local));
        let runs = mirror(&settings.with(Setting::ConnectTimeout, "3s"));
        let request = meter_sync::mirrors::RunRequest::new(meter_sync::model::RunTrigger::Cli);
        let run = crate::support::site::finish(&runs, request).await;
        assert_eq!(run.error.as_ref().map(|error| error.code), code, "{run:#?}");
        let text = format!("{run:?} {runs:?}");
        assert!(
            !text.contains(SECRET) && !text.contains("meter_sync_user"),
            "{text}"
        );
        assert_eq!(run.outcome == Some(RunOutcome::Failed), code.is_some());
    }
    let site = connect(&server.url("site")).await;
    let logged = "select error_code from meter_sync.meter_sync_log order by started_at";
    assert_eq!(
        rows(&site, logged).await,
        serde_json::json!([{"error_code": "REMOTE_AUTH"}, {"error_code": "REMOTE_AUTH"}, {"error_code": null}])
    );
}

#[tokio::test]
async fn a_rotated_password_heals_without_a_restart() {
    let server = guarded("rotated").await;
    let admin = connect(&server.url("postgres")).await;
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("remote_url");
    let central = server.url("central");
    let write = |password: &str| {
        let login = format!("meter_sync_user:{password}@");
        std::fs::write(&file, central.replace("postgres@", &login)).unwrap();
    };
    write(SECRET);
    let runs = mirror(
        &CommandLineSettings::default()
            .with(Setting::RemoteUrlFile, file.display().to_string())
            .with(Setting::LocalUrl, server.url("site"))
            .with(Setting::Schedule, "off"),
    );
    let ends = async || {
        let request = meter_sync::mirrors::RunRequest::new(meter_sync::model::RunTrigger::Cli);
        let run = crate::support::site::finish(&runs, request).await;
        run.error.map(|error| error.code)
    };
    assert_eq!(ends().await, None);
    let rotate = "alter role meter_sync_user password 'another word';
        select pg_terminate_backend(pid) from pg_stat_activity where usename = 'meter_sync_user'";
    admin.batch_execute(rotate).await.unwrap();
    assert_eq!(ends().await, Some(ErrorCode::RemoteAuth));
    write("another%20word");
    assert_eq!(ends().await, None);
    // What leads elsewhere takes a restart: half of a run must not go to another database.
    std::fs::write(&file, server.url("postgres")).unwrap();
    let leave =
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'meter_sync_user'";
    admin.batch_execute(leave).await.unwrap();
    assert_eq!(ends().await, None);
}
