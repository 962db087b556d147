//! `meter-sync config`: every setting, its value and where it came from.

use meter_sync::config::Setting;
use serde_json::{Value, json};

use super::object;
use crate::support::program::{self, MoreSettings};

/// What is said of one setting: its value, the kind of place it came from, and the place.
fn told(listed: &Value, key: &str) -> Value {
    let settings = listed["settings"].as_array().expect("settings");
    let found = settings.iter().find(|setting| setting["setting"] == key);
    let found = found.unwrap_or_else(|| panic!("{key}: {listed}"));
    json!([found["value"], found["source"], found["place"]])
}

async fn listed(arguments: &[&str], more: MoreSettings<'_>) -> Value {
    let ended = program::run(program::bare(arguments, more)).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
    object(&ended)
}

/// A file of its own with this text, and its path.
fn file(text: &str) -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("write it");
    let path = file.path().to_str().expect("UTF-8").to_owned();
    (file, path)
}

#[tokio::test]
async fn each_setting_is_listed_with_its_value_and_where_that_came_from() {
    let text = "timezone = 'Asia/Tokyo'\nkey = ['id', 'element']\nremote_table = 'site.meter'\nlog_format = 'json'\n";
    let (_file, path) = file(text);
    let more = [
        (Setting::Config, path.as_str()),
        (Setting::LogFormat, "text"),
    ];
    let flags = ["--jitter", "5s", "--remote-query", "select 1"];
    let settings = listed(&[&["config", "--json"][..], &flags].concat(), &more).await;
    let in_file = |key: &str| format!("{key} in {path}");
    let tenant = "the single row of the local table tenant";
    for (key, expected) in [
        ("jitter", json!(["5s", "flag", "--jitter"])),
        (
            "remote_query",
            json!(["select 1", "flag", "--remote-query"]),
        ),
        // A flag goes before what it excludes in the file.
        ("remote_table", json!([null, "default", null])),
        (
            "timezone",
            json!(["Asia/Tokyo", "file", in_file("timezone")]),
        ),
        ("key", json!(["id,element", "file", in_file("key")])),
        (
            "log_format",
            json!(["text", "variable", "METER_SYNC_LOG_FORMAT"]),
        ),
        ("config", json!([path, "variable", "METER_SYNC_CONFIG"])),
        ("schedule", json!(["0 * * * *", "default", null])),
        ("tenant_id", json!([tenant, "default", null])),
        ("allowed_hosts", json!([null, "default", null])),
    ] {
        assert_eq!(told(&settings, key), expected, "{key}");
    }
    let words = program::run(program::bare(&["config"], &more)).await;
    assert_eq!(words.code, 0, "{words:?}");
    let lines = words.stdout.lines();
    let listed: Vec<_> = lines
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let all: Vec<_> = Setting::ALL.iter().map(|setting| setting.key()).collect();
    assert_eq!(listed, all, "{}", words.stdout);
}

#[tokio::test]
async fn of_a_secret_only_what_is_none_is_listed() {
    let (_url, path) = file("postgres://site:hunter2@localhost:5433/site\n");
    let remote = "postgres://u:hunter2@central.example/meters?sslmode=require";
    let tokens = "read:hunter2hunter2hunter2,trigger:ann@7,8:hunter2hunter2hunter3,read:hunter2hunter2hunter4";
    let more = [
        (Setting::RemoteUrl, remote),
        (Setting::LocalUrlFile, path.as_str()),
        (Setting::Tokens, tokens),
    ];
    let settings = listed(&["config", "--json"], &more).await;
    let remote = "user=u host=central.example dbname=meters sslmode=require";
    let local = "user=site host=localhost port=5433 dbname=site";
    let tokens = "3 tokens: read, trigger:ann@7,8, read";
    for (key, value, place) in [
        ("remote_url", remote, "METER_SYNC_REMOTE_URL"),
        ("local_url_file", path.as_str(), "METER_SYNC_LOCAL_URL_FILE"),
        ("local_url", local, "METER_SYNC_LOCAL_URL_FILE"),
        ("tokens", tokens, "METER_SYNC_TOKENS"),
    ] {
        let expected = json!([value, "variable", place]);
        assert_eq!(told(&settings, key), expected, "{key}");
    }
    let words = program::run(program::bare(&["config"], &more)).await;
    assert!(words.stdout.contains(tokens), "{words:?}");
    assert!(!format!("{words:?}").contains("hunter2"), "{words:?}");
}

#[tokio::test]
async fn variables_of_the_earlier_system_are_named_and_a_bad_setting_ends_with_2() {
    let mut command = program::bare(&["config", "--json"], &[]);
    command
        .env("POSTGRES_CLIENT_HOST", "central.example")
        .env("POSTGRES_CLIENT_DB", "meters")
        .env("POSTGRES_CLIENT_USER", "reader")
        .env("POSTGRES_CLIENT_PASSWORD", "hunter2");
    let ended = program::run(command).await;
    assert!(!ended.stdout.contains("hunter2"), "{ended:?}");
    let url = "host=central.example dbname=meters user=reader sslmode=prefer";
    let expected = json!([url, "variable", "POSTGRES_CLIENT_*"]);
    assert_eq!(told(&object(&ended), "remote_url"), expected);
    let bad = [(Setting::Jitter, "soon")];
    let ended = program::run(program::bare(&["config"], &bad)).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("METER_SYNC_JITTER"), "{ended:?}");
}
