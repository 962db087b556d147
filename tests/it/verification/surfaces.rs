//! The command line, REST, the page, the status tool and the metrics tell the same of the last proof.

use meter_sync::config::Setting;
use serde_json::{Value, json};

use super::in_sync;
use crate::mcp::client::Assistant;
use crate::support::http_server::{HttpServer, send};
use crate::support::program::{self, CommandOutput};
use crate::support::scrape::scrape;
use crate::support::site::Site;
use crate::support::wait::until;

async fn run(site: &Site, arguments: &[&str]) -> CommandOutput {
    program::run(program::over(site, arguments, &[])).await
}

async fn page(served: &HttpServer) -> String {
    let request = served.request("GET /").header("accept", "text/html");
    send(request).await.text().await.expect("a page")
}

#[tokio::test]
async fn the_command_tells_whether_both_sides_are_equal() {
    let site = in_sync().await;
    let equal = run(&site, &["verify"]).await;
    assert_eq!(equal.code, 0, "{equal:?}");
    equal.assert_says(&[
        "Both sides hold the same 20 meters, verified by contents.",
        "remote     20 meters, digest ",
        "local      20 meters, digest ",
    ]);
    let every = run(&site, &["verify", "--every-value", "--json"]).await;
    assert_eq!(every.code, 0, "{every:?}");
    let report: Value = serde_json::from_str(&every.stdout).expect("JSON");
    assert_eq!(report["verified_by"], "every_value");
    assert_eq!(report["remote"], report["local"]);
    assert!(report["run_id"].is_string(), "{report}");
    site.on_remote("update meter set name = 'new' where id = 5")
        .await;
    let differs = run(&site, &["verify"]).await;
    assert_eq!(differs.code, 1, "{differs:?}");
    differs.assert_says(&["Both sides differ in 1 meter:", "Sync, then verify again."]);
    let every = run(&site, &["verify", "--every-value"]).await;
    assert_eq!(every.code, 1, "{every:?}");
    let refused = run(&site, &["verify", "--every-value", "--sql"]).await;
    assert_eq!(refused.code, 2, "{refused:?}");
}

#[tokio::test]
async fn the_command_prints_statements_that_run_as_they_are() {
    let site = in_sync().await;
    let printed = run(&site, &["verify", "--sql"]).await;
    assert_eq!(printed.code, 0, "{printed:?}");
    let (there, here) = printed
        .stdout
        .split_once("-- On the local side.")
        .expect("two statements");
    let mut numbers = Vec::new();
    for (client, sql) in [(&site.remote, there), (&site.local, here)] {
        let row = client.query_one(sql, &[]).await.expect("a number");
        numbers.push((row.get::<_, i64>("meters"), row.get::<_, String>("digest")));
    }
    assert_eq!(numbers[0], numbers[1]);
    assert_eq!(numbers[0].0, 20);
    let json = run(&site, &["verify", "--sql", "--json"]).await;
    let json: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert!(json["remote"].is_string() && json["local"].is_string());
}

#[tokio::test]
async fn before_the_first_sync_there_is_nothing_to_print() {
    let site = Site::new().await;
    let refused = run(&site, &["verify", "--sql"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("meter-sync sync"), "{refused:?}");
}

#[tokio::test]
async fn the_last_proof_is_told_alike_everywhere() {
    let site = in_sync().await;
    site.sync().await;
    let served = HttpServer::new(&site.settings()).await;
    let assistant = Assistant::at(&served.address, None).await;
    for (by, in_words) in [("versions", "by versions"), ("contents", "by contents")] {
        if by == "contents" {
            let (status, report) = served.ask("POST /api/v1/verify").await;
            assert_eq!((status, &report["are_equal"]), (200, &json!(true)));
        }
        let (_, by_rest) = served.ask("GET /api/v1/status").await;
        let proof = &by_rest["verified"];
        assert_eq!((&proof["by"], &proof["meters"]), (&json!(by), &json!(20)));
        assert_eq!(proof["digest"].is_string(), by == "contents", "{proof}");
        let by_tool = assistant.ask("meter_sync_status", json!({})).await;
        assert_eq!(&by_tool["verified"], proof);
        let by_command = run(&site, &["status", "--json"]).await;
        let by_command: Value = serde_json::from_str(&by_command.stdout).expect("JSON");
        assert_eq!(&by_command["verified"], proof);
        run(&site, &["status"]).await.assert_says(&[in_words]);
        let html = page(&served).await;
        let fact = html.split("id=\"verified\"").nth(1).expect("the fact");
        assert!(fact.contains(in_words), "{fact}");
        let scrape = scrape(&served.address).await;
        let age = scrape.get("meter_sync_last_proof_timestamp_seconds");
        assert!(age.is_some());
        assert_eq!(scrape.get("meter_sync_unexplained_difference"), Some(0.0));
    }
}

#[tokio::test]
async fn rest_compares_every_value_on_request_and_not_in_a_read_only_process() {
    let site = in_sync().await;
    site.on_remote("delete from meter where id = 5").await;
    let served = HttpServer::new(&site.settings()).await;
    let request = served.request("POST /api/v1/verify");
    let answer = send(request.json(&json!({"every_value": true}))).await;
    assert_eq!(answer.status().as_u16(), 200);
    let report: Value = answer.json().await.expect("JSON");
    assert_eq!(
        (&report["are_equal"], &report["differing"]),
        (&json!(false), &json!(1))
    );
    let read_only = site.settings().with(Setting::ReadOnly, "true");
    let served = HttpServer::new(&read_only).await;
    let (status, refused) = served.ask("POST /api/v1/verify").await;
    assert_eq!((status, &refused["code"]), (403, &json!("READ_ONLY")));
}

#[tokio::test]
async fn the_button_of_the_page_verifies() {
    let site = in_sync().await;
    site.sync().await;
    let served = HttpServer::new(&site.settings()).await;
    assert!(page(&served).await.contains("value=\"verify\""));
    let form = served
        .request("POST /sync")
        .header("accept", "text/html")
        .header("origin", format!("http://{}", served.address))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("do=verify");
    let answer = send(form).await;
    assert!(answer.status().as_u16() < 400, "{answer:?}");
    until("the page tells the result", async || {
        page(&served).await.contains("by contents")
    })
    .await;
}
