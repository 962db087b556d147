//! Tests which requests pass the checks and which are refused.

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::routing::{any, get};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::*;
use crate::config::{CommandLineSettings, Config, Environment};

const EVERY_ROUTE: [&str; 5] = [
    "GET /livez",
    "POST /status",
    "POST /mcp",
    "GET /nowhere",
    "PUT /livez",
];

async fn shown_token(request: Request) -> &'static str {
    match request.extensions().get::<Token>() {
        Some(token) if token.may_trigger => "trigger",
        Some(_) => "read",
        None => "none",
    }
}

/// Returns routes with trivial handlers behind the request checks. Each of `tokens` is a secret and whether it allows
/// starting syncs.
fn routes(tokens: &[(&str, bool)]) -> Router {
    let routes = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/status", get(async || "ok").post(async || "ok"))
        .route("/mcp", any(shown_token))
        .fallback(async || RequestError::NotFound)
        .method_not_allowed_fallback(async || RequestError::MethodNotAllowed);
    let tokens = tokens
        .iter()
        .map(|(secret, may_trigger)| Token::new((*secret).to_owned(), *may_trigger));
    let pages = PagePaths {
        sign_in: "/sign-in",
        sign_out: "/sign-out",
        assets: "/assets/",
        is_page: |path| path == "/",
        is_form: |path| ["/sync", "/sign-in"].contains(&path),
        is_read_only_form: |_| false,
    };
    let config = Config::load_from(&CommandLineSettings::default(), &Environment::default());
    let mirrors = Mirrors::new(config.expect("settings"), TaskTracker::new());
    let guards = RequestGuards {
        mirrors: mirrors.expect("no pools"),
        pages,
        hosts: HostAllowlist::new("127.0.0.1:8765".parse().expect("an address"), &[]),
        tokens: Tokens::new(tokens.collect()),
        oauth: None,
        read_only: false,
    };
    guard(routes, guards)
}

async fn ask(routes: &Router, line: &str, headers: &[(&str, &str)]) -> Response {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    routes.clone().oneshot(request).await.expect("infallible")
}

async fn body(response: Response) -> Bytes {
    let body = axum::body::to_bytes(response.into_body(), 10_000).await;
    body.expect("a body")
}

