//! The command line, REST, the page and the status tool give the same answers.

use meter_sync::model::RunId;
use serde_json::{Value, json};

use super::{SiteWithRuns, with_runs};
use crate::mcp::client::Assistant;
use crate::support::http_server::{HttpServer, send};
use crate::support::program::{self, CommandOutput};
use crate::support::site::Site;

const STATUS: &str = "meter_sync_status";

async fn run(site: &Site, arguments: &[&str]) -> CommandOutput {
    program::run(program::over(site, arguments, &[])).await
}

async fn object(site: &Site, arguments: &[&str]) -> Value {
    let ended = run(site, &[arguments, &["--json"]].concat()).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// A time after the second run, as a caller writes it.
fn after_second(world: &SiteWithRuns) -> String {
    world.times[2].format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

async fn text(served: &HttpServer, path: &str) -> (u16, String) {
    let request = served.request(&format!("GET {path}"));
    let response = send(request.header("accept", "text/html")).await;
    let status = response.status().as_u16();
    (status, response.text().await.expect("a body"))
}

#[tokio::test]
async fn a_meter_at_a_time_is_told_alike_everywhere() {
    let world = with_runs().await;
    let site = &world.site;
    let at = after_second(&world);
    let told = object(site, &["meter", "1", "--at", &at]).await;
    assert_eq!(told["past"]["meter"]["name"], "Main meter");
    assert_eq!(told["changes"][0]["trigger"], "cli");
    let served = HttpServer::new(&site.settings()).await;
    let (status, by_rest) = served.ask(&format!("GET /api/v1/meters/1?at={at}")).await;
    assert_eq!(
        (status, &by_rest["past"]["meter"]),
        (200, &told["past"]["meter"])
    );
    let assistant = Assistant::at(&served.address, None).await;
    let asked = json!({"meter": "main", "at": at});
    let by_tool = assistant.ask(STATUS, asked).await;
    assert_eq!(by_tool["meter"]["past"]["meter"], told["past"]["meter"]);
    let said = by_tool["summary"].as_str().expect("a summary");
    assert!(
        said.contains("Since then syncs have changed name."),
        "{said}"
    );
    let (status, page) = text(&served, &format!("/meters?id=1&~at={at}")).await;
    assert_eq!(status, 200);
    assert!(
        page.contains("Since then syncs have changed name."),
        "{page}"
    );
    let words = run(site, &["meter", "1", "--at", &at]).await;
    words.assert_says(&[
        "Since then syncs have changed name.",
        "\"Main meter\"",
        "The row 20",
        "(cli",
    ]);
}

#[tokio::test]
async fn a_time_that_cannot_be_used_is_refused_everywhere() {
    let world = with_runs().await;
    let served = HttpServer::new(&world.site.settings()).await;
    for at in ["tomorrow", "2999-01-01"] {
        let (status, refused) = served.ask(&format!("GET /api/v1/meters/1?at={at}")).await;
        assert_eq!(status, 400, "{refused}");
        let (status, page) = text(&served, &format!("/meters?id=1&~at={at}")).await;
        assert_eq!(status, 404, "{page}");
        let ended = run(&world.site, &["meter", "1", "--at", at]).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        let ended = run(&world.site, &["changes", "--since", at]).await;
        assert_eq!(ended.code, 2, "{ended:?}");
        let (status, _) = served.ask(&format!("GET /api/v1/changes?since={at}")).await;
        assert_eq!(status, 400);
    }
}

#[tokio::test]
async fn a_meter_is_found_by_a_part_of_its_name_and_several_are_listed() {
    let world = with_runs().await;
    let ended = run(&world.site, &["meter", "yard"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.assert_says(&[
        "Yard east",
        "The meter is active",
        "\"Yard\" -> \"Yard east\"",
    ]);
    let ended = run(&world.site, &["meter", "a"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    ended.assert_says(&["4 meters have `a` in their name", "id=\"3\"  Attic  active"]);
    let ended = run(&world.site, &["meter", "none", "--json"]).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    ended.assert_says(&["There is no meter here", "\"matches\": []"]);
}

#[tokio::test]
async fn changes_since_a_time_are_told_by_kind() {
    let world = with_runs().await;
    let site = &world.site;
    let served = HttpServer::new(&site.settings()).await;
    let assistant = Assistant::at(&served.address, None).await;
    for (kind, expected) in [
        ("update", 3),
        ("deactivate", 1),
        ("reactivate", 1),
        ("insert", 4),
        ("deactivate,reactivate", 2),
    ] {
        let told = object(site, &["changes", "--since", "1h", "--kind", kind]).await;
        let changes = &told["changes_since"]["changes"];
        assert_eq!(changes.as_array().map(Vec::len), Some(expected), "{told:#}");
        assert_eq!(told["changes_since"]["updated"], 3, "all kinds are counted");
        let path = format!("GET /api/v1/changes?since=1h&kind={kind}");
        let (status, by_rest) = served.ask(&path).await;
        assert_eq!(
            (status, &by_rest["changes_since"]["changes"]),
            (200, changes)
        );
        // The tool takes one kind.
        if !kind.contains(',') {
            let asked = json!({"since": "1h", "kind": kind, "changes_limit": 50});
            let by_tool = assistant.ask(STATUS, asked).await;
            assert_eq!(&by_tool["changes_since"]["changes"], changes);
        }
    }
    let words = run(site, &["changes"]).await;
    words.assert_says(&["3 syncs changed meters", "deactivate Attic (id=\"3\")"]);
    let (_, page) = text(&served, "/changes?since=24h&kind=deactivate").await;
    assert!(page.contains("Attic") && !page.contains("Yard"), "{page}");
    let ended = run(site, &["changes", "--kind", "gone"]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
}

#[tokio::test]
async fn changes_are_paged_and_csv_has_all() {
    let site = Site::new().await;
    let many = "insert into meter (id, tenant_id, name) select n, 7, '=\"M\"' || n from generate_series(1, 2500) n";
    site.on_remote(many).await;
    site.sync().await;
    let served = HttpServer::new(&site.settings()).await;
    let mut path = "/api/v1/changes?limit=1000".to_owned();
    let mut sizes = Vec::new();
    loop {
        let (status, page) = served.ask(&format!("GET {path}")).await;
        assert_eq!(status, 200, "{page}");
        sizes.push(page["changes_since"]["changes"].as_array().map(Vec::len));
        let Some(before) = page["next_before"].as_str() else {
            break;
        };
        path = format!("/api/v1/changes?limit=1000&before={before}");
    }
    assert_eq!(sizes, [Some(1000), Some(1000), Some(500)]);
    let (status, by_rest) = text(&served, "/api/v1/changes?format=csv").await;
    assert_eq!(status, 200);
    let by_command = run(&site, &["changes", "--csv"]).await;
    assert_eq!(by_command.code, 0, "{}", by_command.stderr);
    assert_eq!(by_rest, by_command.stdout);
    let mut lines = csv::Reader::from_reader(by_rest.as_bytes());
    let header = "at,run_id,action,name,key,before,after,gone_to";
    assert_eq!(
        lines.headers().expect("a header"),
        header.split(',').collect::<Vec<_>>()
    );
    let lines: Vec<_> = lines.records().map(|line| line.expect("a line")).collect();
    assert_eq!(lines.len(), 2500);
    let first = &lines[0];
    assert_eq!(
        [&first[2], &first[3], &first[4]],
        ["insert", "'=\"M\"1", "{\"id\":\"1\"}"]
    );
}

#[tokio::test]
async fn the_difference_of_two_runs_is_told_alike_everywhere() {
    let world = with_runs().await;
    let site = &world.site;
    let [first, _, third] = world.runs;
    let ids: [String; 2] = [first, third].map(|id: RunId| id.to_string());
    let told = object(site, &["diff", &ids[0], &ids[1]]).await;
    assert_eq!(told["meters"], 2, "{told:#}");
    let served = HttpServer::new(&site.settings()).await;
    let path = format!("/runs/{third}/difference?compare_with={first}");
    let (status, by_rest) = served.ask(&format!("GET /api/v1{path}")).await;
    assert_eq!((status, &by_rest["changes"]), (200, &told["changes"]));
    let assistant = Assistant::at(&served.address, None).await;
    let asked = json!({"run_id": first, "compare_with": third});
    let by_tool = assistant.ask(STATUS, asked).await;
    assert_eq!(by_tool["difference"]["changes"], told["changes"]);
    let (status, page) = text(&served, &path).await;
    assert_eq!(status, 200);
    assert!(page.contains("Yard east"), "{page}");
    let (_, page) = text(&served, &format!("/runs/{third}")).await;
    assert!(
        page.contains(&format!("<option value=\"{first}\"")),
        "{page}"
    );
    let words = run(site, &["diff", &ids[1], &ids[0]]).await;
    words.assert_says(&[
        "2 runs changed meters: 1 inserted, 1 updated.",
        "port: \"1\" -> \"502\"",
    ]);

    let unknown = "0190c2f1-7a00-7000-8000-000000000001";
    let ended = run(site, &["diff", &ids[0], unknown]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    let (status, _) = served
        .ask(&format!(
            "GET /api/v1/runs/{first}/difference?compare_with={unknown}"
        ))
        .await;
    assert_eq!(status, 404);
    // Without `compare_with`, it is what this run has changed.
    let (status, changed) = served
        .ask(&format!("GET /api/v1/runs/{third}/difference"))
        .await;
    assert_eq!((status, &changed["runs"]), (200, &json!(1)));
    assert_eq!(changed["meters"], 3, "{changed}");
}

#[tokio::test]
async fn a_page_after_a_run_that_is_not_in_the_log_is_refused() {
    let world = with_runs().await;
    let served = HttpServer::new(&world.site.settings()).await;
    let before = "0190c2f1-7a00-7000-8000-000000000001/1";
    for path in ["/api/v1/changes?", "/api/v1/changes?format=csv&"] {
        let (status, refused) = served.ask(&format!("GET {path}before={before}")).await;
        assert_eq!((status, &refused["code"]), (404, &json!("RUN_NOT_FOUND")));
    }
    let (status, _) = text(&served, &format!("/changes?before={before}")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_key_with_a_comma_is_given_as_in_a_path() {
    let local = "create table tenant (id bigint primary key, name text); insert into tenant values (7, 'Acme');
        create table meter (site text, no integer, name text, active boolean, primary key (site, no))";
    let remote = "create table meter (site text, no integer, tenant_id bigint, name text, active boolean, primary key (site, no))";
    let site = Site::with_schemas(remote, local).await;
    site.on_remote("insert into meter values ('B,x', 3, 7, 'Main', true)")
        .await;
    site.sync().await;
    let ended = run(&site, &["meter", "B%2Cx,3"]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.assert_says(&["The meter is active"]);
}
