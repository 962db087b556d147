//! The command line, REST, MCP and the page tell alike where meters went.

use std::sync::Arc;

use rmcp::model::{ElicitResult, ElicitationAction};
use rmcp::service::ClientLifecycleMode;
use serde_json::{Value, json};

use super::{TOLD, approve, site_with_moves, told};
use crate::mcp::client::{Abilities, Assistant, ClientStart, Transport};
use crate::support::http_server::{HttpServer, send};
use crate::support::program;
use crate::support::site::Site;

const STATUS: &str = "meter_sync_status";
const TRIGGER: &str = "meter_sync_trigger";

/// Where the meters went, as JSON.
fn groups() -> Value {
    json!([
        {"place": "another_tenant", "tenant_id": "9", "meters": 6},
        {"place": "another_tenant", "tenant_id": "8", "meters": 1},
        {"place": "deleted", "meters": 2},
    ])
}

async fn page(served: &HttpServer, path: &str) -> String {
    let request = served.request(&format!("GET {path}"));
    let response = send(request.header("accept", "text/html")).await;
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.expect("a body")
}

#[tokio::test]
async fn the_command_line_tells_it_of_a_refused_sync_and_of_each_meter() {
    let site = site_with_moves().await;
    let run = async |arguments: &[&str]| program::run(program::over(&site, arguments, &[])).await;
    for arguments in [&["sync", "--dry-run"][..], &["sync"], &["status"]] {
        run(arguments).await.assert_says(&[TOLD]);
    }
    for arguments in [&["sync", "--dry-run", "--json"][..], &["sync", "--json"]] {
        let ended = run(arguments).await;
        let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let summary = report["summary"].as_str().expect("a summary");
        assert!(summary.ends_with(TOLD), "{report:#}");
    }
    let ended = run(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(status["held_back"]["gone_to"], groups(), "{status:#}");
    let (refused, _) = told(&site).await;
    let id = refused.run_id.to_string();
    run(&["status", "--run", &id]).await.assert_says(&[TOLD]);
    let approved = run(&["sync", "--allow-plan", &id]).await;
    approved.assert_says(&["(moved to tenant 9)", "(moved to tenant 8)", "(deleted)"]);
    run(&["meter", "7"])
        .await
        .assert_says(&["(moved to tenant 8)"]);
    let changes = run(&["changes", "--kind", "deactivate"]).await;
    changes.assert_says(&["(moved to tenant 8)", "(deleted)"]);
    let csv = run(&["changes", "--kind", "deactivate", "--csv"]).await;
    csv.assert_says(&["\"gone_to\"\n", "\"moved to tenant 9\"\n", "\"deleted\"\n"]);
}

#[tokio::test]
async fn rest_and_the_page_tell_it_of_the_run_and_of_each_meter() {
    let site = site_with_moves().await;
    let served = HttpServer::new(&site.settings()).await;
    let sync = served
        .request("POST /api/v1/sync")
        .header("prefer", "wait=50");
    let refused: Value = send(sync).await.json().await.expect("JSON");
    let detail = refused["detail"].as_str().expect("a detail");
    assert!(detail.ends_with(TOLD), "{refused:#}");
    let id = refused["run_id"].as_str().expect("an id");
    let (_, run) = served.ask(&format!("GET /api/v1/runs/{id}")).await;
    assert_eq!(run["held_back"]["gone_to"], groups(), "{run:#}");
    let (_, status) = served.ask("GET /api/v1/status").await;
    assert_eq!(status["held_back"]["gone_to"], groups(), "{status:#}");
    for path in ["/", &format!("/runs/{id}")] {
        let html = page(&served, path).await;
        assert!(html.contains(TOLD), "{html}");
    }
    let (refused, _) = told(&site).await;
    let run = approve(&site, &refused).await.run_id;
    let path = format!("GET /api/v1/runs/{run}/changes");
    let (_, changes) = served.ask(&path).await;
    let to_9 = json!({"place": "another_tenant", "tenant_id": "9"});
    assert_eq!(changes["changes"][0]["gone_to"], to_9, "{changes:#}");
    let (_, meter) = served.ask("GET /api/v1/meters/8").await;
    assert_eq!(meter["changes"][0]["gone_to"], json!({"place": "deleted"}));
    for path in [&format!("/runs/{run}"), "/meters?id=1", "/changes"] {
        let html = page(&served, path).await;
        assert!(html.contains("moved to tenant 9"), "{html}");
    }
}

async fn asked(site: &Site) -> (Assistant, String) {
    let answer =
        ElicitResult::new(ElicitationAction::Accept).with_content(json!({"deactivate": true}));
    let start = ClientStart {
        lifecycle: ClientLifecycleMode::Initialize,
        abilities: Abilities {
            answers: Some(Arc::new(move |_question| {
                let answer = answer.clone();
                Box::pin(async move { answer })
            })),
            ..Abilities::default()
        },
    };
    let assistant = Assistant::with_abilities(Transport::Memory, site, &[], start).await;
    let run = assistant.ask(TRIGGER, json!({})).await;
    assert_eq!(run["outcome"], "succeeded", "{run:#}");
    let to_9 = json!({"place": "another_tenant", "tenant_id": "9"});
    assert_eq!(run["changes"][0]["gone_to"], to_9, "{run:#}");
    let question = assistant.asked().remove(0);
    (assistant, question)
}

#[tokio::test]
async fn an_assistant_and_its_user_are_told_it() {
    let site = site_with_moves().await;
    let assistant = Assistant::new(Transport::Memory, &site, &[]).await;
    let planned = assistant.ask(TRIGGER, json!({"dry_run": true})).await;
    let summary = planned["summary"].as_str().expect("a summary");
    assert!(summary.ends_with(TOLD), "{planned:#}");
    let refused = assistant.refused(TRIGGER, json!({})).await;
    assert!(refused.contains(TOLD), "{refused}");
    let status = assistant.ask(STATUS, json!({})).await;
    assert_eq!(status["held_back"]["gone_to"], groups(), "{status:#}");
    let (assistant, question) = asked(&site).await;
    assert!(question.contains(TOLD), "{question}");
    let status = assistant
        .ask(STATUS, json!({"include_changes": true}))
        .await;
    assert_eq!(
        status["changes"][0]["gone_to"]["tenant_id"], "9",
        "{status:#}"
    );
    let meter = assistant.ask(STATUS, json!({"meter": "7"})).await;
    let gone_to = &meter["meter"]["changes"][0]["gone_to"];
    assert_eq!(gone_to["tenant_id"], "8", "{meter:#}");
}
