//! Who is let in, what they may do, and how they are called.

use meter_sync::config::Setting;
use serde_json::{Value, json};

use super::issuer::{Signer, claims, claims_but, key_set};
use super::{METADATA, STATUS, SYNC, ask, challenge, settings, status};
use crate::support::http_server::{HttpServer, answer, ends, send};
use crate::support::program::{self, RunningProgram};
use crate::support::site::{Site, rows};
use crate::support::wait;

/// A file with the keys of these signers.
pub(super) fn key_file(keys: &[(&str, &Signer)]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), key_set(keys)).expect("write the keys");
    file
}

#[tokio::test]
async fn a_token_of_each_kind_of_key_reads_and_triggers_by_its_scope() {
    let site = Site::new().await;
    let signers = [
        ("rs", Signer::rsa("RS256")),
        ("ps", Signer::rsa("PS256")),
        ("es", Signer::ecdsa("ES256")),
        ("es3", Signer::ecdsa("ES384")),
        ("ed", Signer::ed25519()),
    ];
    let keys: Vec<_> = signers.iter().map(|(id, signer)| (*id, signer)).collect();
    let file = key_file(&keys);
    let served = HttpServer::new(&settings(&site, file.path().to_str().expect("a path"))).await;
    for (id, signer) in &signers {
        for (scope, read, trigger) in [
            ("meter-sync:read", 200, 403),
            ("openid meter-sync:trigger", 200, 202),
            ("meter-sync:read meter-sync:trigger", 200, 202),
            ("openid profile", 403, 403),
        ] {
            let token = signer.token(id, &claims(scope));
            assert_eq!(status(&served, STATUS, &token).await, read, "{id} {scope}");
            // Another run may still be on its way.
            let triggered = status(&served, SYNC, &token).await;
            let is_right = triggered == trigger || trigger == 202 && triggered == 409;
            assert!(is_right, "{id} {scope}: {triggered}");
        }
    }
}

#[tokio::test]
async fn what_a_caller_lacks_is_told_as_rfc_6750_and_rfc_9728_say() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let file = key_file(&[("1", &signer)]);
    let settings = settings(&site, file.path().to_str().expect("a path"));
    let served = HttpServer::new(&settings).await;
    let metadata = format!(r#"resource_metadata="{METADATA}""#);
    let (read, both) = (
        r#"scope="meter-sync:read""#,
        r#"scope="meter-sync:read meter-sync:trigger""#,
    );
    for (line, scope) in [
        (STATUS, read),
        (SYNC, both),
        ("POST /mcp", both),
        ("GET /sse", both),
    ] {
        let bare = send(served.request(line)).await;
        assert_eq!(bare.status(), 401, "{line}");
        let told = format!(r#"Bearer realm="meter-sync", {scope}, {metadata}"#);
        assert_eq!(challenge(&bare), told, "{line}");
    }
    let read_only = settings.clone().with(Setting::ReadOnly, "true");
    let bare = send(HttpServer::new(&read_only).await.request("POST /mcp")).await;
    let told = challenge(&bare);
    assert!(told.contains(read), "a process that only reads: {told}");
    let reads = signer.token("1", &claims("meter-sync:read"));
    let nothing = signer.token("1", &claims_but(&json!({"scope": null})));
    for (line, token, code, scope) in [
        (SYNC, &reads, "READ_ONLY", both),
        (SYNC, &nothing, "SCOPE_MISSING", both),
        (STATUS, &nothing, "SCOPE_MISSING", read),
    ] {
        let refused = ask(&served, line, token).await;
        assert_eq!(refused.status(), 403, "{line}");
        let told = format!(
            r#"Bearer realm="meter-sync", error="insufficient_scope", {scope}, {metadata}"#
        );
        assert_eq!(challenge(&refused), told, "{line}");
        let body: Value = refused.json().await.expect("JSON");
        assert_eq!(body["code"], code, "{body}");
    }
}

#[tokio::test]
async fn the_subject_is_who_asked_in_the_log() {
    let site = Site::new().await;
    let signer = Signer::ecdsa("ES256");
    let file = key_file(&[("1", &signer)]);
    let served = HttpServer::new(&settings(&site, file.path().to_str().expect("a path"))).await;
    for (claims, actor) in [
        (json!({}), "ann@example.com"),
        (json!({"sub": null}), "assistant"),
        (json!({"sub": "evil\u{202e}\n"}), "evil[202E]↵"),
    ] {
        let token = signer.token("1", &claims_but(&claims));
        let sync = served
            .request("POST /api/v1/sync")
            .header("prefer", "wait=30");
        let (code, report) = answer(sync.bearer_auth(&token)).await;
        assert_eq!(code, 200, "{report}");
        let logged = format!(
            "select actor from meter_sync.meter_sync_log where id = '{}'",
            report["run_id"].as_str().expect("an id")
        );
        assert_eq!(rows(&site.local, &logged).await, json!([{"actor": actor}]));
    }
}

#[tokio::test]
async fn static_tokens_count_beside_and_the_page_signs_in_with_these_only() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let file = key_file(&[("1", &signer)]);
    let settings = settings(&site, file.path().to_str().expect("a path"));
    let settings = settings.with(Setting::Tokens, "trigger:bob:0123.456789.abcdef");
    let served = HttpServer::new(&settings).await;
    let token = signer.token("1", &claims("meter-sync:trigger"));
    assert_eq!(status(&served, STATUS, "0123.456789.abcdef").await, 200);
    assert_eq!(status(&served, STATUS, "0123456789abcdef").await, 401);
    assert_eq!(status(&served, STATUS, &token).await, 200);
    assert_eq!(
        status(&served, "GET /", &token).await,
        200,
        "a program may read the page"
    );
    let own = format!("http://{}", served.address);
    let sign_in = |token: &str| {
        let form = served.request("POST /sign-in").header("origin", &own);
        form.header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"))
    };
    assert_eq!(send(sign_in(&token)).await.status(), 401);
    let cookie = format!("meter_sync_session={token}");
    let by_cookie = served.request(STATUS).header("cookie", cookie);
    assert_eq!(send(by_cookie).await.status(), 401);
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_served_without_static_tokens() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let file = key_file(&[("1", &signer)]);
    let more = [
        (Setting::OauthIssuer, super::ISSUER),
        (Setting::OauthAudience, super::AUDIENCE),
        (Setting::OauthJwks, file.path().to_str().expect("a path")),
        (Setting::AllowedHosts, "meters.example.com"),
    ];
    let command = program::over(&site, &["serve", "--listen", "0.0.0.0:0"], &more);
    let (program, _) = RunningProgram::serve(command).await;
    let told = program.whole_stderr().await;
    assert!(!told.contains("no tokens are set"), "{told}");
}

