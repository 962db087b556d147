//! Tokens that count for some tenants: what each route there is answers them, whether they may trigger or only read.

use meter_sync::config::{CommandLineSettings, Setting};
use reqwest::{RequestBuilder, Response};
use serde_json::json;

use super::route_decisions::Decision::{
    Conversation, Filtered, OfTenant, Public, Refused, TenantRequired, ToolCall,
};
use super::route_decisions::{self, DESCRIBED, Decision, OF_TENANT};
use super::{of_three, site, sync};
use crate::http::v1::api_client::ApiClient;
use crate::mcp::client::Assistant;
use crate::support::http_server::{HttpServer, send};
use crate::support::site::Site;
use crate::support::stateless_request;

const ROOT: &str = "0123456789abcdef";
/// Of tenant 7.
const ANN: &str = "1123456789abcdef";
/// Of tenant 8.
const BOB: &str = "2123456789abcdef";
/// Of tenant 7, and may only read.
const EVE: &str = "3123456789abcdef";

fn with_tokens(settings: &CommandLineSettings) -> CommandLineSettings {
    let tokens =
        format!("trigger:root:{ROOT},trigger:ann@7:{ANN},trigger:bob@8:{BOB},read:eve@7:{EVE}");
    settings.clone().with(Setting::Tokens, tokens)
}

