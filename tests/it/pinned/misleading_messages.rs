//! Messages to callers that once were misleading.

use meter_sync::config::Setting;
use meter_sync::error::ErrorCode;
use meter_sync::model::{Health, RunOutcome};
use serde_json::json;

use super::site;
use crate::mcp::client::Assistant;
use crate::support::http_server::{HttpServer, answer, send};
use crate::support::program::{over, run as run_program};

#[tokio::test]
async fn a_local_database_that_refuses_is_not_said_to_be_silent() {
    let mut site = site("name text", "").await;
    site.sync().await;
    site.on_local(
        "create role reader login; grant usage on schema meter_sync to reader;
         grant select on tenant to reader; grant select on all tables in schema meter_sync to reader",
    )
    .await;
    let url = site.pair.local_url.replace("postgres@", "reader@");
    site.reconfigure(&site.settings().with(Setting::LocalUrl, &url));
    let status = site.status().await;
    site.on_local("drop owned by reader; drop role reader")
        .await;
    assert_eq!(status.health, Health::Failing);
    assert!(!status.summary.contains("does not answer"), "{status:#?}");
    assert!(status.summary.contains("permission denied"), "{status:#?}");
}

#[tokio::test]
async fn an_id_that_the_remote_tenant_column_refuses_is_a_wrong_setting() {
    let mut site = site("name text", "").await;
    site.on_local("drop table tenant").await;
    site.reconfigure(&site.settings().with(Setting::TenantId, "Acme"));
    let run = site.sync().await;
    let error = run.error.as_ref().expect("an error");
    assert_eq!(error.code, ErrorCode::ConfigInvalid, "{run:#?}");
    assert!(error.remedy.contains("METER_SYNC_TENANT_ID"), "{error:?}");
}

#[tokio::test]
async fn a_dry_run_says_that_the_brake_would_refuse_the_sync() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter values (1, 7, 'a', true)")
        .await;
    site.sync().await;
    site.on_remote("delete from meter").await;
    let dry = site.dry_run().await;
    assert_eq!(dry.outcome, Some(RunOutcome::DryRun), "{dry:#?}");
    assert_eq!(dry.counts.deactivated, 1);
    let code = dry.error.as_ref().map(|error| error.code);
    assert_eq!(code, Some(ErrorCode::SourceEmptyRefused));
    assert!(dry.summary.contains("would be refused"), "{dry:#?}");
    assert!(dry.next_step.contains("a person approves them"), "{dry:#?}");
    let refused = site.sync().await;
    assert_eq!(refused.outcome, Some(RunOutcome::Refused), "{refused:#?}");
}

#[tokio::test]
async fn a_run_whose_process_died_is_told_before_the_next_run_marks_it() {
    let site = site("name text", "").await;
    site.sync().await;
    assert_eq!(site.status().await.health, Health::Paused);
    site.on_local(
        "insert into meter_sync.meter_sync_log (id, tenant, local_table, trigger, started_at)
         values ('01a206b0-0000-7000-8000-000000000001', '7', 'public.meter', 'cli', now())",
    )
    .await;
    let status = site.status().await;
    assert_eq!(status.health, Health::Failing, "{status:#?}");
    assert_eq!(status.running, None);
    assert!(status.summary.contains("interrupted"), "{status:#?}");
    let warning = &status.warnings[0];
    assert!(warning.contains("01a206b0-0000"), "{warning}");
    site.sync().await;
    let status = site.status().await;
    assert_eq!((status.health, status.warnings.len()), (Health::Paused, 0));
}

#[tokio::test]
async fn a_deactivation_that_a_trigger_refuses_is_no_remote_row_on_any_surface() {
    let site = site("name text", "").await;
    site.on_remote("insert into meter select n, 7, 'a', true from generate_series(1, 10) n")
        .await;
    site.sync().await;
    site.on_local(
        "create function keep() returns trigger language plpgsql as $$ begin raise 'it stays'; end $$;
         create trigger kept before update on meter for each row when (not new.active) execute function keep()",
    )
    .await;
    site.on_remote("delete from meter where id = 3").await;
    let served = HttpServer::new(&site.settings()).await;
    let request = served.request("POST /api/v1/sync");
    let (_, run) = answer(request.header("prefer", "wait=50")).await;
    assert_eq!(run["outcome"], "partial", "{run:#}");
    assert_eq!(run["counts"]["rejected"], 1, "{run:#}");
    let id = run["run_id"].as_str().expect("an id");
    let assistant = Assistant::at(&served.address, None).await;
    let status = assistant.ask("meter_sync_status", json!({})).await;
    let mut told = vec![run.to_string(), status.to_string()];
    for path in [
        "/",
        "/metrics",
        &format!("/runs/{id}"),
        "/api/local/meter-sync-status",
    ] {
        let page = send(served.request(&format!("GET {path}"))).await;
        told.push(page.text().await.expect("text"));
    }
    for command in [["status", "--changes"], ["sync", "--json"]] {
        told.push(run_program(over(&site, &command, &[])).await.stdout);
    }
    for text in &told {
        assert!(!text.to_lowercase().contains("remote row"), "{text}");
    }
    let error = &run["error"];
    let message = "1 row was rejected: its change could not be written.";
    assert_eq!(error["message"], message, "{run:#}");
    let remedy = error["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("constraint or trigger"), "{remedy}");
}
