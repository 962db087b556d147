//! Tests the settings as a whole: precedence of the sources, defaults, settings that exclude each other, and that no
//! text shows a secret.

use std::io::Write;
use std::time::Duration;

use quickcheck::quickcheck;

use super::*;
use crate::error::{ErrorCode, Failure};

const REMOTE: &str = "postgres://u:hunter2@central.example/meters";
pub(super) const LOCAL: &str = "postgres://u:hunter2@localhost/site";

pub(super) fn load<const N: usize>(variables: [(&str, &str); N]) -> Result<Config, ConfigError> {
    Config::load_from(
        &CommandLineSettings::default(),
        &Environment::from(variables),
    )
}

pub(super) fn refusal<const N: usize>(variables: [(&str, &str); N]) -> Failure {
    let failure = Failure::from(load(variables).unwrap_err());
    assert_eq!(failure.code, ErrorCode::ConfigInvalid, "{failure}");
    failure
}

pub(super) fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn nothing_set_is_the_documented_defaults_and_no_database() {
    let config = load([]).unwrap();
    assert!(config.remote.is_none() && config.local.is_none());
    assert_eq!(
        config.mapping.source,
        SourceSetting::Table("meter".to_owned())
    );
    assert_eq!(config.mapping.local_table, "meter");
    assert_eq!(config.mapping.tenant, None);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8765");
    assert_eq!(config.jitter, Duration::from_secs(30));
    assert!(config.schedule.is_some() && !config.read_only && config.tokens.is_empty());
    let failure = Failure::from(config.require_databases().unwrap_err());
    assert_eq!(failure.code, ErrorCode::ConfigMissing);
    assert!(failure.message.contains("METER_SYNC_REMOTE_URL"));
}

#[test]
fn flags_go_before_variables_and_those_before_the_file() {
    let file =
        file("lock_timeout = '1s'\nrun_timeout = '1m'\nconnect_timeout = '1s'\ntenant_id = 7");
    let path = file.path().to_str().unwrap();
    let settings = CommandLineSettings::default().with(Setting::LockTimeout, "3s");
    let variables = [
        ("METER_SYNC_CONFIG", path),
        ("METER_SYNC_LOCK_TIMEOUT", "2s"),
        ("METER_SYNC_RUN_TIMEOUT", "2m"),
        ("METER_SYNC_CONNECT_TIMEOUT", ""),
    ];
    let config = Config::load_from(&settings, &Environment::from(variables)).unwrap();
    assert_eq!(config.limits.lock_timeout, Duration::from_secs(3));
    assert_eq!(config.limits.run_timeout, Duration::from_secs(120));
    assert_eq!(config.limits.connect_timeout, Duration::from_secs(1));
    assert_eq!(config.mapping.tenant, TenantId::new("7"));
}

#[test]
fn the_blanks_of_a_tenants_id_are_a_part_of_it() {
    for (given, taken) in [
        (" acme", " acme"),
        ("acme ", "acme "),
        ("7\n", "7"),
        ("7\r\n", "7"),
    ] {
        let config = load([("METER_SYNC_TENANT_ID", given)]).unwrap();
        assert_eq!(config.mapping.tenant, TenantId::new(taken), "{given:?}");
    }
    let config = load([("METER_SYNC_TENANT_ID", " ")]).unwrap();
    assert_eq!(config.mapping.tenant, None);
}

#[test]
fn a_secret_may_come_from_a_file_but_not_twice() {
    let secret = file(&format!("{REMOTE}\n"));
    let path = secret.path().to_str().unwrap();
    let config = load([("METER_SYNC_REMOTE_URL_FILE", path)]).unwrap();
    assert_eq!(
        config.remote.unwrap().address(),
        "central.example:5432/meters"
    );

    let twice = refusal([
        ("METER_SYNC_REMOTE_URL_FILE", path),
        ("METER_SYNC_REMOTE_URL", REMOTE),
    ]);
    assert!(
        twice.message.starts_with("METER_SYNC_REMOTE_URL_FILE:"),
        "{twice}"
    );

    let settings = CommandLineSettings::default().with(Setting::RemoteUrl, "host=flag dbname=m");
    let variables = Environment::from([("METER_SYNC_REMOTE_URL_FILE", path)]);
    let flag_wins = Config::load_from(&settings, &variables).unwrap();
    assert_eq!(flag_wins.remote.unwrap().address(), "flag:5432/m");
}

#[test]
fn the_legacy_variables_count_only_where_nothing_else_is_set() {
    let legacy = [
        ("POSTGRES_CLIENT_HOST", "central"),
        ("POSTGRES_CLIENT_DB", "meters"),
        ("POSTGRES_CLIENT_USER", "u"),
        ("POSTGRES_SYNC_HOST", "site"),
        ("METER_SYNC_LOCAL_URL", LOCAL),
    ];
    let config = load(legacy).unwrap();
    assert_eq!(config.remote.unwrap().address(), "central:5432/meters");
    assert_eq!(config.local.unwrap().address(), "localhost:5432/site");
    assert!(
        refusal([("POSTGRES_SYNC_PORT", "1")])
            .message
            .starts_with("POSTGRES_SYNC_HOST")
    );
}

