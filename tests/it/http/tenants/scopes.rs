//! Tokens that count for some tenants: what each route there is answers them. A route without a decision here fails.

use std::path::Path;

use meter_sync::config::{Setting, Settings};
use reqwest::Response;

use super::{of_three, site, sync};
use crate::http::v1::api::Api;
use crate::support::served::{Served, send};
use crate::support::site::Site;

const ROOT: &str = "0123456789abcdef";
/// Of tenant 7.
const ANN: &str = "1123456789abcdef";
/// Of tenant 8.
const BOB: &str = "2123456789abcdef";

fn with_tokens(settings: &Settings) -> Settings {
    let tokens = format!("trigger:root:{ROOT},trigger:ann@7:{ANN},trigger:bob@8:{BOB}");
    settings.clone().with(Setting::Tokens, tokens)
}

/// What a route of a process that keeps several tenants answers to a token of one of them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Decision {
    /// The same to everybody: it tells nothing of a tenant.
    Public,
    /// What is of the token's tenant. The others are unknown.
    OfTenant,
    /// All that it lists and counts is of the token's tenant.
    Filtered,
    /// A tenant must be named; those of the token are.
    TenantRequired,
    /// Nothing, as it is about all tenants.
    Refused,
}
use Decision::{Filtered, OfTenant, Public, Refused, TenantRequired};

/// Every route that the description has.
const DESCRIBED: &[(&str, Decision)] = &[
    ("GET /api/local/meter-sync-status", Filtered),
    ("POST /api/local/meter-sync-trigger", TenantRequired),
    ("GET /api/v1/openapi.json", Public),
    ("GET /livez", Public),
    ("GET /readyz", Public),
    ("GET /api/v1/events", Filtered),
    ("GET /api/v1/meters/{key}", TenantRequired),
    ("GET /api/v1/runs", TenantRequired),
    ("GET /api/v1/runs/{id}", TenantRequired),
    ("GET /api/v1/runs/{id}/changes", TenantRequired),
    ("POST /api/v1/runs/{id}/cancel", TenantRequired),
    ("GET /api/v1/status", Filtered),
    ("POST /api/v1/sync", TenantRequired),
    ("GET /api/v1/tenants", Filtered),
    ("GET /api/v1/tenants/{tenant_id}/events", OfTenant),
    ("GET /api/v1/tenants/{tenant_id}/meters/{key}", OfTenant),
    ("GET /api/v1/tenants/{tenant_id}/runs", OfTenant),
    ("GET /api/v1/tenants/{tenant_id}/runs/{id}", OfTenant),
    (
        "GET /api/v1/tenants/{tenant_id}/runs/{id}/changes",
        OfTenant,
    ),
    (
        "POST /api/v1/tenants/{tenant_id}/runs/{id}/cancel",
        OfTenant,
    ),
    ("GET /api/v1/tenants/{tenant_id}/status", OfTenant),
    ("POST /api/v1/tenants/{tenant_id}/sync", OfTenant),
];

/// Routes beside the description.
const OTHERS: &[(&str, Decision)] = &[
    ("GET /metrics", Refused),
    ("GET /no/such/route", Refused),
    ("PUT /no/such/route", Refused),
    ("GET /assets/page.css", Public),
    ("GET /.well-known/oauth-protected-resource", Public),
];

/// How often a file outside of `rest` mounts a route. A new route needs a decision here, and a look at its handler.
const MOUNTED: [(&str, usize); 5] = [
    ("src/http/mod.rs", 1),
    ("src/http/oauth/metadata.rs", 2),
    ("src/mcp/http.rs", 1),
    ("src/mcp/sse.rs", 2),
    ("src/page/mod.rs", 11),
];

#[test]
fn no_route_is_mounted_without_a_decision() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, count) in MOUNTED {
        let text = std::fs::read_to_string(root.join(file)).expect("a source");
        let found = text.matches(".route(").count() + text.matches(".route_service(").count();
        assert_eq!(
            found, count,
            "{file} has other routes: decide what a token of some tenants gets"
        );
    }
}