/// Whatever becomes of a token, and however much is logged.
#[tokio::test]
async fn a_stream_ends_when_its_access_token_expires() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let file = key_file(&[("1", &signer)]);
    let served = HttpServer::new(&settings(&site, file.path().to_str().expect("a path"))).await;
    // It counts for 5 seconds more, as clocks may be 30 seconds apart.
    let end = meter_sync::machine_clock::now().timestamp() - 25;
    let token = signer.token("1", &claims_but(&json!({"exp": end})));
    let mut stream = ask(&served, "GET /api/v1/events", &token).await;
    assert_eq!(stream.status(), 200);
    stream.chunk().await.expect("a stream").expect("an event");
    ends(&mut stream).await;
}

#[tokio::test]
async fn no_log_holds_a_token() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let file = key_file(&[("1", &signer)]);
    let more = [
        (Setting::OauthIssuer, super::ISSUER),
        (Setting::OauthAudience, super::AUDIENCE),
        (Setting::OauthJwks, file.path().to_str().expect("a path")),
        (Setting::Log, "trace"),
    ];
    let (program, address) = RunningProgram::serve(program::over(&site, &["serve"], &more)).await;
    let good = signer.token("1", &claims("meter-sync:trigger"));
    let expired = signer.token("1", &claims_but(&json!({"exp": 1})));
    let odd = signer.token("1", &claims_but(&json!({"sub": 7, "scope": ["hunter2"]})));
    let client = reqwest::Client::new();
    for (token, code) in [
        (&good, 200),
        (&expired, 401),
        (&odd, 401),
        (&format!("{good}x"), 401),
    ] {
        let asked = client
            .get(format!("http://{address}/api/v1/status"))
            .bearer_auth(token);
        assert_eq!(send(asked).await.status(), code);
    }
    let refusals = || program.stderr().matches("refused an HTTP request").count();
    wait::until("the refusals are logged", async || refusals() == 3).await;
    let log = program.whole_stderr().await;
    for token in [&good, &expired, &odd] {
        let parts = token.split('.').skip(1);
        for secret in parts.chain(["hunter2"]) {
            assert!(!log.contains(secret), "{secret} in {log}");
        }
    }
}
