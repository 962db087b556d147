//! What the routes answer of one tenant and of all.

use meter_sync::config::{CommandLineSettings, Setting};
use serde_json::{Value, json};

use super::{of_three, site, sync};
use crate::http::v1::api_client::ApiClient;
use crate::support::site::{Site, rows};

fn ids(page: &Value) -> Vec<&str> {
    let tenants = page["tenants"].as_array().expect("tenants");
    tenants
        .iter()
        .map(|tenant| tenant["tenant_id"].as_str().expect("an id"))
        .collect()
}

#[tokio::test]
async fn each_tenant_has_the_routes_of_a_mirror() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    let run = sync(&api, "7").await;
    let other = sync(&api, "8").await;
    let status = api.ask("GET /api/v1/tenants/7/status").await;
    assert_eq!(status.status, 200);
    assert_eq!(status.body["tenant"], json!({"id": "7", "name": "Acme"}));
    assert_eq!(status.body["meters"]["active"], 2);
    let runs = api.ask("GET /api/v1/tenants/7/runs").await;
    let listed = runs.body["runs"].as_array().expect("runs");
    assert_eq!(listed.len(), 1, "{listed:?}");
    for path in ["", "/changes"] {
        let line = format!("GET /api/v1/tenants/7/runs/{run}{path}");
        assert_eq!(api.ask(&line).await.status, 200, "{line}");
        let line = format!("GET /api/v1/tenants/7/runs/{other}{path}");
        assert_eq!(api.ask(&line).await.problem(), (404, "RUN_NOT_FOUND"));
    }
    let cancel = format!("POST /api/v1/tenants/7/runs/{run}/cancel");
    let over = api.ask(&cancel).await;
    assert_eq!(over.problem(), (409, "RUN_OVER"));
    let location = format!("/api/v1/tenants/7/runs/{run}");
    assert_eq!(over.header("location"), Some(location.as_str()));
    let of_other = format!("POST /api/v1/tenants/7/runs/{other}/cancel");
    assert_eq!(api.ask(&of_other).await.problem(), (404, "RUN_NOT_FOUND"));
    assert_eq!(api.ask("GET /api/v1/tenants/7/meters/1").await.status, 200);
    let of_other = api.ask("GET /api/v1/tenants/7/meters/3").await;
    assert_eq!(of_other.problem(), (404, "METER_NOT_FOUND"));
    let meters = rows(
        &site.local,
        "select tenant_id, count(*) from meter group by 1 order by 1",
    )
    .await;
    assert_eq!(
        meters,
        json!([{"tenant_id": 7, "count": 2}, {"tenant_id": 8, "count": 1}])
    );
}

#[tokio::test]
async fn pages_and_places_stay_with_the_tenant() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    sync(&api, "7").await;
    sync(&api, "07").await;
    let first = api.ask("GET /api/v1/tenants/7/runs?limit=1").await;
    let next = first.next().expect("a page");
    assert!(next.starts_with("GET /api/v1/tenants/7/runs?"), "{next}");
    let second = api.ask(&next).await;
    assert_ne!(first.body["runs"], second.body["runs"]);
    assert_eq!(second.next(), None);
    let run = second.body["runs"][0]["run_id"].as_str().expect("an id");
    let changes = api
        .ask(&format!("GET /api/v1/tenants/7/runs/{run}/changes?limit=1"))
        .await;
    let next = changes.next().expect("a page");
    assert!(next.starts_with("GET /api/v1/tenants/7/runs/"), "{next}");
    let started = api.ask("POST /api/v1/tenants/8/sync").await;
    assert_eq!(started.status, 202);
    let place = started.header("location").expect("a place");
    assert!(place.starts_with("/api/v1/tenants/8/runs/"), "{place}");
    assert_eq!(api.ask(&format!("GET {place}")).await.status, 200);
}

