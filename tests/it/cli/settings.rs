//! Flags, variables and files, and what is said of wrong ones.

use meter_sync::config::Setting;
use serde_json::json;
use tokio::process::Command;

use super::{object, run};
use crate::support::program::{self, MoreSettings};
use crate::support::site::{NOWHERE, Site};

#[tokio::test]
async fn usage_and_settings_end_with_2_and_say_what_is_wrong() {
    let site = Site::new().await;
    let cases: [(&[&str], MoreSettings<'_>, &str); 9] = [
        (&[], &[], "Usage:"),
        (&["sink"], &[], "sync"),
        (&["sync", "--dryrun"], &[], "--dry-run"),
        (&["sync", "--allow-mass"], &[], "--allow-mass-deactivation"),
        (&["status", "--history", "51"], &[], "--history"),
        (
            &["sync"],
            &[(Setting::LocalUrl, "")],
            "METER_SYNC_LOCAL_URL",
        ),
        (
            &["sync"],
            &[(Setting::StatementTimeout, "soon")],
            "METER_SYNC_STATEMENT_TIMEOUT",
        ),
        (&["sync", "--timezone", "Mars/Olympus"], &[], "--timezone"),
        (
            &["serve"],
            &[(Setting::Schedule, "0 0 30 2 *")],
            "METER_SYNC_SCHEDULE",
        ),
    ];
    for (arguments, more, expected) in cases {
        let ended = run(&site, arguments, more).await;
        assert_eq!(ended.code, 2, "{arguments:?} {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(
            ended.stderr.contains(expected),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
    let same = [(Setting::RemoteUrl, site.pair.local_url.as_str())];
    let ended = run(&site, &["sync"], &same).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended
            .stderr
            .contains("METER_SYNC_REMOTE_URL and METER_SYNC_LOCAL_URL"),
        "{}",
        ended.stderr
    );
    let ended = run(&site, &["sync"], &[(Setting::ReadOnly, "true")]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
}

#[tokio::test]
async fn flags_go_before_variables_and_variables_before_the_file() {
    let site = Site::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("meter-sync.toml");
    let text = "schedule = '15 * * * *'\ntimezone = 'Asia/Tokyo'\ntenant_id = 9\n";
    std::fs::write(&file, text).expect("write the file");
    let config = file.to_str().expect("UTF-8");
    let command = |arguments: &[&str], more: MoreSettings<'_>| {
        let mut command = program::over(&site, arguments, more);
        command.env_remove(Setting::Schedule.env());
        command
    };
    let schedule = async |command: Command| {
        let status = object(&program::run(command).await);
        (status["schedule"].clone(), status["tenant"]["id"].clone())
    };
    let from_file = [(Setting::Config, config)];
    let expected = (
        json!({"line": "15 * * * *", "timezone": "Asia/Tokyo"}),
        json!("9"),
    );
    assert_eq!(
        schedule(command(&["status", "--json"], &from_file)).await,
        expected
    );
    let both = [
        (Setting::Config, config),
        (Setting::Timezone, "Europe/Oslo"),
        (Setting::TenantId, "8"),
    ];
    let expected = (
        json!({"line": "15 * * * *", "timezone": "Europe/Oslo"}),
        json!("8"),
    );
    assert_eq!(
        schedule(command(&["status", "--json"], &both)).await,
        expected
    );
    let flags = [
        "status",
        "--json",
        "--timezone",
        "UTC",
        "--schedule",
        "@daily",
        "--tenant-id",
        "7",
    ];
    let expected = (json!({"line": "@daily", "timezone": "UTC"}), json!("7"));
    assert_eq!(schedule(command(&flags, &both)).await, expected);
}

#[tokio::test]
async fn a_key_that_is_not_known_is_refused_with_the_nearest() {
    let site = Site::new().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("meter-sync.toml");
    std::fs::write(&file, "tenent_id = 7\n").expect("write the file");
    let config = file.to_str().expect("UTF-8");
    let ended = run(&site, &["sync", "--config", config], &[]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("tenent_id"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the nearest is tenant_id"),
        "{}",
        ended.stderr
    );
    let ended = run(&site, &["sync", "--config", "/nowhere/at/all.toml"], &[]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.stderr.contains("/nowhere/at/all.toml"),
        "{}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_variable_that_is_not_known_is_refused_with_the_nearest() {
    let site = Site::new().await;
    let with = async |command: &str, name: &str, value: &str| {
        let mut command = program::over(&site, &[command], &[]);
        command.env(name, value);
        program::run(command).await
    };
    for command in [
        "sync", "status", "check", "config", "migrate", "serve", "stdio", "demo",
    ] {
        let ended = with(command, "METER_SYNC_READONLY", "true").await;
        assert_eq!(ended.code, 2, "{command}: {ended:?}");
        let told =
            "METER_SYNC_READONLY: there is no such setting; the nearest is METER_SYNC_READ_ONLY";
        assert!(ended.stderr.contains(told), "{command}: {}", ended.stderr);
    }
    let ended = with("status", "METER_SYNC_LISTEN_PORT", "8765").await;
    assert!(
        ended
            .stderr
            .contains("METER_SYNC_LISTEN_PORT: there is no such"),
        "{ended:?}"
    );
    for (name, value) in [
        // those of tests, and those that Kubernetes sets for a service of this name
        ("METER_SYNC_TEST_SIZE", "4"),
        ("METER_SYNC_SERVICE_HOST", "10.0.0.1"),
        ("METER_SYNC_SERVICE_PORT_HTTP", "8765"),
        ("METER_SYNC_PORT", "tcp://10.0.0.1:8765"),
        ("METER_SYNC_PORT_8765_TCP_ADDR", "10.0.0.1"),
        ("METER_SYNC_BERLIN_SERVICE_HOST", "10.0.0.1"),
        // those that are not set
        ("METER_SYNC_JSON", ""),
        ("METER_SYNC_HISTORY", ""),
        ("METER_SYNC_RUN", ""),
    ] {
        let ended = with("status", name, value).await;
        assert_eq!(ended.code, 1, "{name}: {ended:?}");
        assert!(
            ended.stdout.contains("No sync has run"),
            "{name}: {ended:?}"
        );
    }
}

#[tokio::test]
async fn no_output_holds_a_secret_even_when_everything_is_logged() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    let with_password = |url: &str| {
        let (user, rest) = url.split_once('@').expect("a user");
        format!("{user}:hunter2@{rest}")
    };
    let remote = with_password(&site.pair.remote_url);
    let local = with_password(&site.pair.local_url);
    let right = [
        (Setting::RemoteUrl, remote.as_str()),
        (Setting::LocalUrl, local.as_str()),
        (Setting::Log, "trace"),
    ];
    let down = [(Setting::RemoteUrl, NOWHERE), (Setting::Log, "trace")];
    let broken = [
        (Setting::RemoteUrl, "postgres://u:hunter2@h:port/m"),
        (Setting::Log, "trace"),
    ];
    for more in [&right[..], &down, &broken] {
        for arguments in [
            &["sync"][..],
            &["sync", "--json"],
            &["status"],
            &["check"],
            &["config"],
            &["config", "--json"],
            &["migrate"],
        ] {
            let ended = run(&site, arguments, more).await;
            let all = format!("{}{}", ended.stdout, ended.stderr);
            let line = all.lines().find(|line| line.contains("hunter2"));
            assert_eq!(line, None, "{arguments:?}");
        }
    }
    let logged = run(&site, &["sync"], &right).await;
    assert!(logged.stderr.contains("TRACE"), "{}", logged.stderr);
}

#[tokio::test]
async fn a_malformed_name_of_a_table_is_refused_with_how_to_write_it() {
    let site = Site::new().await;
    for (name, told) in [
        ("my-table", "in double quotes: \"my-table\""),
        ("public.2nd meter", "in double quotes: \"2nd meter\""),
        ("a..b", "empty part"),
        ("\"meter", "not closed"),
        ("m.public.meter", "more than two parts"),
    ] {
        for (command, setting) in [
            ("sync", Setting::LocalTable),
            ("sync", Setting::RemoteTable),
            ("check", Setting::LocalTable),
            ("check", Setting::RemoteTable),
        ] {
            let ended = run(&site, &[command], &[(setting, name)]).await;
            assert_eq!(ended.code, 2, "{command} {name}: {ended:?}");
            let told = [setting.env(), told, "CONFIG_INVALID"];
            let is_told = told.iter().all(|part| ended.stderr.contains(part));
            assert!(is_told, "{command} {name}: {ended:?}");
        }
    }
    let rename = "alter table meter rename to \"my-table\"";
    site.on_remote(rename).await;
    site.on_local(rename).await;
    let quoted = [
        (Setting::LocalTable, "\"my-table\""),
        (Setting::RemoteTable, "public.\"my-table\""),
    ];
    let ended = run(&site, &["sync"], &quoted).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

/// As libpq's manual says, 0 leaves the system's own value in place.
#[tokio::test]
async fn keepalives_of_zero_are_those_of_the_system() {
    let site = Site::new().await;
    for parameter in ["keepalives_count", "keepalives_idle", "keepalives_interval"] {
        // A URL that ends with its database, as those of tests do.
        let with = |url: &str| format!("{url}?{parameter}=0");
        let (remote, local) = (with(&site.pair.remote_url), with(&site.pair.local_url));
        let urls = [
            (Setting::RemoteUrl, remote.as_str()),
            (Setting::LocalUrl, local.as_str()),
        ];
        let ended = run(&site, &["sync"], &urls).await;
        assert_eq!(ended.code, 0, "{parameter}: {ended:?}");
    }
}