#[tokio::test]
async fn every_described_route_has_a_decision() {
    let site = Site::new().await;
    let api = Api::new(&site.settings()).await;
    let mut decided: Vec<_> = DESCRIBED
        .iter()
        .map(|(line, _)| (*line).to_owned())
        .collect();
    decided.sort();
    assert_eq!(api.routes(), decided);
}

/// Status and text of an answer. Of a stream, its first event.
async fn read(mut response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let text = match is_stream {
        true => {
            let event = response.chunk().await.expect("a stream").expect("an event");
            String::from_utf8(event.to_vec()).expect("UTF-8")
        }
        false => response.text().await.expect("a text"),
    };
    (status, text)
}

async fn ask(served: &Served, line: &str, token: &str) -> (u16, String) {
    read(send(served.request(line).bearer_auth(token)).await).await
}

#[tokio::test]
async fn among_several_tenants_every_route_answers_a_token_as_was_decided() {
    let site = site().await;
    let api = Api::with(&with_tokens(&of_three(&site)), ROOT).await;
    let (ours, theirs) = (sync(&api, "7").await, sync(&api, "8").await);
    for (line, decision) in DESCRIBED.iter().chain(OTHERS) {
        let fill = |tenant: &str, run: &str, key: &str| {
            let line = line.replace("{tenant_id}", tenant);
            line.replace("{id}", run).replace("{key}", key)
        };
        let (own, other) = (fill("7", &ours, "1"), fill("8", &theirs, "3"));
        let (status, text) = ask(&api.served, &own, ANN).await;
        let known = (status, text.clone());
        match decision {
            Public => assert_eq!(known, ask(&api.served, &own, ROOT).await, "{line}"),
            OfTenant | Filtered => assert!([200, 202, 409].contains(&status), "{line} {text}"),
            TenantRequired => {
                assert_eq!(status, 400, "{line} {text}");
                assert!(
                    text.contains("TENANT_REQUIRED") && text.contains("7 (Acme)"),
                    "{text}"
                );
            }
            Refused => {
                assert_eq!(status, 403, "{line} {text}");
                assert!(text.contains("TOKEN_LIMITED"), "{line} {text}");
            }
        }
        if *decision == OfTenant {
            let (status, text) = ask(&api.served, &other, ANN).await;
            assert!(
                status == 404 && text.contains("TENANT_UNKNOWN"),
                "{line} {text}"
            );
            let unknown = ask(&api.served, &fill("5", &theirs, "3"), ANN).await;
            assert_eq!(
                unknown,
                (status, text.replace("tenant 8", "tenant 5")),
                "{line}"
            );
        }
        let texts = [text, ask(&api.served, &other, ANN).await.1];
        for text in texts.iter().filter(|_| *decision != Public) {
            assert_tells_nothing_of_others(line, text);
            // A run that the request names is named in the answer.
            assert!(
                line.contains("{id}") || !text.contains(&theirs),
                "{line}: {text}"
            );
        }
    }
}

fn assert_tells_nothing_of_others(line: &str, text: &str) {
    for secret in ["Byte", "Cole", "byte-3", "cole-4"] {
        assert!(!text.contains(secret), "{line} tells of {secret}: {text}");
    }
}

#[tokio::test]
async fn counts_are_of_the_tenants_of_the_token() {
    let site = site().await;
    let api = Api::with(&with_tokens(&of_three(&site)), BOB).await;
    sync(&api, "8").await;
    let page = api.ask("GET /api/v1/tenants").await.body;
    assert_eq!((&page["total"], &page["matching"]), (&1.into(), &1.into()));
    assert_eq!(page["by_health"]["never_run"], 0);
    let found = api.ask("GET /api/v1/tenants?search=acme").await.body;
    assert_eq!(found["matching"], 0);
    let status = api.ask("GET /api/v1/status").await.body;
    assert_eq!(status["tenants"]["total"], 1);
    assert!(status["last_success_at"].is_string(), "{status:#}");
    let old = api.ask("GET /api/local/meter-sync-status").await.body;
    assert_eq!(old["last_sync_success"], true);
}

