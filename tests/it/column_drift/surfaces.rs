//! What every surface tells of a column that has drifted, in processes of their own.

use meter_sync::model::RunOutcome;
use serde_json::Value;

use super::{synced, warned};
use crate::support::http_server::HttpServer;
use crate::support::program::{self, RunningProgram, run};
use crate::support::scrape::scrape;
use crate::support::site::Site;

const TOLD: &str = "notes is called remarks now";
const GAUGE: &str = "meter_sync_drifted_columns";

/// Renames a column of the remote and drops another.
async fn drift(site: &Site) {
    site.on_remote(
        "alter table meter rename column notes to remarks; alter table meter drop column ip",
    )
    .await;
}

#[tokio::test]
async fn every_command_tells_it() {
    let site = synced().await;
    drift(&site).await;
    let synced = run(program::over(&site, &["sync"], &[])).await;
    assert_eq!(synced.code, 0, "{synced:#?}");
    assert!(synced.stdout.contains(TOLD), "{synced:#?}");
    let previewed = run(program::over(&site, &["sync", "--dry-run", "--json"], &[])).await;
    let report: Value = serde_json::from_str(&previewed.stdout).expect("JSON");
    assert!(report["warning"].to_string().contains(TOLD), "{report:#}");
    let previewed = run(program::over(&site, &["sync", "--dry-run"], &[])).await;
    assert!(previewed.stdout.contains(TOLD), "{previewed:#?}");
    let status = run(program::over(&site, &["status"], &[])).await;
    assert_eq!(status.code, 0, "{status:#?}");
    assert!(status.stdout.contains(TOLD), "{status:#?}");
    let checked = run(program::over(&site, &["check"], &[])).await;
    assert_eq!(checked.code, 0, "{checked:#?}");
    let line = checked.stdout.lines().find(|line| line.contains(TOLD));
    let line = line.expect("a line");
    assert!(line.starts_with("warning drift: "), "{checked:#?}");
}

#[tokio::test]
async fn the_page_and_the_api_tell_it() {
    let site = synced().await;
    drift(&site).await;
    warned(&site, &[TOLD]).await;
    let served = HttpServer::new(&site.settings()).await;
    let (_, status) = served.ask("GET /api/v1/status").await;
    assert!(status["warnings"].to_string().contains(TOLD), "{status:#}");
    assert!(status["next_step"].to_string().contains(TOLD), "{status:#}");
    let summary = status["summary"].as_str().expect("a summary");
    let but = "but for columns that have changed on the remote";
    assert!(summary.contains(but), "{summary}");
    let run_id = status["last_run"]["run_id"].as_str().expect("an id");
    let (_, run) = served.ask(&format!("GET /api/v1/runs/{run_id}")).await;
    assert!(run["run"]["warning"].to_string().contains(TOLD), "{run:#}");
    for path in ["/".to_owned(), format!("/runs/{run_id}")] {
        let page = served.request(&format!("GET {path}"));
        let page = page.header("accept", "text/html").send().await;
        let page = page.expect("a page").text().await.expect("HTML");
        assert!(page.contains(TOLD), "{path}: {page}");
    }
}

#[tokio::test]
async fn the_gauge_and_the_warning_stand_through_failures_until_it_is_settled() {
    let site = synced().await;
    let (_program, address) = RunningProgram::serve(program::over(&site, &["serve"], &[])).await;
    assert_eq!(scrape(&address).await.value(GAUGE), 0.0);
    drift(&site).await;
    warned(&site, &[TOLD]).await;
    assert_eq!(scrape(&address).await.value(GAUGE), 2.0);
    site.on_remote("alter table meter rename to mislaid").await;
    assert_eq!(site.sync().await.outcome, Some(RunOutcome::Failed));
    assert_eq!(scrape(&address).await.value(GAUGE), 2.0);
    assert!(site.status().await.warnings[0].contains(TOLD));
    site.on_remote("alter table mislaid rename to meter").await;
    warned(&site, &[TOLD]).await;
    site.on_local(
        "alter table meter drop column ip; alter table meter rename column notes to remarks",
    )
    .await;
    site.sync().await;
    assert_eq!(scrape(&address).await.value(GAUGE), 0.0);
}
