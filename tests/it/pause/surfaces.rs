//! The command line, REST and the page pause and resume, and all surfaces show the pause.

use serde_json::{Value, json};

use super::{meters, pause, with_a_change};
use crate::mcp::client::Assistant;
use crate::support::http_server::{HttpServer, answer, send};
use crate::support::program::{self, CommandOutput};
use crate::support::site::Site;

async fn run(site: &Site, arguments: &[&str]) -> CommandOutput {
    program::run(program::over(site, arguments, &[])).await
}

async fn post(served: &HttpServer, path: &str, body: Value) -> (u16, Value) {
    answer(served.request(&format!("POST {path}")).json(&body)).await
}

#[tokio::test]
async fn a_person_pauses_and_resumes_at_the_command_line() {
    let site = with_a_change().await;
    let paused = run(
        &site,
        &["pause", "--reason", "new gateway", "--until", "4h"],
    )
    .await;
    assert_eq!(paused.code, 0, "{paused:?}");
    paused.assert_says(&[
        "Paused by ",
        "until 20",
        "new gateway.",
        "meter-sync resume",
    ]);
    let refused = run(&site, &["sync"]).await;
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("[PAUSED]"), "{refused:?}");
    assert!(refused.stderr.contains("new gateway"), "{refused:?}");
    let planned = run(&site, &["sync", "--dry-run"]).await;
    assert_eq!(planned.code, 0, "{planned:?}");
    let status = run(&site, &["status"]).await;
    assert_eq!(status.code, 0, "{status:?}");
    status.assert_says(&["paused     since 20", "new gateway", "1 inserted"]);
    let resumed = run(&site, &["resume"]).await;
    resumed.assert_says(&["The syncs go on"]);
    assert_eq!(run(&site, &["sync"]).await.code, 0);
    run(&site, &["resume"]).await.assert_says(&["not paused"]);
    assert_eq!(meters(&site).await, 2);
}

#[tokio::test]
async fn a_pause_without_a_reason_or_with_an_end_in_the_past_is_refused() {
    let site = with_a_change().await;
    let reason = ["pause", "--reason"];
    for arguments in [
        ["pause"].as_slice(),
        &[reason[0], reason[1], "  "],
        &[reason[0], reason[1], "x", "--until", "2020-01-01"],
        &[reason[0], reason[1], &"x".repeat(201)],
    ] {
        let ended = run(&site, arguments).await;
        assert_eq!(ended.code, 2, "{ended:?}");
    }
    let served = HttpServer::new(&site.settings()).await;
    for body in [
        json!({}),
        json!({"reason": " "}),
        json!({"reason": "x".repeat(201)}),
        json!({"reason": "x", "until": "2020-01-01"}),
        json!({"reason": "x", "until": "soon"}),
        json!({"reason": "x", "until": ""}),
        json!({"reason": "x", "for": "2h"}),
    ] {
        let (status, refused) = post(&served, "/api/v1/pause", body).await;
        assert_eq!(status, 400, "{refused}");
    }
    assert_eq!(site.status().await.paused, None);
}

#[tokio::test]
async fn a_program_pauses_and_resumes_over_rest() {
    let site = with_a_change().await;
    let served = HttpServer::new(&site.settings()).await;
    let body = json!({"reason": "new gateway", "until": "4h"});
    let (status, paused) = post(&served, "/api/v1/pause", body).await;
    assert_eq!((status, &paused["reason"]), (200, &json!("new gateway")));
    let (_, told) = served.ask("GET /api/v1/status").await;
    assert_eq!(
        (&told["health"], &told["paused"]),
        (&json!("paused"), &paused)
    );
    let (status, refused) = post(&served, "/api/v1/sync", json!({})).await;
    assert_eq!((status, &refused["code"]), (409, &json!("PAUSED")));
    let (status, refused) = post(&served, "/api/local/meter-sync-trigger", json!({})).await;
    assert_eq!((status, &refused["success"]), (409, &json!(false)));
    let resume = || served.request("POST /api/v1/resume");
    for _ in 0..2 {
        assert_eq!(send(resume()).await.status(), 204);
    }
    let (_, told) = served.ask("GET /api/v1/status").await;
    assert_eq!(told.get("paused"), None);
}

#[tokio::test]
async fn an_assistant_is_told_of_the_pause_and_cannot_sync() {
    let site = with_a_change().await;
    pause(&site.mirror, None).await;
    let served = HttpServer::new(&site.settings()).await;
    let assistant = Assistant::at(&served.address, None).await;
    let status = assistant.ask("meter_sync_status", json!({})).await;
    assert_eq!(status["paused"]["by"], "ann");
    let said = status["summary"].as_str().expect("a summary");
    assert!(said.starts_with("Paused by ann at "), "{said}");
    let refused = assistant.refused("meter_sync_trigger", json!({})).await;
    assert!(refused.contains("PAUSED"), "{refused}");
    assert!(refused.contains("A person ends the pause"), "{refused}");
    let plan = assistant
        .ask("meter_sync_trigger", json!({"dry_run": true}))
        .await;
    assert_eq!(plan["counts"]["inserted"], 1);
    assert_eq!(meters(&site).await, 1);
}