#[tokio::test]
async fn every_described_route_has_a_decision() {
    let site = Site::new().await;
    let api = ApiClient::new(&site.settings()).await;
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

/// The request of a line of the tables, as the server's own page or an assistant sends it.
fn request(served: &HttpServer, line: &str, token: &str) -> RequestBuilder {
    let (line, tenant) = line.split_once(" for ").unwrap_or((line, ""));
    let request = served.request(line).bearer_auth(token);
    let request = request.header("origin", format!("http://{}", served.address));
    match line {
        "POST /mcp" => tool_call(request, tenant),
        form if form.starts_with("POST /tenants/") || form.starts_with("POST /s") => request
            .header("content-type", "application/x-www-form-urlencoded")
            .body("do=sync&reason=new+gateway&until=1h"),
        pause if pause.ends_with("/pause") => request.json(&json!({"reason": "new gateway"})),
        _ => request,
    }
}

/// A call of the status tool.
fn tool_call(request: RequestBuilder, tenant: &str) -> RequestBuilder {
    let (method, tool) = ("tools/call", "meter_sync_status");
    let headers = stateless_request::headers(method, Some(tool)).into_iter();
    let request = headers.fold(request, |request, (name, value)| {
        request.header(name, value)
    });
    let params = json!({"name": tool, "arguments": {"tenant_id": tenant}});
    request.json(&stateless_request::message(method, params))
}

/// Status and text of the answer, without the times that a page shows.
async fn ask(served: &HttpServer, line: &str, token: &str) -> (u16, String) {
    let (status, text) = read(send(request(served, line, token)).await).await;
    let mut pieces = text.split("<time ");
    let first = pieces.next().unwrap_or_default().to_owned();
    let after = |piece: &str| {
        piece
            .split_once("</time>")
            .map_or("", |(_, rest)| rest)
            .to_owned()
    };
    (
        status,
        pieces.fold(first, |text, piece| text + &after(piece)),
    )
}

/// A line of the tables with its parameters filled in.
fn filled(line: &str, tenant: &str, run: &str, key: &str) -> String {
    let line = line.replace("{tenant_id}", tenant);
    let line = line.replace("{id}", run).replace("{key}", key);
    match line == "POST /mcp" {
        true => format!("{line} for {tenant}"),
        false => line,
    }
}

/// Whether the route takes a request that changes something, for which a token that may only read is not enough.
fn needs_trigger(line: &str) -> bool {
    let takes_any = ["/mcp", "/messages", "/connections", "/sign-out", "/sign-in"];
    !line.starts_with("GET ") && !takes_any.iter().any(|path| line.ends_with(path))
}

#[tokio::test]
async fn among_several_tenants_every_route_answers_a_token_as_was_decided() {
    let site = site().await;
    let api = ApiClient::with(&with_tokens(&of_three(&site)), ROOT).await;
    let (ours, theirs) = (sync(&api, "7").await, sync(&api, "8").await);
    for route in route_decisions::all() {
        for token in [ANN, EVE] {
            assert_route(&api.served, route, [&ours, &theirs], token).await;
        }
    }
}

/// Asks a route for the own tenant, with its run, and for another one, with that one's run.
async fn assert_route(
    served: &HttpServer,
    (line, decision): (&str, Decision),
    [ours, theirs]: [&str; 2],
    token: &str,
) {
    let own = filled(line, "7", ours, "1");
    let answer = async |line: &str| ask(served, line, token).await;
    let other = answer(&filled(line, "8", theirs, "3")).await;
    let answers = [answer(&own).await, other];
    if token == EVE && needs_trigger(line) {
        let is_refused =
            |(status, text): &(u16, String)| *status == 403 && text.contains("READ_ONLY");
        return assert!(answers.iter().all(is_refused), "{line}: {answers:?}");
    }
    match decision {
        Public => return assert_eq!(answers[0], ask(served, &own, ROOT).await, "{line}"),
        OfTenant | ToolCall => {
            let unknown = answer(&filled(line, "5", theirs, "3")).await;
            assert_denied(line, &answers, &unknown);
        }
        Filtered | Conversation | TenantRequired | Refused => {
            assert_decided(line, decision, &answers[0]);
        }
    }
    for (_, text) in &answers {
        assert_tells_nothing_of_others(line, text);
        // A run that the request names is named in the answer.
        assert!(
            line.contains("{id}") || !text.contains(theirs),
            "{line}: {text}"
        );
    }
}

fn assert_decided(line: &str, decision: Decision, (status, text): &(u16, String)) {
    let (expected, says) = match decision {
        TenantRequired => (400, ["TENANT_REQUIRED", "7 (Acme)"]),
        Refused => (403, ["TOKEN_LIMITED", ""]),
        Filtered | Conversation | Public | OfTenant | ToolCall => (200, ["", ""]),
    };
    assert_eq!(*status, expected, "{line} {text}");
    assert!(says.iter().all(|says| text.contains(says)), "{line} {text}");
}

/// The own tenant is answered, and the other one as the unknown one.
fn assert_denied(
    line: &str,
    [(own, text), (denied, other)]: &[(u16, String); 2],
    unknown: &(u16, String),
) {
    assert!([200, 202, 204, 409].contains(own), "{line} {text}");
    let says = ["TENANT_UNKNOWN", "There is no such tenant here"];
    assert!(
        !says.iter().any(|says| text.contains(says)),
        "{line} {text}"
    );
    assert!(
        says.iter().any(|says| other.contains(says)),
        "{line} {other}"
    );
    assert_eq!(*denied, if line == "POST /mcp" { 200 } else { 404 });
    let same = other.replace("tenant 8", "tenant 5");
    let same = same.replace("tenants/8", "tenants/5");
    assert_eq!((*denied, same), *unknown, "{line}");
}

/// Streamable HTTP with a session, and its predecessor.
#[tokio::test]
async fn in_every_conversation_a_tenant_that_is_not_the_tokens_is_unknown() {
    let site = site().await;
    let tokens = format!("trigger:cam@7,8:{ANN},read:dan@7,8:{EVE}");
    let served = HttpServer::new(&of_three(&site).with(Setting::Tokens, tokens)).await;
    for (token, refusal) in [(ANN, "[TENANT_UNKNOWN]"), (EVE, "[READ_ONLY]")] {
        for assistant in [
            Assistant::at(&served.address, Some(token)).await,
            Assistant::at_sse(&served.address, Some(token)).await,
        ] {
            let status = "meter_sync_status";
            assert_is_denied(&assistant, status, "[TENANT_UNKNOWN]").await;
            assert_is_denied(&assistant, "meter_sync_trigger", refusal).await;
            let own = assistant.ask(status, json!({"tenant_id": "8"})).await;
            assert_eq!(own["tenant"]["name"], "Byte");
        }
    }
}

/// A call for tenant 9 is refused with a code.
async fn assert_is_denied(assistant: &Assistant, tool: &'static str, code: &str) {
    let denied = assistant.refused(tool, json!({"tenant_id": "9"})).await;
    assert!(denied.ends_with(code), "{denied}");
    assert!(!denied.contains("Cole"), "{denied}");
}

fn assert_tells_nothing_of_others(line: &str, text: &str) {
    for secret in ["Byte", "Cole", "byte-3", "cole-4"] {
        assert!(!text.contains(secret), "{line} tells of {secret}: {text}");
    }
}

#[tokio::test]
async fn counts_are_of_the_tenants_of_the_token() {
    let site = site().await;
    let api = ApiClient::with(&with_tokens(&of_three(&site)), BOB).await;
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
    let api = ApiClient::with(&with_tokens(&settings), BOB).await;
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
    let api = ApiClient::with(&with_tokens(&settings), ANN).await;
    let page = api.ask("GET /api/v1/tenants").await.body;
    assert_eq!(page["total"], 1, "{page:#}");
    assert_eq!(page["tenants"][0]["name"], "Acme");
    let other = api.ask("GET /api/v1/tenants/07/status").await;
    assert_eq!(other.problem(), (404, "TENANT_UNKNOWN"));
}

/// Every route of a process that keeps one tenant, but for those that need no token.
fn of_one() -> Vec<String> {
    let run = "0190c2f1-7a00-7000-8000-000000000001";
    let lines = route_decisions::all().map(|(line, _)| match line.contains("/api/") {
        true => line.to_owned(),
        false => line.replace(OF_TENANT, ""),
    });
    let lines = lines.filter(|line| !line.ends_with(' '));
    let needs_token = |line: &String| !TOKENLESS.iter().any(|path| line.contains(path));
    let lines = lines.filter(needs_token);
    lines.map(|line| filled(&line, "7", run, "1")).collect()
}

/// Beginnings of paths that need no token, or, to end a session, any.
const TOKENLESS: [&str; 3] = ["/sign-", "/assets/", "/.well-known/"];
const OPEN: [&str; 2] = ["GET /livez", "GET /readyz"];

#[tokio::test]
async fn a_process_of_one_tenant_is_closed_to_a_token_of_another_on_every_route() {
    let site = Site::new().await;
    let set = site.settings().with(Setting::TenantId, "07");
    for settings in [site.settings(), set] {
        let served = HttpServer::new(&with_tokens(&settings)).await;
        for line in of_one() {
            assert_is_of_one(&served, &line).await;
        }
    }
}

async fn assert_is_of_one(served: &HttpServer, line: &str) {
    let (status, text) = ask(served, line, BOB).await;
    if OPEN.contains(&line) {
        assert_eq!(status, 200, "{line}");
    } else {
        assert_eq!(status, 404, "{line}: {text}");
        assert!(
            text.contains("TENANT_UNKNOWN") && !text.contains("Acme"),
            "{line}: {text}"
        );
    }
    let (status, text) = ask(served, line, ANN).await;
    let is_refused = text.contains(r#""code":"TENANT_UNKNOWN""#);
    assert!(status != 403 && !is_refused, "{line}: {text}");
}

#[tokio::test]
async fn a_token_of_a_tenant_is_refused_while_nobody_knows_whose_the_meters_are() {
    let site = Site::new().await;
    site.on_local("delete from tenant").await;
    let served = HttpServer::new(&with_tokens(&site.settings())).await;
    let (status, text) = ask(&served, "GET /api/v1/status", ANN).await;
    assert!(
        status == 503 && text.contains("TENANT_NOT_CONFIGURED"),
        "{text}"
    );
    assert_eq!(ask(&served, "GET /api/v1/status", ROOT).await.0, 200);
}
