//! Who is let in: Host, Origin, tokens, methods and sizes, on every route there is and on none.

use meter_sync::config::{CommandLineSettings, Setting};
use serde_json::json;

use super::{STATUS, TRIGGER};
use crate::support::http_server::{HttpServer, answer, ends, send};
use crate::support::program::{self, RunningProgram};
use crate::support::run_hold;
use crate::support::site::{Site, rows};

const EVERY_ROUTE: [&str; 12] = [
    "GET /livez",
    "GET /metrics",
    "GET /readyz",
    STATUS,
    TRIGGER,
    "GET /mcp",
    "POST /mcp",
    "DELETE /mcp",
    "GET /sse",
    "POST /messages",
    "GET /",
    "PUT /no/such/route",
];

#[tokio::test]
async fn a_host_that_is_let_in_without_tokens_is_warned_of() {
    let site = Site::new().await;
    for (tokens, is_warned) in [("", true), ("read:0123456789abcdef", false)] {
        let more = [
            (Setting::AllowedHosts, "meters.example.com"),
            (Setting::Tokens, tokens),
        ];
        let (program, _) = RunningProgram::serve(program::over(&site, &["serve"], &more)).await;
        let told = program.whole_stderr().await;
        let warned = told.contains("METER_SYNC_ALLOWED_HOSTS names a host");
        assert_eq!(warned, is_warned, "{told}");
    }
}

const READ: &str = "0123456789abcdef";
const OPERATE: &str = "fedcba9876543210";

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_everywhere_and_nothing_runs() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    for line in EVERY_ROUTE {
        for host in [
            "evil.example",
            "evil.example:80",
            "localhost.evil.example",
            "192.0.2.1",
        ] {
            let (status, body) = answer(served.request(line).header("host", host)).await;
            assert_eq!(
                (status, &body["code"]),
                (403, &json!("HOST_NOT_ALLOWED")),
                "{line} {host}"
            );
        }
        for origin in [
            "https://evil.example",
            "null",
            "http://192.0.2.1",
            "file://",
        ] {
            let (status, body) = answer(served.request(line).header("origin", origin)).await;
            assert_eq!(
                (status, &body["code"]),
                (403, &json!("ORIGIN_NOT_ALLOWED")),
                "{line} {origin}"
            );
        }
    }
    assert!(!log_exists(&site).await);
}

async fn log_exists(site: &Site) -> bool {
    let log = "select to_regclass('meter_sync.meter_sync_log') is not null as there";
    rows(&site.local, log).await[0]["there"] == json!(true)
}

#[tokio::test]
async fn its_own_page_and_a_named_host_are_let_in() {
    let site = Site::new().await;
    let settings = site
        .settings()
        .with(Setting::AllowedHosts, "meters.example");
    let served = HttpServer::new(&settings).await;
    let own = format!("http://{}", served.address);
    for (host, origin) in [
        (served.address.as_str(), own.as_str()),
        ("localhost", "http://localhost:8765"),
        ("meters.example", "https://meters.example"),
    ] {
        let request = served
            .request(STATUS)
            .header("host", host)
            .header("origin", origin);
        assert_eq!(answer(request).await.0, 200, "{host} {origin}");
    }
}

