//! `meter-sync sync`.

use std::time::Duration;

use meter_sync::config::Setting;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::{assert_as_shown, object, run};
use crate::support::program::RunningProgram;
use crate::support::run_hold::{self, RunHold};
use crate::support::site::{NOWHERE, Site, rows};

#[tokio::test]
async fn a_sync_prints_one_object_of_the_contract_and_ends_with_0() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'Main')")
        .await;
    let ended = run(&site, &["sync", "--json", "--reason", "by hand"], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let run = object(&ended);
    let keys: Vec<_> = run.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "changes",
            "changes_total",
            "counts",
            "dry_run",
            "duration_ms",
            "finished_at",
            "next_step",
            "now",
            "outcome",
            "remote_bytes",
            "run_id",
            "started_at",
            "state",
            "summary",
            "truncated"
        ]
    );
    assert_as_shown("meter_sync_trigger", &run);
    assert_eq!(
        run["counts"],
        json!({"inserted": 1, "updated": 0, "deactivated": 0, "reactivated": 0, "unchanged": 0, "rejected": 0})
    );
    assert_eq!(
        run["changes"],
        json!([{"action": "insert", "key": {"id": "1"}, "name": "Main", "before": {}, "after": {"name": "Main", "active": true}}])
    );
    let log = "select trigger, reason from meter_sync.meter_sync_log";
    assert_eq!(
        rows(&site.local, log).await,
        json!([{"trigger": "cli", "reason": "by hand"}])
    );
    assert!(
        !ended.stderr.contains('\u{1b}'),
        "no progress off a terminal: {}",
        ended.stderr
    );
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'Main')")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = 'Hall'").await;
    let ended = run(&site, &["sync", "--dry-run"], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended.stdout.contains("A sync would give: 1 updated"),
        "{}",
        ended.stdout
    );
    assert!(
        ended
            .stdout
            .contains("update Hall (id=\"1\"): name: \"Main\" -> \"Hall\""),
        "{}",
        ended.stdout
    );
    let meters = rows(&site.local, "select name from meter").await;
    assert_eq!(meters, json!([{"name": "Main"}]));
}

#[tokio::test]
async fn a_failed_sync_ends_with_1_and_its_remedy() {
    let site = Site::new().await;
    site.on_remote("alter table meter drop column active").await;
    let ended = run(&site, &["sync"], &[]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("REMOTE_SCHEMA"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("METER_SYNC_ACTIVE_COLUMN"),
        "{}",
        ended.stdout
    );
    let ended = run(&site, &["sync", "--json"], &[]).await;
    let run_ = object(&ended);
    assert_eq!(
        (ended.code, &run_["error"]["code"]),
        (1, &json!("REMOTE_SCHEMA"))
    );
    let down = run(&site, &["sync", "--json"], &[(Setting::LocalUrl, NOWHERE)]).await;
    let error = &object(&down)["error"]["code"];
    assert_eq!((down.code, error), (1, &json!("LOCAL_UNREACHABLE")));
}

#[tokio::test]
async fn a_sync_beside_another_ends_with_4_and_names_the_running_run() {
    let site = Site::new().await;
    let held = RunHold::new(&site).await;
    let first = run(&site, &["sync", "--json"], &[]);
    let second = async {
        run_hold::running(&site).await;
        let second = run(&site, &["sync", "--json"], &[]).await;
        let in_words = run(&site, &["sync"], &[]).await;
        held.release().await;
        (second, in_words)
    };
    let (first, (second, in_words)) = tokio::join!(first, second);
    let (running, refused) = (object(&first), object(&second));
    assert_eq!(
        (first.code, second.code, in_words.code),
        (0, 4, 4),
        "{second:?}"
    );
    assert_eq!(refused["state"], "already_running");
    assert_eq!(refused["run_id"], running["run_id"]);
    assert!(
        in_words.stdout.contains("in progress already"),
        "{}",
        in_words.stdout
    );
    assert_eq!(run_hold::outcomes(&site).await, json!(["no_change"]));
}

#[tokio::test]
async fn a_sync_that_rejects_rows_ends_with_5() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) values (1, 7, 'fits'), (2, 7, repeat('x', 81))",
    )
    .await;
    let ended = run(&site, &["sync", "--json"], &[]).await;
    assert_eq!(
        (ended.code, &object(&ended)["outcome"]),
        (5, &json!("partial"))
    );
    let again = run(&site, &["sync"], &[]).await;
    assert_eq!(again.code, 5, "{again:?}");
    assert!(again.stdout.contains("1 rejected"), "{}", again.stdout);
}

/// `script` gives a command a terminal; it comes with util-linux, and with macOS with other flags.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn on_a_terminal_a_sync_shows_how_far_it_is() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7)")
        .await;
    let held = RunHold::while_reading(&site).await;
    let mut command = Command::new("script");
    let program = concat!(env!("CARGO_BIN_EXE_meter-sync"), " sync");
    command
        .args(["-qec", program, "/dev/null"])
        .env(Setting::RemoteUrl.env(), &site.pair.remote_url)
        .env(Setting::LocalUrl.env(), &site.pair.local_url)
        .env("TERM", "xterm")
        .kill_on_drop(true);
    let (mut script, _input, mut output) = RunningProgram::start(command);
    let mut shown = String::new();
    while !shown.contains("read: 0 rows, 0 kB from the remote") {
        let mut more = [0; 1000];
        let count = output.read(&mut more).await.expect("output");
        assert_ne!(count, 0, "{shown}");
        shown += &String::from_utf8_lossy(&more[..count]);
    }
    held.release().await;
    let mut rest = Vec::new();
    output.read_to_end(&mut rest).await.expect("output");
    let report = String::from_utf8_lossy(&rest);
    assert!(report.contains("Synced: 1 inserted"), "{shown} {report}");
    assert_eq!(script.code(Duration::from_secs(10)).await, 0);
}