#[tokio::test]
async fn without_a_tenant_the_status_is_of_all_and_all_else_needs_one() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    let run = sync(&api, "7").await;
    let status = api.ask("GET /api/v1/status").await;
    assert_eq!(status.status, 200);
    assert_eq!(status.body["tenants"]["total"], 3);
    assert_eq!(status.body["tenants"]["by_health"]["never_run"], 2);
    assert_eq!(status.body["tenants"]["list"][2]["tenant_id"], "7");
    let defaults = "GET /api/v1/status?history=5&include_changes=false&changes_limit=20";
    assert_eq!(api.ask(defaults).await.body["tenants"]["total"], 3);
    for line in [
        "GET /api/v1/status?history=3".to_owned(),
        "POST /api/v1/sync".to_owned(),
        "GET /api/v1/runs".to_owned(),
        format!("GET /api/v1/runs/{run}"),
        format!("GET /api/v1/runs/{run}/changes"),
        format!("POST /api/v1/runs/{run}/cancel"),
        "GET /api/v1/meters/1".to_owned(),
    ] {
        let answer = api.ask(&line).await;
        assert_eq!(answer.problem(), (400, "TENANT_REQUIRED"), "{line}");
        let detail = answer.body["detail"].as_str().expect("a detail");
        assert!(detail.contains("7 (Acme)"), "{detail}");
    }
    let log = rows(
        &site.local,
        "select count(*) from meter_sync.meter_sync_log",
    )
    .await;
    assert_eq!(log, json!([{"count": 1}]));
}

#[tokio::test]
async fn a_tenant_that_is_not_kept_is_unknown_and_the_nearest_are_named() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    for path in ["status", "sync", "runs", "events", "meters/1"] {
        let method = if path == "sync" { "POST" } else { "GET" };
        let answer = api
            .ask(&format!("{method} /api/v1/tenants/Akme/{path}"))
            .await;
        assert_eq!(answer.problem(), (404, "TENANT_UNKNOWN"), "{path}");
        let detail = answer.body["detail"].as_str().expect("a detail");
        assert!(
            detail.contains("Akme") && detail.contains("the nearest are 7 (Acme)"),
            "{detail}"
        );
    }
    let long = format!("GET /api/v1/tenants/{}/status", "x".repeat(4000));
    let answer = api.ask(&long).await;
    assert_eq!(answer.problem(), (404, "TENANT_UNKNOWN"));
    assert!(answer.body["detail"].as_str().expect("a detail").len() < 300);
}