#[tokio::test]
async fn with_tokens_each_route_but_the_health_checks_asks_for_one() {
    let site = Site::new().await;
    let tokens = format!("read:{READ},trigger:{OPERATE}");
    let served = HttpServer::new(&site.settings().with(Setting::Tokens, tokens)).await;
    for line in EVERY_ROUTE {
        let bare = send(served.request(line)).await;
        let open = ["GET /livez", "GET /readyz"].contains(&line);
        assert_eq!(bare.status(), if open { 200 } else { 401 }, "{line}");
        assert_eq!(
            bare.headers().contains_key("www-authenticate"),
            !open,
            "{line}"
        );
        let wrong = send(served.request(line).bearer_auth("0123456789abcdeF")).await;
        assert_eq!(wrong.status(), if open { 200 } else { 401 }, "{line}");
    }
    for (token, status, trigger) in [(READ, 200, 403), (OPERATE, 200, 200)] {
        assert_eq!(
            answer(served.request(STATUS).bearer_auth(token)).await.0,
            status
        );
        assert_eq!(
            answer(served.request(TRIGGER).bearer_auth(token)).await.0,
            trigger
        );
    }
    assert_eq!(run_hold::outcomes(&site).await, json!(["no_change"]));
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_without_tokens() {
    let site = Site::new().await;
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:8765"] {
        let refused = program::run(program::over(
            &site,
            &["serve"],
            &[(Setting::Listen, address)],
        ))
        .await;
        assert_eq!(refused.code, 2, "{refused:?}");
        assert_eq!(refused.stdout, "");
        assert!(
            refused.stderr.contains("METER_SYNC_LISTEN"),
            "{}",
            refused.stderr
        );
        assert!(
            refused.stderr.contains("no tokens are set"),
            "{}",
            refused.stderr
        );
        assert!(
            refused.stderr.contains("Set METER_SYNC_TOKENS"),
            "{}",
            refused.stderr
        );
    }
    let tokens = format!("read:{READ}");
    let more = [(Setting::Tokens, tokens.as_str())];
    let mut command = program::over(&site, &["serve", "--listen", "0.0.0.0:0"], &more);
    command.stdin(std::process::Stdio::null());
    let (_program, address) = RunningProgram::serve(command).await;
    assert!(address.starts_with("0.0.0.0:"), "{address}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    let taken = [(Setting::Listen, served.address.as_str())];
    let refused = program::run(program::over(&site, &["serve"], &taken)).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    let (_, port) = served.address.rsplit_once(':').expect("a port");
    let told = format!("Port {port} on 127.0.0.1 is in use.");
    assert!(refused.stderr.contains(&told), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("Set METER_SYNC_LISTEN"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn a_wrong_method_or_route_is_a_problem_that_names_the_way() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    for (line, status, code) in [
        (
            "GET /api/local/meter-sync-trigger",
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            "POST /api/local/meter-sync-status",
            405,
            "METHOD_NOT_ALLOWED",
        ),
        ("DELETE /livez", 405, "METHOD_NOT_ALLOWED"),
        ("GET /api/local/meter-sync-statis", 404, "NOT_FOUND"),
        ("GET /api/local/meter-sync-status/", 404, "NOT_FOUND"),
        ("GET /no/such/page", 404, "NOT_FOUND"),
    ] {
        let response = send(served.request(line)).await;
        assert_eq!(response.status(), status, "{line}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json",
            "{line}"
        );
        assert_eq!(
            response.headers().contains_key("allow"),
            status == 405,
            "{line}"
        );
        let body: serde_json::Value = response.json().await.expect("JSON");
        assert_eq!(
            (&body["code"], &body["status"]),
            (&json!(code), &json!(status)),
            "{line}"
        );
        assert!(body["remedy"].is_string(), "{line}");
    }
    assert!(!log_exists(&site).await);
}

#[tokio::test]
async fn a_body_too_long_is_refused_whether_announced_or_not() {
    let site = Site::new().await;
    let served = HttpServer::new(&site.settings()).await;
    let long = vec![b' '; 1024 * 1024 + 1];
    for line in [
        TRIGGER,
        "POST /mcp",
        "POST /messages",
        "POST /no/such/route",
    ] {
        let announced = send(served.request(line).body(long.clone())).await;
        assert_eq!(announced.status(), 413, "{line}");
    }
    let pieces = long
        .chunks(64 * 1024)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()));
    let pieces: Vec<_> = pieces.collect();
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let request = served
        .request("POST /mcp")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    assert_eq!(send(request.body(body)).await.status(), 413);
    assert!(!log_exists(&site).await);
}

/// A file of tokens in a directory of its own.
struct TokenFile(tempfile::TempDir);

impl TokenFile {
    fn new(text: &str) -> Self {
        let file = Self(tempfile::tempdir().expect("a directory"));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        let new = self.0.path().join("new");
        std::fs::write(&new, text).expect("write the tokens");
        std::fs::rename(new, self.0.path().join("tokens")).expect("put them in place");
    }

    /// The settings of a site with these tokens.
    fn settings(&self, site: &Site) -> CommandLineSettings {
        let path = self.0.path().join("tokens");
        let settings = site.settings();
        settings.with(Setting::TokensFile, path.display().to_string())
    }
}

#[tokio::test]
async fn streams_end_with_the_token_that_opened_them_and_others_go_on() {
    let site = Site::new().await;
    let file = TokenFile::new("read:0123456789abcdef\nread:fedcba9876543210\n");
    let served = HttpServer::new(&file.settings(&site)).await;
    let open = async |line: &str, token: &str| {
        let asked = served.request(line).bearer_auth(token);
        let mut stream = send(asked.header("accept", "text/event-stream")).await;
        assert_eq!(stream.status(), 200, "{line}");
        stream.chunk().await.expect("a stream").expect("an event");
        stream
    };
    let mut removed = Vec::new();
    for line in ["GET /api/v1/events", "GET /sse"] {
        removed.push(open(line, "0123456789abcdef").await);
    }
    let mut kept = open("GET /api/v1/events", "fedcba9876543210").await;
    file.write("read:fedcba9876543210\n");
    for mut stream in removed {
        ends(&mut stream).await;
    }
    // The heartbeat comes after 15 seconds.
    kept.chunk().await.expect("a stream").expect("an event");
}

#[tokio::test]
async fn tokens_of_a_file_count_as_the_file_says_now() {
    let site = Site::new().await;
    let file = TokenFile::new("read:0123456789abcdef\n");
    let served = HttpServer::new(&file.settings(&site)).await;
    let status = async |token: &str| {
        let asked = served.request("GET /api/v1/status").bearer_auth(token);
        send(asked).await.status().as_u16()
    };
    assert_eq!(status("0123456789abcdef").await, 200);
    file.write("# the new one\n");
    assert_eq!(
        status("0123456789abcdef").await,
        200,
        "what is no token changes nothing"
    );
    file.write("");
    assert_eq!(
        status("0123456789abcdef").await,
        200,
        "no tokens are not all open"
    );
    file.write("read:fedcba9876543210\n");
    assert_eq!(status("0123456789abcdef").await, 401);
    assert_eq!(status("fedcba9876543210").await, 200);
    let none = served.request("GET /api/v1/status");
    assert_eq!(send(none).await.status(), 401);
}
