//! What is printed of a run: its changes with the meters' names, and its rejected rows with the reasons.

use meter_sync::config::Setting;
use serde_json::json;

use super::{object, run};
use crate::support::run_hold::{self, RunHold};
use crate::support::site::Site;

/// A site on which a run changed one meter and rejected one row, and the run's id.
async fn with_a_partial_run() -> (Site, String) {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name, notes) values (1, 7, 'Main', 'old'), (2, 7, 'Hall', null)",
    )
    .await;
    site.sync().await;
    site.on_remote("update meter set notes = 'new' where id = 1")
        .await;
    site.on_remote("update meter set name = repeat('x', 81) where id = 2")
        .await;
    let run_id = site.sync().await.run_id.to_string();
    (site, run_id)
}

#[tokio::test]
async fn the_status_of_a_run_shows_changes_and_rejected_rows_and_ends_as_the_run_did() {
    let (site, id) = with_a_partial_run().await;
    let ended = run(&site, &["status", "--run", &id], &[]).await;
    assert_eq!(ended.code, 5, "{ended:?}");
    ended.assert_says(&[
        "Synced in part",
        r#"update Main (id="1"): notes: "old" -> "new""#,
        r#"rejected id="2": "#,
        "too long",
        &id,
    ]);
    let as_json = run(&site, &["status", "--run", &id, "--json"], &[]).await;
    let status = object(&as_json);
    assert_eq!(as_json.code, 5, "{as_json:?}");
    assert_eq!(status["rejected"][0]["key"], json!({"id": "2"}));

    site.on_remote("update meter set name = 'Hall' where id = 2")
        .await;
    let mended = site.sync().await.run_id.to_string();
    let ended = run(&site, &["status", "--run", &mended], &[]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let again = run(&site, &["status", "--run", &id], &[]).await;
    assert_eq!(again.code, 5, "by that run, not by the health: {again:?}");
}

#[tokio::test]
async fn the_status_of_a_refused_run_ends_with_3_and_of_a_running_one_with_4() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) select n, 7 from generate_series(1, 20) n")
        .await;
    site.sync().await;
    site.on_remote("delete from meter where id > 10").await;
    let refused = site.sync().await.run_id.to_string();
    for more in [&[][..], &["--json"]] {
        let arguments = [&["status", "--run", &refused], more].concat();
        let ended = run(&site, &arguments, &[]).await;
        assert_eq!(ended.code, 3, "{ended:?}");
    }
    let in_words = run(&site, &["status", "--run", &refused], &[]).await;
    let approve = format!("meter-sync sync --allow-plan {refused}");
    assert!(in_words.stdout.contains(&approve), "{}", in_words.stdout);

    let held = RunHold::new(&site).await;
    let first = run(&site, &["sync", "--dry-run"], &[]);
    let second = async {
        run_hold::running(&site).await;
        let running = site.status().await.running.expect("a run");
        let id = running.run_id.to_string();
        let ended = run(&site, &["status", "--run", &id], &[]).await;
        held.release().await;
        ended
    };
    let (_, second) = tokio::join!(first, second);
    assert_eq!(second.code, 4, "{second:?}");
    let unknown = "00000000-0000-7000-8000-000000000000";
    let ended = run(&site, &["status", "--run", unknown], &[]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains(unknown), "{ended:?}");
}

#[tokio::test]
async fn a_sync_shows_some_rejected_rows_and_where_the_others_are() {
    let site = Site::new().await;
    site.on_remote(
        "insert into meter (id, tenant_id, name) select n, 7, repeat('x', 81) from generate_series(1, 25) n",
    )
    .await;
    let ended = run(&site, &["sync"], &[]).await;
    assert_eq!(ended.code, 5, "{ended:?}");
    let lines = || ended.stdout.lines().map(str::trim);
    let rejected = lines().filter(|line| line.starts_with("rejected id="));
    assert_eq!(rejected.count(), 20, "{}", ended.stdout);
    let id = lines()
        .find_map(|line| line.strip_prefix("Run "))
        .expect("an id");
    let rest = format!("... 5 more rejected rows: meter-sync status --run {id}");
    assert!(lines().any(|line| line == rest), "{}", ended.stdout);
    let all = run(&site, &["status", "--run", id], &[]).await;
    let shown = all.stdout.matches("rejected id=").count();
    assert_eq!(shown, 25, "{}", all.stdout);
}

#[tokio::test]
async fn a_change_shows_the_meters_name_even_where_that_does_not_change() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'Main'), (2, 7, null)")
        .await;
    let planned = run(&site, &["sync", "--dry-run"], &[]).await;
    assert!(
        planned.stdout.contains("insert Main (id=\"1\")"),
        "{planned:?}"
    );
    assert!(planned.stdout.contains("insert id=\"2\""), "{planned:?}");
    site.sync().await;
    site.on_remote("update meter set port = 502").await;
    for arguments in [&["sync", "--dry-run"][..], &["sync"]] {
        let ended = run(&site, arguments, &[]).await;
        let named = "update Main (id=\"1\"): port: null -> \"502\"";
        assert!(ended.stdout.contains(named), "{}", ended.stdout);
    }
}

/// An escape sequence, a control sequence in one character, an override of direction and what has no width.
const HOSTILE: &str = "E'A\\x1b[31m\\u202Egnp.exe\\u200b\\u2066\\u009b31m\\nerror: all is lost'";

#[tokio::test]
async fn text_of_a_database_does_nothing_to_a_terminal() {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id) values (1, 7), (2, 7)")
        .await;
    site.sync().await;
    site.on_remote(&format!("update meter set name = {HOSTILE}, port = 1"))
        .await;
    site.on_remote(&format!(
        "update meter set name = {HOSTILE} || repeat('x', 80) where id = 2"
    ))
    .await;
    let planned = run(&site, &["sync", "--dry-run"], &[]).await;
    let synced = run(&site, &["sync"], &[]).await;
    let as_json = run(&site, &["sync", "--dry-run", "--json"], &[]).await;
    site.on_local(&format!("update tenant set name = {HOSTILE}"))
        .await;
    let status = run(&site, &["status"], &[]).await;
    let check = run(&site, &["check"], &[]).await;
    let failed = [(Setting::LocalTable, "\"me\u{202e}\u{9b}ter\"")];
    let failed = run(&site, &["sync"], &failed).await;
    for ended in [&planned, &synced, &as_json, &status, &check, &failed] {
        let all = format!("{}{}", ended.stdout, ended.stderr);
        let harmful = |c: &char| {
            (c.is_control() && *c != '\n') || "\u{202e}\u{200b}\u{2066}\u{2028}".contains(*c)
        };
        let found: Vec<char> = all.chars().filter(harmful).collect();
        assert!(found.is_empty(), "{found:?}: {all:?}");
        let forged = all.lines().any(|line| line.starts_with("error: all"));
        assert!(!forged, "{all}");
    }
    assert!(
        planned.stdout.contains("A[001B][31m[202E]gnp.exe"),
        "{}",
        planned.stdout
    );
    let name = &object(&as_json)["changes"][0]["after"]["name"];
    assert!(
        name.as_str()
            .is_none_or(|name| name.starts_with("A\u{1b}[31m\u{202e}")),
        "JSON keeps what it holds: {name}"
    );
}
