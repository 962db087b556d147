//! Keys at a URL, which is asked rarely, whoever asks us.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use futures_util::future::join_all;
use meter_sync::config::Setting;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::issuer::{AUDIENCE, ISSUER, Signer, claims, key_set};
use super::key_server::{Behaviour, KeyServer};
use super::{STATUS, ask, settings, status};
use crate::support::http_server::{HttpServer, answer, send};
use crate::support::program::{self, RunningProgram};
use crate::support::site::Site;
use crate::support::wait;

#[tokio::test]
async fn keys_are_fetched_once_for_all_and_again_for_a_new_key() {
    let site = Site::new().await;
    let (old, new) = (Signer::ed25519(), Signer::ed25519());
    let keys = KeyServer::new(Behaviour::Gives(key_set(&[("old", &old)]))).await;
    let served = HttpServer::new(&settings(&site, &keys.url)).await;
    assert_eq!(keys.asked(), 0, "nobody needed them yet");
    let old_token = old.token("old", &claims("meter-sync:read"));
    let at_once = join_all((0..20).map(|_| status(&served, STATUS, &old_token))).await;
    assert_eq!(at_once, [200; 20]);
    assert_eq!(keys.asked(), 1);
    keys.now(Behaviour::Gives(key_set(&[("old", &old), ("new", &new)])));
    let new_token = new.token("new", &claims("meter-sync:read"));
    assert_eq!(status(&served, STATUS, &new_token).await, 200);
    assert_eq!(status(&served, STATUS, &old_token).await, 200);
    assert_eq!(keys.asked(), 2);
}

#[tokio::test]
async fn unknown_keys_make_few_fetches() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let keys = KeyServer::new(Behaviour::Gives(key_set(&[("1", &signer)]))).await;
    let served = HttpServer::new(&settings(&site, &keys.url)).await;
    let asked = (0..100).map(|n| {
        let token = signer.token(&format!("unknown {n}"), &claims("meter-sync:read"));
        let served = &served;
        async move { status(served, STATUS, &token).await }
    });
    assert_eq!(join_all(asked).await, [401; 100]);
    assert!((1..=2).contains(&keys.asked()), "{}", keys.asked());
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_until_they_can_be_read() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let good = key_set(&[("1", &signer)]);
    let token = signer.token("1", &claims("meter-sync:read"));
    for behaviour in [
        Behaviour::Fails(StatusCode::INTERNAL_SERVER_ERROR),
        Behaviour::Gives("no keys".to_owned()),
        Behaviour::Redirects(good.clone()),
        Behaviour::Endless,
    ] {
        let keys = KeyServer::new(behaviour).await;
        let served = HttpServer::new(&settings(&site, &keys.url)).await;
        let (code, body) = answer(served.request(STATUS).bearer_auth(&token)).await;
        assert_eq!(
            (code, &body["code"]),
            (503, &Value::from("KEYS_UNAVAILABLE")),
            "{body}"
        );
        let again = join_all((0..20).map(|_| status(&served, STATUS, &token))).await;
        assert_eq!(again, [503; 20]);
        assert!(keys.asked() <= 2, "{}", keys.asked());
        keys.now(Behaviour::Gives(good.clone()));
        wait::until("the keys are there", async || {
            status(&served, STATUS, &token).await == 200
        })
        .await;
    }
}

#[tokio::test]
async fn a_failing_fetch_keeps_the_former_keys() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let keys = KeyServer::new(Behaviour::Gives(key_set(&[("1", &signer)]))).await;
    let served = HttpServer::new(&settings(&site, &keys.url)).await;
    let known = signer.token("1", &claims("meter-sync:read"));
    let unknown = signer.token("2", &claims("meter-sync:read"));
    assert_eq!(status(&served, STATUS, &known).await, 200);
    keys.now(Behaviour::Fails(StatusCode::BAD_GATEWAY));
    assert_eq!(status(&served, STATUS, &unknown).await, 401);
    assert_eq!(keys.asked(), 2);
    assert_eq!(status(&served, STATUS, &known).await, 200);
}

#[tokio::test]
async fn a_silent_key_server_delays_only_those_who_need_a_new_key() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let keys = KeyServer::new(Behaviour::Gives(key_set(&[("1", &signer)]))).await;
    let settings = settings(&site, &keys.url).with(Setting::Tokens, "read:0123456789abcdef");
    let served = HttpServer::new(&settings).await;
    let known = signer.token("1", &claims("meter-sync:read"));
    let unknown = signer.token("2", &claims("meter-sync:read"));
    assert_eq!(status(&served, STATUS, &known).await, 200);
    keys.now(Behaviour::Hangs);
    let waiting = async {
        let begun = Instant::now();
        let refused = ask(&served, STATUS, &unknown).await;
        (refused.status().as_u16(), begun.elapsed())
    };
    let others = async {
        wait::until("the fetch has begun", async || keys.asked() == 2).await;
        for token in [&known, "0123456789abcdef"] {
            assert_eq!(status(&served, STATUS, token).await, 200);
        }
        Instant::now()
    };
    let begun = Instant::now();
    let ((code, waited), answered) = tokio::join!(waiting, others);
    assert_eq!(code, 401);
    assert!(answered - begun < waited, "the others were answered before");
    assert!(waited < Duration::from_secs(20), "{waited:?}");
}

/// A server with TLS that gives one document to whoever asks; gives the PEM of who issued its certificate, and its port.
async fn tls_server(document: String) -> (String, u16) {
    let key = KeyPair::generate().expect("a key");
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_pem = root.self_signed(&key).expect("a root").pem();
    let issuer = Issuer::new(root, key);
    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned()];
    let certificate = CertificateParams::new(names)
        .expect("a name")
        .signed_by(&key, &issuer);
    let chain = vec![CertificateDer::from(certificate.expect("a certificate"))];
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key.into());
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a configuration")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{document}",
        document.len()
    );
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            stream.read_u8().await.expect("a request");
            stream
                .write_all(answer.as_bytes())
                .await
                .expect("an answer");
            stream.shutdown().await.expect("the end");
        }
    });
    (root_pem, port)
}

#[tokio::test]
async fn keys_come_over_https_from_a_server_that_is_trusted() {
    let site = Site::new().await;
    let signer = Signer::ecdsa("ES384");
    let token = signer.token("1", &claims("meter-sync:read"));
    let (root, port) = tls_server(key_set(&[("1", &signer)])).await;
    let (other_root, _) = tls_server(String::new()).await;
    let url = format!("https://localhost:{port}/keys");
    let more = [
        (Setting::OauthIssuer, ISSUER),
        (Setting::OauthAudience, AUDIENCE),
        (Setting::OauthJwks, url.as_str()),
    ];
    for (root, code) in [(root, 200), (other_root, 503)] {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), root).expect("write the root");
        let mut command = program::over(&site, &["serve"], &more);
        command.env("SSL_CERT_FILE", file.path());
        let (program, address) = RunningProgram::serve(command).await;
        let asked = reqwest::Client::new().get(format!("http://{address}/api/v1/status"));
        let answered = send(asked.bearer_auth(&token)).await.status();
        assert_eq!(answered, code, "{}", program.stderr());
        let cause = "could not be read, so no access token counts: no connection";
        let is_told = async || program.stderr().contains(cause) == (code == 503);
        wait::until("the cause is logged", is_told).await;
    }
}
