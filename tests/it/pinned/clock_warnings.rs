//! A clock that differs from the local database's: every surface warns of a run under it.

use meter_sync::check::{self, Verdict};
use meter_sync::mirrors::RunRequest;
use meter_sync::model::{RunOutcome, RunTrigger};
use serde_json::{Value, json};

use super::site;
use crate::mcp::client::Assistant;
use crate::support::http_server::HttpServer;
use crate::support::program::{self, RunningProgram, run};
use crate::support::scrape::scrape;
use crate::support::site::{Site, config, finish, mirror};

const GAUGE: &str = "meter_sync_local_clock_offset_seconds";

/// What is told of a clock `hours` behind the local database's, or ahead of it.
fn told(hours: i32) -> String {
    let direction = if hours > 0 { "behind" } else { "ahead of" };
    format!(
        "The clock of this machine is {} hours {direction}",
        hours.abs()
    )
}

/// A site whose local database shows a time so many hours from ours; other databases of the server do not.
async fn with_a_clock_off_by(hours: i32) -> Site {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    site.on_local(&format!(
        "create or replace function pg_catalog.clock_timestamp() returns timestamptz language sql volatile
             as $$ select pg_catalog.statement_timestamp() + interval '{hours}.5 hours' $$;
         create or replace function pg_catalog.now() returns timestamptz language sql stable
             as $$ select pg_catalog.transaction_timestamp() + interval '{hours}.5 hours' $$"
    ))
    .await;
    site
}

#[tokio::test]
async fn runs_of_every_outcome_warn_of_it() {
    for hours in [30, -30] {
        let (site, told) = (with_a_clock_off_by(hours).await, told(hours));
        let warned = |report: &meter_sync::reports::run_report::RunReport| {
            let warning = report.warning.as_deref().unwrap_or_default();
            assert!(warning.contains(&told), "{hours}: {report:#?}");
        };
        let dry = site.dry_run().await;
        assert_eq!(dry.outcome, Some(RunOutcome::DryRun));
        warned(&dry);
        let first = site.sync().await;
        assert_eq!(first.outcome, Some(RunOutcome::Succeeded), "{first:#?}");
        warned(&first);
        site.on_remote("delete from meter").await;
        let refused = site.sync().await;
        assert_eq!(refused.outcome, Some(RunOutcome::Refused), "{refused:#?}");
        warned(&refused);
        site.on_remote("alter table meter rename to mislaid").await;
        let failed = site.sync().await;
        assert_eq!(failed.outcome, Some(RunOutcome::Failed), "{failed:#?}");
        warned(&failed);
    }
}

/// What a run warned of besides is told, too, and nothing is told twice.
#[tokio::test]
async fn the_status_tells_it_once_beside_what_else_the_run_warned_of() {
    let site = with_a_clock_off_by(30).await;
    site.on_local(
        "create function shout() returns trigger language plpgsql as
             $$ begin new.name := upper(new.name); return new; end $$;
         create trigger shout before insert or update on meter for each row execute function shout()",
    )
    .await;
    site.sync().await;
    site.on_remote("update meter set name = 'b'").await;
    let run = site.sync().await;
    let warning = run.warning.as_deref().unwrap_or_default();
    assert!(warning.contains("changes what is written"), "{run:#?}");
    let warnings = site.status().await.warnings;
    let with = |text: &str| warnings.iter().filter(|known| known.contains(text)).count();
    assert_eq!(with("changes what is written"), 1, "{warnings:#?}");
    assert_eq!(with(&told(30)), 1, "{warnings:#?}");
}

#[tokio::test]
async fn a_check_tells_it() {
    let site = with_a_clock_off_by(30).await;
    let findings = check::run(&config(&site.settings())).await;
    let clocks = findings.iter().find(|finding| finding.subject == "clocks");
    match clocks.map(|finding| &finding.verdict) {
        Some(Verdict::Warning(text)) => assert!(text.contains("local +109"), "{text}"),
        _ => panic!("{findings:#?}"),
    }
}

#[tokio::test]
async fn every_command_tells_it() {
    let (site, told) = (with_a_clock_off_by(30).await, told(30));
    for command in [
        &["sync"][..],
        &["sync", "--json"],
        &["status"],
        &["status", "--json"],
    ] {
        let ran = run(program::over(&site, command, &[])).await;
        assert!(ran.stdout.contains(&told), "{command:?}: {ran:#?}");
    }
}

#[tokio::test]
async fn the_page_the_api_the_assistant_and_the_metrics_tell_it() {
    let (site, told) = (with_a_clock_off_by(30).await, told(30));
    let run = finish(&mirror(&site.settings()), RunRequest::new(RunTrigger::Cli)).await;
    let served = HttpServer::new(&site.settings()).await;
    let (_, status) = served.ask("GET /api/v1/status").await;
    assert!(status["warnings"].to_string().contains(&told), "{status:#}");
    let path = format!("/runs/{}", run.run_id);
    let (_, detail) = served.ask(&format!("GET /api/v1{path}")).await;
    assert!(
        detail["run"]["warning"].to_string().contains(&told),
        "{detail:#}"
    );
    for path in ["/", &path] {
        let page = served.request(&format!("GET {path}"));
        let page = page.header("accept", "text/html").send().await;
        let page = page.expect("a page").text().await.expect("HTML");
        assert!(page.contains(&told), "{path}: {page}");
    }
    let assistant = Assistant::at(&served.address, None).await;
    let status: Value = assistant.ask("meter_sync_status", json!({})).await;
    assert!(status["warnings"].to_string().contains(&told), "{status:#}");
    let synced = assistant.ask("meter_sync_trigger", json!({})).await;
    assert!(synced["warning"].to_string().contains(&told), "{synced:#}");

    let (_program, address) = RunningProgram::serve(program::over(&site, &["serve"], &[])).await;
    let offset = scrape(&address).await.value(GAUGE);
    assert!((offset - 30.5 * 3600.0).abs() < 30.0, "{offset}");
}
