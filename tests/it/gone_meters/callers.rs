//! A caller whose token is for some tenants only is not told the ids of others.

use meter_sync::config::Setting;
use reqwest::RequestBuilder;
use serde_json::{Value, json};

use super::{TOLD, approve, site_with_moves, told};
use crate::mcp::client::Assistant;
use crate::support::http_server::{HttpServer, send};
use crate::support::site::Site;

const ROOT: &str = "0123456789abcdef";
/// Of tenant 7.
const ANN: &str = "1123456789abcdef";
/// Of tenants 7 and 8.
const BOB: &str = "2123456789abcdef";

/// What each of them is told.
const TOLD_TO: [(&str, &str); 3] = [
    (ROOT, TOLD),
    (ANN, "Of those gone: 7 moved to another tenant, 2 deleted."),
    (
        BOB,
        "Of those gone: 6 moved to another tenant, 1 moved to tenant 8, 2 deleted.",
    ),
];

async fn text(request: RequestBuilder, token: &str) -> String {
    let request = request.bearer_auth(token);
    send(request).await.text().await.expect("a body")
}

/// Whether the text names tenant 9, whatever the words around.
fn names_9(text: &str) -> bool {
    let text = text.replace("\\\"", "\"").replace(": ", ":");
    text.contains("tenant 9") || text.contains("\"tenant_id\":\"9\"")
}

/// Asks for all of these with a token. Only a token for all tenants finds tenant 9 named.
async fn assert_named_to_root(served: &HttpServer, token: &str, paths: &[String]) {
    for path in paths {
        let request = served.request(&format!("GET {path}"));
        let told = text(request.header("accept", "text/html"), token).await;
        assert_eq!(names_9(&told), token == ROOT, "{path}: {told}");
    }
}

/// A server for the three callers.
async fn served(site: &Site, tenants: &str) -> HttpServer {
    let tokens = format!("trigger:root:{ROOT},trigger:ann@7:{ANN},trigger:bob@7,8:{BOB}");
    let settings = site.settings().with(Setting::Tokens, tokens);
    let settings = settings.with(Setting::Tenants, tenants);
    HttpServer::new(&settings).await
}

#[tokio::test]
async fn a_refusal_names_the_other_tenant_to_those_only_who_may_see_it() {
    let site = site_with_moves().await;
    let served = served(&site, "7").await;
    for (token, expected) in TOLD_TO {
        let sync = || {
            let request = served.request("POST /api/v1/tenants/7/sync");
            request.header("prefer", "wait=50")
        };
        let refused = text(sync(), token).await;
        let refused: Value = serde_json::from_str(&refused).expect("JSON");
        let detail = refused["detail"].as_str().expect("a detail");
        assert!(detail.ends_with(expected), "{refused:#}");
        let plan = sync().header("idempotency-key", token);
        let plan = plan.json(&json!({"dry_run": true}));
        for again in [plan.try_clone().expect("a copy"), plan] {
            let plan = text(again, token).await;
            assert_eq!(names_9(&plan), token == ROOT, "{plan}");
        }
        let id = refused["run_id"].as_str().expect("an id");
        let base = "/api/v1/tenants/7";
        let paths = [
            format!("{base}/runs/{id}"),
            format!("{base}/status"),
            format!("/tenants/7/runs/{id}"),
            "/tenants/7".to_owned(),
        ];
        assert_named_to_root(&served, token, &paths).await;
        let assistant = Assistant::at(&served.address, Some(token)).await;
        let of_7 = json!({"tenant_id": "7"});
        let refused = assistant.refused("meter_sync_trigger", of_7.clone()).await;
        assert!(refused.contains(expected), "{refused}");
        let status = assistant.ask("meter_sync_status", of_7).await;
        assert_eq!(names_9(&status.to_string()), token == ROOT, "{status:#}");
    }
}

#[tokio::test]
async fn the_log_names_the_other_tenant_to_those_only_who_may_see_it() {
    let site = site_with_moves().await;
    let (refused, _) = told(&site).await;
    let run = approve(&site, &refused).await.run_id;
    let served = served(&site, "").await;
    let paths = [
        format!("/api/v1/runs/{run}/changes"),
        format!("/api/v1/runs/{run}/difference"),
        "/api/v1/changes".to_owned(),
        "/api/v1/changes?format=csv".to_owned(),
        "/api/v1/meters/1".to_owned(),
        "/api/v1/status?include_changes=true".to_owned(),
        format!("/runs/{run}"),
        "/meters?id=1".to_owned(),
        "/changes".to_owned(),
        "/".to_owned(),
    ];
    for (token, _) in TOLD_TO {
        assert_named_to_root(&served, token, &paths).await;
        let assistant = Assistant::at(&served.address, Some(token)).await;
        for arguments in [
            json!({"include_changes": true}),
            json!({"meter": "1"}),
            json!({"since": "1d"}),
            json!({"run_id": run, "include_changes": true}),
        ] {
            let told = assistant.ask("meter_sync_status", arguments).await;
            assert_eq!(names_9(&told.to_string()), token == ROOT, "{told:#}");
        }
    }
}
