//! Requests that are refused: wrong arguments, bodies and tokens, and a process that is read-only.

use meter_sync::config::{CommandLineSettings, Setting};
use reqwest::RequestBuilder;
use serde_json::json;

use super::api_client::{ApiClient, READ, TRIGGER};
use crate::support::proxy::{Fault, Proxy};
use crate::support::run_hold;
use crate::support::site::{NOWHERE, Site};

const RUN: &str = "0190c2f1-7a00-7000-8000-000000000001";

/// Queries that cannot be used, and how each is refused.
const STATUS_QUERIES: &[(&str, &str)] = &[
    (
        "history=51",
        "`history` must be a whole number from 0 to 50, not 51.",
    ),
    (
        "history=-1",
        "`history` must be a whole number from 0 to 50, not \"-1\".",
    ),
    ("history=", "`history` is given without a value."),
    ("run_id=", "`run_id` is given without a value."),
    ("run_id=%20%00", "`run_id` is given without a value."),
    (
        "history=05",
        "`history` must be a whole number from 0 to 50, not \"05\".",
    ),
    (
        "histroy=5",
        "There is no argument `histroy`; did you mean `history`?",
    ),
    ("history=1&history=1", "`history` is given more than once."),
    (
        "include_changes=1",
        "`include_changes` must be true or false, not 1.",
    ),
    (
        "changes_limit=0",
        "`changes_limit` must be a whole number from 1 to 200, not 0.",
    ),
    (
        "run_id=latest",
        "`run_id` must be the id of a run (a UUID), not latest.",
    ),
];
const RUNS_QUERIES: &[(&str, &str)] = &[
    (
        "limit=0",
        "`limit` must be a whole number from 1 to 100, not 0.",
    ),
    (
        "limit=101",
        "`limit` must be a whole number from 1 to 100, not 101.",
    ),
    (
        "before=now",
        "`before` must be the id of a run (a UUID), not now.",
    ),
    (
        "show=some",
        "`show` must be one of all, problems, changes, not \"some\".",
    ),
    (
        "after=1",
        "There is no argument `after`; the arguments are limit, before, show.",
    ),
];
const CHANGES_QUERIES: &[(&str, &str)] = &[
    (
        "limit=1001",
        "`limit` must be a whole number from 1 to 1000, not 1001.",
    ),
    (
        "after=x",
        "`after` must be a whole number from 0 to 4294967295, not \"x\".",
    ),
];

