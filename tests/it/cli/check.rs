//! `meter-sync check`: its verdict, in words and as JSON.

use meter_sync::config::Setting;
use serde_json::json;

use super::{object, run};
use crate::support::site::{NOWHERE, Site};

#[tokio::test]
async fn a_check_ends_with_a_verdict() {
    let site = Site::new().await;
    site.on_remote("create index on meter (tenant_id)").await;
    let well = run(&site, &["check"], &[]).await;
    assert_eq!(well.code, 0, "{well:?}");
    let last = well.stdout.lines().last().expect("a line");
    let warnings = well
        .stdout
        .lines()
        .filter(|line| line.starts_with("warning"));
    let expected = match warnings.count() {
        0 => "A sync can run.".to_owned(),
        1 => "A sync can run, with 1 warning.".to_owned(),
        n => format!("A sync can run, with {n} warnings."),
    };
    assert_eq!(last, expected);
    let down = run(&site, &["check"], &[(Setting::RemoteUrl, NOWHERE)]).await;
    assert_eq!(down.code, 1, "{down:?}");
    let failed = down
        .stdout
        .lines()
        .filter(|line| line.starts_with("FAILED"));
    let expected = format!("A sync cannot run: {} of ", failed.count());
    let last = down.stdout.lines().last().expect("a line");
    assert!(
        last.starts_with(&expected) && last.ends_with(" failed."),
        "{last}"
    );
}

#[tokio::test]
async fn a_check_as_json_holds_each_finding_and_the_verdict() {
    let site = Site::new().await;
    let well = run(&site, &["check", "--json"], &[]).await;
    let check = object(&well);
    assert_eq!(well.code, 0, "{well:?}");
    assert!(
        [json!("ok"), json!("warning")].contains(&check["verdict"]),
        "{check}"
    );
    let down = run(
        &site,
        &["check", "--json"],
        &[(Setting::RemoteUrl, NOWHERE)],
    )
    .await;
    assert_eq!(down.code, 1, "{down:?}");
    let check = object(&down);
    assert_eq!(check["verdict"], "failed");
    let summary = check["summary"].as_str().expect("a summary");
    assert!(summary.starts_with("A sync cannot run: "), "{summary}");
    let findings = check["findings"].as_array().expect("findings");
    let find = |subject: &str| {
        let found = findings.iter().find(|found| found["subject"] == subject);
        found.unwrap_or_else(|| panic!("{subject}: {check}"))
    };
    let remote = find("remote connection");
    assert_eq!(remote["verdict"], "failed");
    assert_eq!(remote["code"], "REMOTE_UNREACHABLE");
    assert!(remote["text"].is_string() && remote["remedy"].is_string());
    let local = find("local connection");
    assert_eq!(local["verdict"], "ok");
    assert!(local["text"].is_string() && local.get("code").is_none());
    let failed = findings.iter().filter(|found| found["verdict"] == "failed");
    assert_eq!(check["failed"], json!(failed.count()));
}