#[tokio::test]
async fn tenants_are_listed_page_by_page_and_found_by_name_and_health() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    sync(&api, "8").await;
    let all = api.ask("GET /api/v1/tenants").await;
    assert_eq!(ids(&all.body), ["7", "9", "8"]);
    assert_eq!(
        (&all.body["total"], &all.body["matching"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(all.body["by_health"]["paused"], 1);
    let (mut line, mut seen) = (Some("GET /api/v1/tenants?limit=1".to_owned()), Vec::new());
    while let Some(next) = line {
        let page = api.ask(&next).await;
        seen.extend(ids(&page.body).into_iter().map(str::to_owned));
        line = page.next();
    }
    assert_eq!(seen, ["7", "9", "8"]);
    for (query, found) in [
        ("search=byte", vec!["8"]),
        ("search=9", vec!["9"]),
        ("health=never_run", vec!["7", "9"]),
        ("health=paused&search=8", vec!["8"]),
        ("search=true", vec![]),
    ] {
        let page = api.ask(&format!("GET /api/v1/tenants?{query}")).await;
        assert_eq!(ids(&page.body), found, "{query}");
        assert_eq!(page.body["total"], 3, "{query}");
        assert_eq!(page.body["matching"], found.len(), "{query}");
    }
    let page = api
        .ask("GET /api/v1/tenants?limit=1&health=never_run&search=%26e")
        .await;
    assert_eq!(page.body["matching"], 0);
    let page = api
        .ask("GET /api/v1/tenants?limit=1&health=never_run&search=e")
        .await;
    let next = page.next().expect("a page");
    assert_eq!(ids(&api.ask(&next).await.body), ["9"], "{next}");
    for query in ["limit=0", "limit=201", "health=fine", "serch=x", "before="] {
        let answer = api.ask(&format!("GET /api/v1/tenants?{query}")).await;
        assert_eq!(answer.problem(), (400, "BAD_REQUEST"), "{query}");
    }
}

#[tokio::test]
async fn a_process_of_one_tenant_lists_it_and_has_its_routes() {
    let site = Site::new().await;
    let api = ApiClient::new(&site.settings()).await;
    let page = api.ask("GET /api/v1/tenants").await;
    assert_eq!(ids(&page.body), ["7"]);
    assert_eq!(page.body["tenants"][0]["name"], "Acme");
    sync(&api, "007").await;
    let named = api.ask("GET /api/v1/tenants/7/status").await;
    let unnamed = api.ask("GET /api/v1/status").await;
    assert_eq!(named.body["history"], unnamed.body["history"]);
    let other = api.ask("GET /api/v1/tenants/8/status").await;
    assert_eq!(other.problem(), (404, "TENANT_UNKNOWN"));
}

#[tokio::test]
async fn what_cannot_be_listed_is_a_problem_and_no_empty_list() {
    let site = Site::new().await;
    site.on_local("delete from tenant").await;
    let api = ApiClient::new(&site.settings()).await;
    for line in ["GET /api/v1/tenants", "GET /api/v1/tenants/7/status"] {
        let answer = api.ask(line).await;
        assert_eq!(answer.problem(), (503, "TENANT_NOT_CONFIGURED"), "{line}");
    }
    let nowhere = CommandLineSettings::default()
        .with(Setting::Schedule, "off")
        .with(Setting::Tenants, "7,8");
    let api = ApiClient::new(&nowhere).await;
    for line in [
        "GET /api/v1/tenants",
        "GET /api/v1/tenants/7/status",
        "POST /api/v1/sync",
    ] {
        assert_eq!(
            api.ask(line).await.problem(),
            (503, "CONFIG_MISSING"),
            "{line}"
        );
    }
    let status = api.ask("GET /api/v1/status").await;
    assert_eq!(status.body["health"], "not_configured");
}

#[tokio::test]
async fn the_old_routes_tell_of_all_tenants_only_what_is_true_of_all() {
    let site = site().await;
    let api = ApiClient::new(&of_three(&site)).await;
    let empty = json!({"last_sync_at": null, "last_sync_success": null, "last_sync_error": null,
        "inserted_count": null, "updated_count": null, "deleted_count": null,
        "meter_count": null, "is_syncing": false});
    let old = "GET /api/local/meter-sync-status";
    assert_eq!(api.ask(old).await.body, empty);
    sync(&api, "7").await;
    sync(&api, "8").await;
    let two = api.ask(old).await.body;
    assert_eq!(
        (&two["last_sync_at"], &two["last_sync_success"]),
        (&Value::Null, &json!(false))
    );
    assert!(
        two["last_sync_error"]
            .as_str()
            .expect("an error")
            .contains("1 never synced")
    );
    sync(&api, "9").await;
    let first = api.ask("GET /api/v1/tenants/7/status").await.body;
    let three = api.ask(old).await.body;
    assert_eq!(three["last_sync_at"], first["last_success_at"]);
    assert_eq!(
        (&three["last_sync_success"], &three["last_sync_error"]),
        (&json!(true), &Value::Null)
    );
    let trigger = api.ask("POST /api/local/meter-sync-trigger").await;
    assert_eq!(trigger.status, 400);
    assert_eq!(trigger.body["success"], false);
    assert_eq!(trigger.body["error"]["code"], "TENANT_REQUIRED");
}