#[test]
fn neither_database_stands_in_for_the_other() {
    let remote_only = load([("METER_SYNC_REMOTE_URL", REMOTE)]).unwrap();
    assert!(remote_only.local.is_none());
    assert!(remote_only.require_databases().is_err());
    assert!(
        load([("METER_SYNC_LOCAL_URL", LOCAL)])
            .unwrap()
            .remote
            .is_none()
    );
}

#[test]
fn one_table_cannot_be_both_sides() {
    let same = (
        "METER_SYNC_REMOTE_URL",
        "host=127.0.0.1 dbname=site user=other",
    );
    let local = ("METER_SYNC_LOCAL_URL", LOCAL);
    let failure = refusal([same, local]);
    assert!(failure.message.contains("localhost:5432/site"), "{failure}");
    assert!(load([same, local, ("METER_SYNC_REMOTE_TABLE", "central.meter")]).is_ok());
    refusal([same, local, ("METER_SYNC_REMOTE_TABLE", "public.meter")]);
}

#[test]
fn a_wide_address_needs_tokens() {
    for listen in ["0.0.0.0:8765", "[::]:8765", "192.0.2.1:1"] {
        let failure = refusal([("METER_SYNC_LISTEN", listen)]);
        assert!(failure.remedy.contains("METER_SYNC_TOKENS"), "{failure}");
        let token = ("METER_SYNC_TOKENS", "read:0123456789abcdef");
        assert!(load([("METER_SYNC_LISTEN", listen), token]).is_ok());
    }
    assert!(load([("METER_SYNC_LISTEN", "[::ffff:127.0.0.1]:1")]).is_ok());
}

#[test]
fn what_cannot_be_used_is_refused_under_its_name() {
    for (variable, value) in [
        (
            "METER_SYNC_REMOTE_URL",
            "postgres://u:hunter2@h/m?sslmod=require",
        ),
        ("METER_SYNC_REMOTE_URL_FILE", "postgres://u:hunter2@h/m"),
        ("METER_SYNC_LOCAL_URL", "hunter2"),
        ("METER_SYNC_TENANTS", ","),
        ("METER_SYNC_TENANTS_QUERY", "-- none"),
        ("METER_SYNC_LOCAL_TABLE", "site-{tenant}"),
        ("METER_SYNC_WORKERS", "0"),
        ("METER_SYNC_WORKERS", "65"),
        ("METER_SYNC_COLUMNS", "a,a"),
        ("METER_SYNC_KEY", ","),
        ("METER_SYNC_SCHEDULE", "hourly"),
        ("METER_SYNC_TIMEZONE", "Europe/Berlinn"),
        ("METER_SYNC_JITTER", "2h"),
        ("METER_SYNC_LISTEN", "8765"),
        ("METER_SYNC_ALLOWED_HOSTS", "http://x"),
        ("METER_SYNC_TOKENS", "read:hunter2"),
        ("METER_SYNC_READ_ONLY", "maybe"),
        ("METER_SYNC_CONNECT_TIMEOUT", "10"),
        ("METER_SYNC_STATEMENT_TIMEOUT", "0s"),
        ("METER_SYNC_LOCK_TIMEOUT", "0s"),
        ("METER_SYNC_RUN_TIMEOUT", "10d"),
        ("METER_SYNC_MAX_DEACTIVATED_PERCENT", "101"),
        ("METER_SYNC_MAX_DEACTIVATED_ROWS", "-1"),
        ("METER_SYNC_CHANGE_LIMIT", "many"),
        ("METER_SYNC_REJECTED_LIMIT", "1e3"),
        ("METER_SYNC_LOG", "meter_sync=shout"),
        ("METER_SYNC_LOG_FORMAT", "xml"),
        ("METER_SYNC_CONFIG", "/nowhere/meter-sync.toml"),
    ] {
        let failure = refusal([(variable, value)]);
        assert!(failure.message.starts_with(variable), "{failure}");
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure}");
    }
    refusal([
        ("METER_SYNC_REMOTE_TABLE", "a"),
        ("METER_SYNC_REMOTE_QUERY", "select 1"),
    ]);
}

#[test]
fn the_schedule_can_be_off() {
    assert!(
        load([("METER_SYNC_SCHEDULE", "OFF")])
            .unwrap()
            .schedule
            .is_none()
    );
}

