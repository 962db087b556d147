//! The commands other than `sync`: status, migrate, manifest and help.

use meter_sync::config::Setting;
use serde_json::json;

use super::{assert_as_shown, object, run};
use crate::support::program;
use crate::support::site::{NOWHERE, Site};

#[tokio::test]
async fn the_status_comes_in_words_and_as_json() {
    let site = Site::new().await;
    let before = run(&site, &["status", "--json"], &[]).await;
    assert_eq!(
        (before.code, &object(&before)["health"]),
        (1, &json!("never_run"))
    );
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    site.sync().await;
    let hourly = [
        (Setting::Schedule, "0 * * * *"),
        (Setting::Timezone, "Europe/Berlin"),
    ];
    let json = run(&site, &["status", "--json", "--history", "1"], &hourly).await;
    let status = object(&json);
    assert_as_shown("meter_sync_status", &status);
    assert_eq!((json.code, &status["health"]), (0, &json!("ok")));
    assert_eq!(
        status["schedule"],
        json!({"line": "0 * * * *", "timezone": "Europe/Berlin"})
    );
    let words = run(&site, &["status"], &hourly).await;
    assert_eq!(words.code, 0, "{words:?}");
    words.assert_says(&[
        "In sync as of ",
        "7 (Acme)",
        "1 active, 0 inactive",
        "Europe/Berlin",
        "next run",
        "succeeded",
    ]);
    let id = status["last_run"]["run_id"].as_str().expect("an id");
    let run_ = run(&site, &["status", "--json", "--run", id], &[]).await;
    assert_eq!(object(&run_)["changes"][0]["key"], json!({"id": "1"}));
    let down = run(&site, &["status"], &[(Setting::LocalUrl, NOWHERE)]).await;
    assert_eq!(down.code, 1, "{down:?}");
    assert!(down.stdout.contains("does not answer"), "{}", down.stdout);
    let unconfigured = program::run(program::bare(&["status"], &[])).await;
    assert_eq!(unconfigured.code, 2, "{unconfigured:?}");
}

#[tokio::test]
async fn migrating_twice_changes_nothing_the_second_time() {
    let site = Site::new().await;
    let first = run(&site, &["migrate"], &[]).await;
    assert_eq!(first.code, 0, "{first:?}");
    assert!(
        first.stdout.contains("brought up to date"),
        "{}",
        first.stdout
    );
    let again = run(&site, &["migrate"], &[]).await;
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (0, "The tables of schema meter_sync are up to date.\n")
    );
    let down = run(&site, &["migrate"], &[(Setting::LocalUrl, NOWHERE)]).await;
    assert_eq!(down.code, 1, "{down:?}");
}

#[tokio::test]
async fn the_manifest_is_written_without_any_setting() {
    let ended = program::run(program::bare(&["manifest"], &[])).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.stdout, include_str!("../../../mcp-manifest.json"));
    assert_eq!(ended.stderr, "");
}

#[tokio::test]
async fn help_names_every_command_setting_and_exit_code() {
    let ended = program::run(program::bare(&["--help"], &[])).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let commands = [
        "serve", "stdio", "sync", "status", "check", "config", "migrate", "demo", "manifest",
    ];
    for command in commands {
        let line = format!("\n  {command}");
        assert!(ended.stdout.contains(&line), "{command}: {}", ended.stdout);
        let help = program::run(program::bare(&[command, "--help"], &[])).await;
        assert_eq!(help.code, 0, "{help:?}");
    }
    for setting in Setting::ALL {
        assert!(
            ended.stdout.contains(&format!("--{}", setting.flag())),
            "{}",
            setting.flag()
        );
        assert!(ended.stdout.contains(setting.env()), "{}", setting.env());
    }
    for part in [
        "0  ok",
        "\n  1  failed",
        "\n  2  usage",
        "\n  3  refused",
        "\n  4  already running",
        "\n  5  partial",
    ] {
        assert!(ended.stdout.contains(part), "{part}");
    }
    let secret = [(Setting::RemoteUrl, NOWHERE)];
    let help = program::run(program::bare(&["--help"], &secret)).await;
    assert!(!help.stdout.contains("hunter2"), "{}", help.stdout);
}

#[tokio::test]
async fn the_next_slots_are_listed_in_both_zones() {
    let daily = [
        (Setting::Schedule, "30 8 * * *"),
        (Setting::Timezone, "Asia/Tokyo"),
    ];
    let words = program::run(program::bare(&["schedule"], &daily)).await;
    assert_eq!(words.code, 0, "{words:?}");
    let listed = |line: &&str| line.contains("08:30:00 JST   ") && line.ends_with("23:30:00 UTC");
    let count = words.stdout.lines().filter(listed).count();
    assert_eq!(count, 10, "{}", words.stdout);
    let json = program::run(program::bare(&["schedule", "--json"], &daily)).await;
    let told = object(&json);
    let slots = told["slots"].as_array().expect("slots");
    assert_eq!((slots.len(), &told["timezone"]), (10, &json!("Asia/Tokyo")));
    let local = slots[9]["local"].as_str().expect("a time");
    assert!(local.ends_with("T08:30:00+09:00"), "{local}");
    let off = [(Setting::Schedule, "off")];
    let words = program::run(program::bare(&["schedule"], &off)).await;
    words.assert_says(&["The schedule is off"]);
}

#[tokio::test]
async fn a_file_for_support_has_everything_but_secrets_and_meters() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'Boiler')")
        .await;
    site.sync().await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("support.json");
    let output = path.to_str().expect("a path");
    let more = [(Setting::Tokens, "trigger:ann:sync-this-now-1234567890")];
    let written = run(&site, &["support", "--output", output], &more).await;
    assert_eq!(written.code, 0, "{written:?}");
    written.assert_says(&["Written to ", "Read it before you send it."]);
    let text = std::fs::read_to_string(&path).expect("a file");
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(told["status"]["history"][0]["outcome"], "succeeded");
    assert_eq!(told["check"]["failed"], 0);
    let settings = told["settings"].as_array().expect("settings");
    assert!(
        settings
            .iter()
            .any(|setting| setting["setting"] == "local_url")
    );
    for hidden in ["sync-this-now", "Boiler"] {
        assert!(!text.contains(hidden), "{hidden} in {text}");
    }
    let again = run(&site, &["support", "--output", output], &more).await;
    assert_eq!(again.code, 1, "an existing file is kept");
}