#[tokio::test]
async fn an_argument_that_cannot_be_used_is_named_with_what_is_allowed() {
    let site = Site::new().await;
    let api = ApiClient::new(&site.settings()).await;
    let changes = format!("/api/v1/runs/{RUN}/changes");
    for (path, queries) in [
        ("/api/v1/status", STATUS_QUERIES),
        ("/api/v1/runs", RUNS_QUERIES),
        (&changes, CHANGES_QUERIES),
    ] {
        for (query, detail) in queries {
            let refused = api.ask(&format!("GET {path}?{query}")).await;
            assert_eq!(refused.problem(), (400, "BAD_REQUEST"), "{path}?{query}");
            assert_eq!(refused.body["detail"], *detail, "{path}?{query}");
        }
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_used_starts_nothing() {
    let site = Site::new().await;
    site.sync().await; // for the log to be there
    let api = ApiClient::new(&site.settings()).await;
    let long = format!("{{\"reason\": \"{}\"}}", "x".repeat(201));
    for (body, detail) in [
        ("{", "not JSON"),
        ("[]", "a JSON object"),
        ("null", "a JSON object"),
        (
            r#"{"dry_run": true, "dry_run": false}"#,
            "`dry_run` is given twice",
        ),
        (r#"{"dry-run": true}"#, "did you mean `dry_run`?"),
        (r#"{"dry_run": "true"}"#, "`dry_run` must be true or false"),
        (r#"{"allow_mass_deactivation": true}"#, "no argument"),
        (long.as_str(), "at most 200 characters"),
    ] {
        let ask = |request: RequestBuilder| {
            request
                .header("content-type", "application/json")
                .body(body.to_owned())
        };
        let refused = api.ask_with("POST /api/v1/sync", ask).await;
        assert_eq!(refused.problem(), (400, "BAD_REQUEST"), "{body}");
        let told = refused.body["detail"].as_str().expect("a detail");
        assert!(told.contains(detail), "{told}");
    }
    for media_type in [None, Some("text/plain")] {
        let ask = |request: RequestBuilder| match media_type {
            Some(media_type) => request.header("content-type", media_type).body("{}"),
            None => request.body("{}"),
        };
        let refused = api.ask_with("POST /api/v1/sync", ask).await;
        assert_eq!(refused.problem(), (415, "UNSUPPORTED_MEDIA_TYPE"));
    }
    let key = "k".repeat(201);
    let ask = |request: RequestBuilder| request.header("idempotency-key", key);
    let refused = api.ask_with("POST /api/v1/sync", ask).await;
    assert_eq!(refused.problem(), (400, "BAD_REQUEST"));
    assert_eq!(run_hold::outcomes(&site).await, json!(["no_change"]));
}

/// How many of the first of [`ROUTES`] are there for each tenant, too.
const OF_MIRROR: usize = 13;

/// Every route, and whether it has arguments in the query and in the body. Proxies ask `/livez` and `/readyz`, and add
/// what they like.
const ROUTES: &[(&str, bool, bool)] = &[
    ("GET /api/v1/status", true, false),
    ("POST /api/v1/sync", false, true),
    ("POST /api/v1/verify", false, true),
    ("GET /api/v1/runs", true, false),
    ("GET /api/v1/runs/RUN", true, false),
    ("GET /api/v1/runs/RUN/changes", true, false),
    ("GET /api/v1/runs/RUN/difference", true, false),
    ("GET /api/v1/changes", true, false),
    ("POST /api/v1/runs/RUN/cancel", false, false),
    ("GET /api/v1/meters/1", true, false),
    ("GET /api/v1/events", false, false),
    ("POST /api/v1/pause", false, true),
    ("POST /api/v1/resume", false, false),
    ("GET /api/v1/tenants", true, false),
    ("GET /api/v1/openapi.json", false, false),
    ("GET /api/local/meter-sync-status", false, false),
    ("POST /api/local/meter-sync-trigger", false, false),
];

#[tokio::test]
async fn an_argument_in_a_place_where_a_route_takes_none_is_refused() {
    let site = Site::new().await;
    site.sync().await; // for the log to be there
    let api = ApiClient::new(&site.settings()).await;
    let paths = api.description["paths"].as_object().expect("paths");
    let of_mirror = ROUTES.iter().take(OF_MIRROR);
    let of_tenant = of_mirror.map(|(line, has_query, has_body)| {
        let line = line.replace("/api/v1/", "/api/v1/tenants/7/");
        (line, has_query, has_body)
    });
    let others = ROUTES
        .iter()
        .map(|(line, has_query, has_body)| ((*line).to_owned(), has_query, has_body));
    let routes: Vec<_> = others.chain(of_tenant).collect();
    assert_eq!(paths.len(), routes.len() + 2, "{:?}", paths.keys());
    for (line, has_query, has_body) in routes {
        let line = line.replace("RUN", RUN);
        if !has_query {
            let refused = api.ask(&format!("{line}?dry_run=true")).await;
            assert_eq!(refused.problem(), (400, "BAD_REQUEST"), "{line}");
            let detail = refused.body["detail"].as_str().expect("a text");
            assert!(
                detail.starts_with("`dry_run` is given in the query"),
                "{detail}"
            );
        }
        if !has_body {
            let body = |request: RequestBuilder| request.json(&json!({"dry_run": true}));
            let refused = api.ask_with(&line, body).await;
            assert_eq!(refused.problem(), (400, "BAD_REQUEST"), "{line}");
        }
    }
    let refused = api.ask(&format!("GET /api/v1/runs/{RUN}?notise=x")).await;
    assert_eq!(refused.problem(), (400, "BAD_REQUEST"));
    for (notice, told) in [
        ("already_running", (404, "RUN_NOT_FOUND")),
        ("x", (400, "BAD_REQUEST")),
    ] {
        let noticed = api
            .ask(&format!("GET /api/v1/runs/{RUN}?notice={notice}"))
            .await;
        assert_eq!(noticed.problem(), told, "{notice}");
    }
    assert_eq!(site.status().await.history.len(), 1, "nothing was started");
    let nothing = |request: RequestBuilder| request.json(&json!({}));
    let answer = api
        .ask_with("POST /api/local/meter-sync-trigger", nothing)
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_body_too_long_is_refused_though_it_was_not_announced() {
    let site = Site::new().await;
    let api = ApiClient::new(&site.settings()).await;
    let pieces = (0..20).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let ask = |request: RequestBuilder| {
        request
            .header("content-type", "application/json")
            .body(body)
    };
    let refused = api.ask_with("POST /api/v1/sync", ask).await;
    assert_eq!(refused.problem(), (413, "BODY_TOO_LARGE"));
}

#[tokio::test]
async fn a_read_token_reads_everything_and_changes_nothing() {
    let site = Site::new().await;
    let api = ApiClient::with_tokens(&site.settings()).await;
    let run = site.sync().await.run_id;
    let cancel = format!("POST /api/v1/runs/{run}/cancel");
    for (line, bare, read, trigger) in [
        ("GET /api/v1/status", 401, 200, 200),
        ("GET /api/v1/runs", 401, 200, 200),
        (&format!("GET /api/v1/runs/{run}"), 401, 200, 200),
        (&format!("GET /api/v1/runs/{run}/changes"), 401, 200, 200),
        ("GET /api/v1/meters/1", 401, 404, 404),
        ("GET /api/v1/openapi.json", 401, 200, 200),
        ("POST /api/v1/sync", 401, 403, 202),
        ("POST /api/v1/verify", 401, 403, 200),
        (cancel.as_str(), 401, 403, 409),
        ("POST /api/v1/pause", 401, 403, 400),
        ("POST /api/v1/resume", 401, 403, 204),
    ] {
        assert_eq!(api.ask(line).await.status, bare, "{line}");
        for (token, status) in [(READ, read), (TRIGGER, trigger)] {
            let answer = api
                .ask_with(line, |request| request.bearer_auth(token))
                .await;
            assert_eq!(answer.status, status, "{line} {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_process_that_may_only_show_starts_and_ends_nothing() {
    let site = Site::new().await;
    let run = site.sync().await.run_id;
    let api = ApiClient::new(&site.settings().with(Setting::ReadOnly, "true")).await;
    for line in [
        "POST /api/v1/sync".to_owned(),
        "POST /api/v1/verify".to_owned(),
        format!("POST /api/v1/runs/{run}/cancel"),
        "POST /api/v1/resume".to_owned(),
    ] {
        assert_eq!(api.ask(&line).await.problem(), (403, "READ_ONLY"), "{line}");
    }
    assert_eq!(api.ask("GET /api/v1/runs").await.status, 200);
}

#[tokio::test]
async fn without_its_databases_it_says_what_is_missing() {
    let api = ApiClient::new(&CommandLineSettings::default().with(Setting::Schedule, "off")).await;
    let run = format!("GET /api/v1/runs/{RUN}");
    for line in [
        "POST /api/v1/sync",
        "GET /api/v1/runs",
        "GET /api/v1/meters/1",
        &run,
    ] {
        assert_eq!(
            api.ask(line).await.problem(),
            (503, "CONFIG_MISSING"),
            "{line}"
        );
    }
    let status = api.ask("GET /api/v1/status").await;
    assert_eq!(
        (status.status, &status.body["health"]),
        (200, &json!("not_configured"))
    );
}

#[tokio::test]
async fn with_the_local_database_down_no_run_is_told_of_in_place_of_another() {
    let site = Site::new().await;
    let (line, through) = Proxy::before(&site.pair.local_url).await;
    let api = ApiClient::new(&site.settings().with(Setting::LocalUrl, through)).await;
    let wait = |request: RequestBuilder| request.header("prefer", "wait=30");
    let first = api.ask_with("POST /api/v1/sync", wait).await.body;
    let last = api.ask_with("POST /api/v1/sync", wait).await.body;
    line.set(Fault::Refuse);
    for (run, told) in [(&first, 0), (&last, 1)] {
        let asked = format!(
            "GET /api/v1/status?run_id={}",
            run["run_id"].as_str().expect("an id")
        );
        let status = api.ask(&asked).await.body;
        assert_eq!(status["connections"]["local"]["state"], "failed");
        assert_eq!(
            status["history"].as_array().map(Vec::len),
            Some(told),
            "{status}"
        );
    }
    // A run that could not be logged is told of where its address leads.
    let lost = api.ask_with("POST /api/v1/sync", wait).await;
    assert_eq!(lost.problem(), (500, "LOCAL_UNREACHABLE"));
    line.set(Fault::None);
    let address = format!("GET {}", lost.header("location").expect("a location"));
    let found = api.ask(&address).await;
    assert_eq!(
        (found.status, &found.body["run"]["outcome"]),
        (200, &json!("failed"))
    );
}

#[tokio::test]
async fn a_local_database_that_is_down_is_told_of_without_its_password() {
    let site = Site::new().await;
    let down = site.settings().with(Setting::LocalUrl, NOWHERE);
    let api = ApiClient::new(&down).await;
    for line in [
        "GET /api/v1/runs",
        "GET /api/v1/meters/1",
        "POST /api/v1/sync",
    ] {
        let refused = api
            .ask_with(line, |request| request.header("prefer", "wait=30"))
            .await;
        assert_eq!(refused.problem(), (500, "LOCAL_UNREACHABLE"), "{line}");
        assert!(!refused.body.to_string().contains("hunter2"));
    }
    let status = api.ask("GET /api/v1/status").await;
    assert_eq!(status.body["connections"]["local"]["state"], "failed");
}
