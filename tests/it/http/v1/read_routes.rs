//! The routes that read: status, runs, changes and meters.

use serde_json::{Value, json};

use super::api_client::{ApiClient, counted};
use crate::support::site::Site;

/// A site with so many runs, all but the first without a change.
async fn with_runs(count: usize) -> Site {
    let site = Site::new().await;
    site.on_remote("insert into meter (id, tenant_id, name) values (1, 7, 'a'), (2, 7, 'b')")
        .await;
    for _ in 0..count {
        site.sync().await;
    }
    site
}

/// All that a list holds, page by page, and how many pages there were.
async fn pages(api: &ApiClient, first: &str, list: &str) -> (Vec<Value>, usize) {
    let (mut all, mut pages) = (Vec::new(), 0);
    let mut next = Some(first.to_owned());
    while let Some(line) = next {
        let answer = api.ask(&line).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        all.extend(answer.body[list].as_array().expect("a list").clone());
        next = answer.next();
        let told = ["next_before", "next_after"].map(|name| answer.body.get(name));
        assert_eq!(told.iter().any(Option::is_some), next.is_some());
        pages += 1;
    }
    (all, pages)
}

#[tokio::test]
async fn the_status_is_told_with_as_much_of_the_past_as_is_asked_for() {
    let site = with_runs(3).await;
    let api = ApiClient::new(&site.settings()).await;
    let plain = api.ask("GET /api/v1/status").await.body;
    assert_eq!(plain["history"].as_array().map(Vec::len), Some(3));
    assert_eq!(plain["meters"], json!({"active": 2, "inactive": 0}));
    assert!(plain.get("changes").is_none());
    let first = plain["history"][2]["run_id"].as_str().expect("an id");
    let asked = format!("GET /api/v1/status?run_id={first}&include_changes=true&changes_limit=1");
    let one = api.ask(&asked).await.body;
    assert_eq!(one["history"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["changes"].as_array().map(Vec::len), Some(1));
    let none = api.ask("GET /api/v1/status?history=0").await.body;
    assert_eq!(none["history"], json!([]));
}

#[tokio::test]
async fn runs_are_listed_page_by_page_without_loss_or_doubling_though_they_started_at_once() {
    let site = with_runs(7).await;
    site.on_local("update meter_sync.meter_sync_log set started_at = (select min(started_at) from meter_sync.meter_sync_log)")
        .await;
    let api = ApiClient::new(&site.settings()).await;
    let (runs, pages) = pages(&api, "GET /api/v1/runs?limit=2", "runs").await;
    let ids = runs.iter().map(|run| run["run_id"].to_string());
    let counts = counted(ids);
    assert_eq!((runs.len(), counts.len(), pages), (7, 7, 4));
}

#[tokio::test]
async fn runs_are_picked_by_what_came_of_them_on_every_page() {
    let site = with_runs(2).await;
    site.on_remote("insert into meter (id, tenant_id, name) values (3, 7, repeat('x', 81))")
        .await;
    site.sync().await;
    site.on_remote("update meter set name = 'A' where id = 1")
        .await;
    site.sync().await;
    let api = ApiClient::new(&site.settings()).await;
    let outcomes = async |show: &str| {
        let first = format!("GET /api/v1/runs?limit=1&show={show}");
        let (runs, _) = pages(&api, &first, "runs").await;
        let outcomes: Vec<_> = runs.iter().map(|run| run["outcome"].clone()).collect();
        json!(outcomes)
    };
    assert_eq!(outcomes("problems").await, json!(["partial", "partial"]));
    assert_eq!(outcomes("changes").await, json!(["partial", "succeeded"]));
    assert_eq!(
        outcomes("all").await,
        json!(["partial", "partial", "no_change", "succeeded"])
    );
}

#[tokio::test]
async fn changes_are_listed_page_by_page_in_the_order_of_making() {
    let site = with_runs(1).await;
    site.on_remote("delete from meter where id = 2; update meter set name = 'A'; insert into meter (id, tenant_id) select id, 7 from generate_series(10, 12) id")
        .await;
    let run = site.sync().await;
    let api = ApiClient::new(&site.settings()).await;
    let first = format!("GET /api/v1/runs/{}/changes?limit=2", run.run_id);
    let (changes, pages) = pages(&api, &first, "changes").await;
    let made: Vec<_> = changes
        .iter()
        .map(|change| change["action"].clone())
        .collect();
    let order = ["deactivate", "update", "insert", "insert", "insert"];
    assert_eq!((json!(made), pages), (json!(order), 3));
    let keys = counted(changes.iter().map(|change| change["key"].to_string()));
    assert_eq!(keys.len(), 5);
    let detail = api.ask(&format!("GET /api/v1/runs/{}", run.run_id)).await;
    assert_eq!(detail.body["changes_logged"], 5);
    assert_eq!(detail.body["run"]["outcome"], "succeeded");
}

#[tokio::test]
async fn a_run_tells_the_phases_it_went_through() {
    let site = with_runs(0).await;
    let first = site.sync().await;
    let unchanged = site.sync().await;
    site.on_remote("update meter set name = 'c' where id = 1")
        .await;
    let changed = site.sync().await;
    let api = ApiClient::new(&site.settings()).await;
    for (run, expected) in [
        // A first load writes what it reads; then it logs it.
        (first, vec!["prepare", "read", "apply"]),
        (unchanged, vec!["prepare", "read"]),
        (changed, vec!["prepare", "read", "plan", "apply"]),
    ] {
        let detail = api.ask(&format!("GET /api/v1/runs/{}", run.run_id)).await;
        let phases = detail.body["phases"].as_array().expect("a list");
        let names: Vec<_> = phases.iter().map(|one| one["phase"].clone()).collect();
        assert_eq!(json!(names), json!(expected));
    }
}

#[tokio::test]
async fn a_run_without_changes_has_an_empty_page_of_them() {
    let site = with_runs(2).await;
    let api = ApiClient::new(&site.settings()).await;
    let run = site.sync().await.run_id;
    let none = api.ask(&format!("GET /api/v1/runs/{run}/changes")).await;
    assert_eq!((none.status, none.body), (200, json!({"changes": []})));
}

#[tokio::test]
async fn a_meter_is_found_by_its_key_however_it_must_be_encoded() {
    const REMOTE: &str = "create table tenant (id bigint primary key, name text);
        insert into tenant values (7, 'Acme');
        create table meter (id text, element text, tenant_id bigint, name text, active boolean not null default true, primary key (id, element))";
    const LOCAL: &str = "create table tenant (id bigint primary key, name text);
        insert into tenant values (7, 'Acme');
        create table meter (id text, element text, name text, active boolean not null default true, primary key (id, element))";
    let site = Site::with_schemas(REMOTE, LOCAL).await;
    site.on_remote("insert into meter values ('a,b/c', 'A', 7, 'first'), ('a', 'b/c,A', 7, 'second'), ('100% ü', '', 7, 'third')")
        .await;
    site.sync().await;
    let api = ApiClient::new(&site.settings()).await;
    for (key, name) in [
        ("a%2Cb%2Fc,A", "first"),
        ("a,b%2Fc%2CA", "second"),
        ("100%25%20%C3%BC,", "third"),
    ] {
        let found = api.ask(&format!("GET /api/v1/meters/{key}")).await;
        assert_eq!(found.status, 200, "{key}: {found:?}");
        assert_eq!(found.body["meter"]["name"], name);
        let inserted = &found.body["changes"];
        assert_eq!(inserted.as_array().map(Vec::len), Some(1));
        assert_eq!(inserted[0]["action"], "insert");
    }
    for key in ["a", "a,b,c", "a%2Cb%2Fc%2CA", "%FF,A", "%00,A", "none,A"] {
        let none = api.ask(&format!("GET /api/v1/meters/{key}")).await;
        assert_eq!(none.problem(), (404, "METER_NOT_FOUND"), "{key}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_that_says_where_to_look() {
    let site = with_runs(1).await;
    let api = ApiClient::new(&site.settings()).await;
    let unknown = "0190c2f1-7a00-7000-8000-000000000001";
    for line in [
        format!("GET /api/v1/runs/{unknown}"),
        format!("GET /api/v1/runs/{unknown}/changes"),
        format!("POST /api/v1/runs/{unknown}/cancel"),
        format!("GET /api/v1/status?run_id={unknown}"),
        "GET /api/v1/runs/latest".to_owned(),
        "GET /api/v1/runs/%FF/changes".to_owned(),
        format!("GET /api/v1/runs/{}", unknown.replace('-', "")),
    ] {
        let none = api.ask(&line).await;
        assert_eq!(none.problem(), (404, "RUN_NOT_FOUND"), "{line}");
    }
}

#[tokio::test]
async fn a_page_after_a_run_that_is_not_there_is_a_problem_and_not_the_end() {
    let site = with_runs(2).await;
    let api = ApiClient::new(&site.settings()).await;
    let none = api
        .ask("GET /api/v1/runs?before=0190c2f1-7a00-7000-8000-000000000001")
        .await;
    assert_eq!(
        (none.status, &none.body["code"]),
        (404, &json!("RUN_NOT_FOUND"))
    );
}

#[tokio::test]
async fn a_meter_whose_key_is_padded_has_its_history_however_it_is_asked_for() {
    const TABLES: &str = "create table tenant (id bigint primary key, name text);
        insert into tenant values (7, 'Acme');
        create table meter (id char(5), tenant_id bigint, name text, active boolean not null default true, primary key (id))";
    let site = Site::with_schemas(TABLES, TABLES).await;
    site.on_remote("insert into meter values ('ab', 7, 'first')")
        .await;
    site.sync().await;
    let api = ApiClient::new(&site.settings()).await;
    for key in ["ab", "ab%20%20%20"] {
        let found = api.ask(&format!("GET /api/v1/meters/{key}")).await.body;
        assert_eq!(
            found["changes"].as_array().map(Vec::len),
            Some(1),
            "{found}"
        );
    }
}

#[tokio::test]
async fn runs_of_another_tenant_are_none_of_ours() {
    let site = with_runs(1).await;
    let run = site.sync().await.run_id;
    site.on_local("update meter_sync.meter_sync_log set tenant = '8'")
        .await;
    let api = ApiClient::new(&site.settings()).await;
    for path in [
        format!("runs/{run}"),
        format!("runs/{run}/changes"),
        format!("status?run_id={run}"),
        format!("runs?before={run}"),
    ] {
        let none = api.ask(&format!("GET /api/v1/{path}")).await;
        assert_eq!(
            (none.status, &none.body["code"]),
            (404, &json!("RUN_NOT_FOUND")),
            "{path}"
        );
    }
}