async fn code(response: Response) -> String {
    assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    let problem: serde_json::Value = serde_json::from_slice(&body(response).await).expect("JSON");
    assert!(problem["remedy"].is_string());
    problem["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn a_foreign_host_is_refused_on_every_route_even_on_none() {
    let routes = routes(&[]);
    for line in EVERY_ROUTE {
        let response = ask(&routes, line, &[("host", "evil.example")]).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{line}");
        assert_eq!(code(response).await, "HOST_NOT_ALLOWED", "{line}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_may_lead_here_and_do_nothing_else() {
    let routes = routes(&[]);
    let from = |site: &'static str, mode: &'static str, dest: &'static str| {
        [
            ("host", "localhost"),
            ("sec-fetch-site", site),
            ("sec-fetch-mode", mode),
            ("sec-fetch-dest", dest),
        ]
    };
    for (line, mode, dest) in [
        ("GET /status", "no-cors", "image"),
        ("GET /status", "navigate", "iframe"),
        ("POST /status", "navigate", "document"),
        ("POST /mcp", "cors", "empty"),
        ("GET /livez", "no-cors", "script"),
    ] {
        let refused = ask(&routes, line, &from("cross-site", mode, dest)).await;
        assert_eq!(
            code(refused).await,
            "ORIGIN_NOT_ALLOWED",
            "{line} {mode} {dest}"
        );
        for site in ["same-origin", "none"] {
            let taken = ask(&routes, line, &from(site, mode, dest)).await;
            assert_eq!(taken.status(), StatusCode::OK, "{line} {site}");
        }
    }
    let led = ask(
        &routes,
        "GET /status",
        &from("cross-site", "navigate", "document"),
    )
    .await;
    assert_eq!(led.status(), StatusCode::OK);
}

#[tokio::test]
async fn no_host_and_two_hosts_are_refused() {
    let twice = [("host", "localhost"), ("host", "localhost")];
    for headers in [&[][..], &twice] {
        let response = ask(&routes(&[]), "GET /livez", headers).await;
        assert_eq!(code(response).await, "HOST_NOT_ALLOWED", "{headers:?}");
    }
}

#[tokio::test]
async fn a_foreign_name_in_the_request_line_is_refused() {
    let response = ask(
        &routes(&[]),
        "GET http://evil.example/livez",
        &[("host", "localhost")],
    )
    .await;
    assert_eq!(code(response).await, "HOST_NOT_ALLOWED");
}

#[tokio::test]
async fn a_foreign_origin_is_refused_on_every_route_even_on_none() {
    let routes = routes(&[]);
    for line in EVERY_ROUTE {
        let headers = [("host", "localhost"), ("origin", "http://evil.example")];
        let response = ask(&routes, line, &headers).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{line}");
        assert_eq!(code(response).await, "ORIGIN_NOT_ALLOWED", "{line}");
    }
    let own = [("host", "localhost"), ("origin", "http://localhost:8765")];
    assert_eq!(
        ask(&routes, "GET /livez", &own).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_unknown_route_and_a_wrong_method_are_problems_too() {
    let routes = routes(&[]);
    let host = [("host", "localhost")];
    let unknown = ask(&routes, "GET /nowhere", &host).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    assert_eq!(code(unknown).await, "NOT_FOUND");
    let wrong = ask(&routes, "DELETE /status", &host).await;
    assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(wrong.headers()["allow"], "GET,HEAD,POST");
    assert_eq!(code(wrong).await, "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn a_page_of_another_port_changes_nothing_with_or_without_tokens() {
    let other = ("origin", "http://localhost:3000");
    let own = ("origin", "http://localhost:8765");
    let host = ("host", "localhost:8765");
    for tokens in [&[][..], &[("t", true)][..]] {
        let routes = routes(tokens);
        let refused = ask(&routes, "POST /status", &[host, other]).await;
        assert_eq!(code(refused).await, "ORIGIN_NOT_OWN");
        let bearer = ("authorization", "Bearer t");
        let shown = ask(&routes, "POST /status", &[host, other, bearer]).await;
        assert_eq!(
            shown.status(),
            StatusCode::OK,
            "a token is shown on purpose"
        );
    }
    let asked = ask(&routes(&[]), "POST /status", &[host, own]).await;
    assert_eq!(asked.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_body_announced_too_long_is_refused_unread() {
    let headers = [("host", "localhost"), ("content-length", "1048577")];
    let response = ask(&routes(&[]), "POST /status", &headers).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn with_tokens_set_only_the_health_checks_are_open() {
    let routes = routes(&[("r", false), ("t", true)]);
    let host = [("host", "localhost")];
    assert_eq!(
        ask(&routes, "GET /livez", &host).await.status(),
        StatusCode::OK
    );
    for line in ["GET /status", "POST /mcp", "GET /nowhere"] {
        let missing = ask(&routes, line, &host).await;
        assert_eq!(missing.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            missing.headers()[WWW_AUTHENTICATE],
            r#"Bearer realm="meter-sync""#
        );
        assert_eq!(code(missing).await, "TOKEN_MISSING");
    }
}

#[tokio::test]
async fn a_token_that_is_none_of_ours_is_refused() {
    let routes = routes(&[("r", false), ("t", true)]);
    for value in ["Bearer x", "Bearer ", "Bearer rt", "Bearer R"] {
        let headers = [("host", "localhost"), ("authorization", value)];
        let wrong = ask(&routes, "GET /status", &headers).await;
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED, "{value}");
        assert_eq!(code(wrong).await, "TOKEN_UNKNOWN", "{value}");
    }
}

#[tokio::test]
async fn a_read_token_reads_but_does_not_change() {
    let routes = routes(&[("r", false), ("t", true)]);
    let read = [("host", "localhost"), ("authorization", "Bearer r")];
    assert_eq!(
        ask(&routes, "GET /status", &read).await.status(),
        StatusCode::OK
    );
    let refused = ask(&routes, "POST /status", &read).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(code(refused).await, "READ_ONLY");
    let trigger = [("host", "localhost"), ("authorization", "bearer t")];
    assert_eq!(
        ask(&routes, "POST /status", &trigger).await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn the_mcp_endpoint_learns_which_token_was_shown() {
    let routes = routes(&[("r", false), ("t", true)]);
    for (value, expected) in [("Bearer r", "read"), ("Bearer t", "trigger")] {
        let headers = [("host", "localhost"), ("authorization", value)];
        let response = ask(&routes, "POST /mcp", &headers).await;
        assert_eq!(body(response).await, expected);
    }
}