#[test]
fn the_sample_file_is_complete_and_can_be_used() {
    let sample = include_str!("../../examples/meter-sync.toml");
    let load_text = |text: &str| {
        let file = file(text);
        load([("METER_SYNC_CONFIG", file.path().to_str().unwrap())])
    };
    assert!(load_text(sample).unwrap().require_databases().is_ok());
    for setting in Setting::ALL
        .iter()
        .filter(|setting| **setting != Setting::Config)
    {
        let start = format!("{} = ", setting.key());
        let lines = sample.lines().map(|line| line.trim_start_matches("# "));
        let line = lines
            .clone()
            .find(|line| line.starts_with(&start))
            .unwrap_or_else(|| panic!("{setting:?} is missing from the sample"));
        // The OAuth settings can only be set together.
        let together: Vec<_> = match setting.key().starts_with("oauth_") {
            true => lines.filter(|line| line.starts_with("oauth_")).collect(),
            false => vec![line],
        };
        let names_a_file = setting.key().ends_with("_file");
        let text = together.join("\n");
        assert!(names_a_file || load_text(&text).is_ok(), "{text}");
    }
}

#[test]
fn the_documentation_names_every_setting() {
    let text = include_str!("../../docs/configuration.md");
    for setting in Setting::ALL {
        let names = [
            format!("`--{}`", setting.flag()),
            format!("`{}`", setting.env()),
        ];
        for name in names {
            assert!(
                text.contains(&name),
                "docs/configuration.md does not name {name}"
            );
        }
        let key = format!("`{}`", setting.key());
        assert!(
            *setting == Setting::Config || text.contains(&key),
            "no {key}"
        );
    }
}

quickcheck! {
    fn no_password_is_ever_shown(before: String, after: String, encoded: bool) -> bool {
        let password = format!("{before}hunter2{after}").replace('\0', "");
        let url = if encoded {
            let bytes = password.bytes().map(|byte| format!("%{byte:02x}"));
            format!("postgres://u:{}@h/m", bytes.collect::<String>())
        } else {
            format!("postgres://u:{password}@h/m")
        };
        let shown = match load([("METER_SYNC_REMOTE_URL", &url)]) {
            Ok(config) => format!("{config:?}"),
            Err(error) => {
                let first = format!("{error:?}");
                format!("{first} {:?}", Failure::from(error))
            }
        };
        !shown.contains("hunter2")
    }
}

#[test]
fn tokens_that_name_none_are_no_reason_to_serve_without() {
    for tokens in [",", " , ", ",,\n,"] {
        let refused = refusal([("METER_SYNC_TOKENS", tokens)]);
        assert!(refused.message.contains("holds no token"), "{refused}");
    }
}

#[test]
fn a_mark_at_the_beginning_of_a_file_is_no_part_of_it() {
    let url = file(&format!("\u{feff}{LOCAL}\r\n"));
    let tokens = file("\u{feff}read:0123456789abcdef\n");
    let settings = file("\u{feff}tenant_id = 7\n");
    let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
    let config = load([
        ("METER_SYNC_LOCAL_URL_FILE", path(&url).as_str()),
        ("METER_SYNC_TOKENS_FILE", path(&tokens).as_str()),
        ("METER_SYNC_CONFIG", path(&settings).as_str()),
    ])
    .unwrap();
    assert!(config.local.unwrap().address().contains("site"));
    assert_eq!(config.tokens.now().len(), 1);
    assert_eq!(config.mapping.tenant.unwrap().as_str(), "7");
    let only_a_mark = file("\u{feff}\n");
    let path = path(&only_a_mark);
    let refused = refusal([("METER_SYNC_LOCAL_URL_FILE", path.as_str())]);
    assert!(refused.message.contains("is empty"), "{refused}");
}

#[test]
fn of_two_settings_that_exclude_each_other_the_one_given_nearer_wins() {
    let file = file("remote_query = 'select 1'");
    let path = file.path().to_str().unwrap();
    let table = CommandLineSettings::default().with(Setting::RemoteTable, "meters");
    let variables = Environment::from([("METER_SYNC_CONFIG", path)]);
    let config = Config::load_from(&table, &variables).unwrap();
    assert_eq!(
        config.mapping.source,
        SourceSetting::Table("meters".to_owned())
    );
    let refused = refusal([
        ("METER_SYNC_REMOTE_TABLE", "a"),
        ("METER_SYNC_REMOTE_QUERY", "select 1"),
    ]);
    assert!(refused.message.contains("together"), "{refused}");
}

#[test]
fn a_host_may_have_a_port_and_nothing_that_is_none() {
    for host in [
        "meters.lan:99999",
        "meters.lan:",
        "meters.lan:http",
        "[::1]:x",
    ] {
        let refused = refusal([("METER_SYNC_ALLOWED_HOSTS", host)]);
        assert!(refused.message.contains("is no host name"), "{refused}");
    }
    let config = load([(
        "METER_SYNC_ALLOWED_HOSTS",
        "meters.lan:8443,[::1]:80,meters.lan",
    )])
    .unwrap();
    assert_eq!(config.allowed_hosts.len(), 3);
}

#[test]
fn a_schedule_whose_years_are_over_is_refused() {
    for line in ["0 0 * * * * 2020", "0 0 0 1 1 * 1999-2001"] {
        let refused = refusal([("METER_SYNC_SCHEDULE", line)]);
        assert!(refused.message.contains("are over"), "{refused}");
    }
}