#[tokio::test]
async fn a_token_for_none_of_the_tenants_finds_none() {
    let site = site().await;
    let settings = site.settings().with(Setting::Tenants, "7,9");
    let api = Api::with(&with_tokens(&settings), BOB).await;
    assert_eq!(api.ask("GET /api/v1/tenants").await.body["total"], 0);
    for line in [
        "POST /api/v1/sync",
        "GET /api/v1/tenants/7/status",
        "GET /api/v1/tenants/8/status",
    ] {
        let answer = api.ask(line).await;
        assert_eq!(answer.problem(), (404, "TENANT_UNKNOWN"), "{line}");
        let detail = answer.body["detail"].as_str().expect("a detail");
        assert!(
            !detail.contains("Acme") && !detail.contains("Cole"),
            "{detail}"
        );
    }
}

/// Two texts may be two tenants though they are one number.
#[tokio::test]
async fn a_token_counts_for_the_tenant_that_is_written_like_it() {
    let local = "create table tenant (id text primary key, name text);
        insert into tenant values ('7', 'Acme'), ('07', 'Byte');
        create table meter (id bigint primary key, tenant_id text not null, name text, active boolean not null default true)";
    let remote = "create table meter (id bigint primary key, tenant_id text not null, name text, active boolean not null default true)";
    let site = Site::with_schemas(remote, local).await;
    let settings = site.settings().with(Setting::Tenants, "all");
    let api = Api::with(&with_tokens(&settings), ANN).await;
    let page = api.ask("GET /api/v1/tenants").await.body;
    assert_eq!(page["total"], 1, "{page:#}");
    assert_eq!(page["tenants"][0]["name"], "Acme");
    let other = api.ask("GET /api/v1/tenants/07/status").await;
    assert_eq!(other.problem(), (404, "TENANT_UNKNOWN"));
}

/// Every route of a process that keeps one tenant, with those of the page and of MCP.
fn of_one() -> Vec<String> {
    let described = DESCRIBED.iter().map(|(line, _)| {
        let line = line.replace("{tenant_id}", "7").replace("{key}", "1");
        line.replace("{id}", "0190c2f1-7a00-7000-8000-000000000001")
    });
    let others = [
        "GET /metrics",
        "GET /",
        "GET /runs",
        "GET /runs/0190c2f1-7a00-7000-8000-000000000001",
        "GET /meters?key=1",
        "GET /connections",
        "POST /connections",
        "POST /sync",
        "GET /mcp",
        "POST /mcp",
        "DELETE /mcp",
        "GET /sse",
        "POST /messages",
        "GET /no/such/route",
    ];
    described.chain(others.map(str::to_owned)).collect()
}

const OPEN: [&str; 2] = ["GET /livez", "GET /readyz"];

#[tokio::test]
async fn a_process_of_one_tenant_is_closed_to_a_token_of_another_on_every_route() {
    let site = Site::new().await;
    let set = site.settings().with(Setting::TenantId, "07");
    for settings in [site.settings(), set] {
        let served = Served::new(&with_tokens(&settings)).await;
        for line in of_one() {
            assert_is_of_one(&served, &line).await;
        }
    }
}

async fn assert_is_of_one(served: &Served, line: &str) {
    let own = format!("http://{}", served.address);
    let shown = |token| served.request(line).bearer_auth(token);
    let (status, text) = read(send(shown(BOB).header("origin", &own)).await).await;
    if OPEN.contains(&line) {
        assert_eq!(status, 200, "{line}");
    } else {
        assert_eq!(status, 404, "{line}: {text}");
        assert!(
            text.contains("TENANT_UNKNOWN") && !text.contains("Acme"),
            "{line}: {text}"
        );
    }
    let (status, text) = read(send(shown(ANN).header("origin", &own)).await).await;
    let is_refused = text.contains(r#""code":"TENANT_UNKNOWN""#);
    assert!(status != 403 && !is_refused, "{line}: {text}");
}

#[tokio::test]
async fn a_token_of_a_tenant_is_refused_while_nobody_knows_whose_the_meters_are() {
    let site = Site::new().await;
    site.on_local("delete from tenant").await;
    let served = Served::new(&with_tokens(&site.settings())).await;
    let (status, text) = ask(&served, "GET /api/v1/status", ANN).await;
    assert!(
        status == 503 && text.contains("TENANT_NOT_CONFIGURED"),
        "{text}"
    );
    assert_eq!(ask(&served, "GET /api/v1/status", ROOT).await.0, 200);
}
