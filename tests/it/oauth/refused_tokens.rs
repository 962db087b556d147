//! Tokens that are refused.

use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::callers::key_file;
use super::issuer::{AUDIENCE, ISSUER, Signer, claims, claims_but, message, shared_secret_token};
use super::{METADATA, STATUS, ask, challenge, settings, status};
use crate::support::http_server::HttpServer;
use crate::support::site::Site;

/// A server, and the file of its keys, which is there for as long.
async fn served(site: &Site, keys: &[(&str, &Signer)]) -> (HttpServer, NamedTempFile) {
    let file = key_file(keys);
    let settings = settings(site, file.path().to_str().expect("a path"));
    (HttpServer::new(&settings).await, file)
}

async fn assert_refused(served: &HttpServer, what: &str, token: &str) {
    let refused = ask(served, STATUS, token).await;
    assert_eq!(refused.status(), 401, "{what}");
    let told = challenge(&refused);
    assert!(told.contains(r#"error="invalid_token""#), "{what}: {told}");
    assert!(
        told.contains(&format!(r#"resource_metadata="{METADATA}""#)),
        "{what}: {told}"
    );
}

#[tokio::test]
async fn claims_that_are_not_for_here_and_now_are_refused() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let (served, _file) = served(&site, &[("1", &signer)]).await;
    let now = meter_sync::machine_clock::now().timestamp();
    for refused in [
        json!({"iss": "https://login.example.com"}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"iss": [ISSUER]}),
        json!({"iss": null}),
        json!({"aud": "https://meters.example.com"}),
        json!({"aud": ["https://other.example.com", "meters.example.com"]}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"exp": now - 60}),
        json!({"exp": null}),
        json!({"exp": "soon"}),
        json!({"nbf": now + 60}),
        json!({"nbf": "soon"}),
        json!({"sub": null, "client_id": null}),
        json!({"sub": {"a": 1}}),
        json!({"scope": ["meter-sync:trigger"]}),
    ] {
        let token = signer.token("1", &claims_but(&refused));
        assert_refused(&served, &refused.to_string(), &token).await;
    }
    for taken in [
        json!({"aud": ["https://other.example.com", AUDIENCE]}),
        json!({"exp": now - 10}),
        json!({"nbf": now + 10}),
        json!({"nbf": now - 10, "iat": now + 1000}),
    ] {
        let token = signer.token("1", &claims_but(&taken));
        assert_eq!(status(&served, STATUS, &token).await, 200, "{taken}");
    }
}

#[tokio::test]
async fn signatures_of_other_keys_are_refused() {
    let site = Site::new().await;
    let (rsa, ed, other) = (Signer::rsa("RS256"), Signer::ed25519(), Signer::ed25519());
    let (served, _file) = served(&site, &[("rsa", &rsa), ("ed", &ed)]).await;
    let good = claims("meter-sync:trigger");
    let brought = json!({"alg": "EdDSA", "jwk": other.jwk("2")});
    for (what, token) in [
        ("another key", other.token("ed", &good)),
        ("an unknown key", other.token("2", &good)),
        ("a key by the id of another", ed.token("rsa", &good)),
        (
            "a key that the header brings",
            other.token_with(&brought, &good),
        ),
    ] {
        assert_refused(&served, what, &token).await;
    }
    let unnamed = ed.token_with(&json!({"alg": "EdDSA"}), &good);
    let status = status(&served, STATUS, &unnamed).await;
    assert_eq!(status, 200, "the only key of its kind");
}

#[tokio::test]
async fn a_token_without_a_signature_by_a_private_key_is_refused() {
    let site = Site::new().await;
    let (rsa, ed) = (Signer::rsa("RS256"), Signer::ed25519());
    let (served, _file) = served(&site, &[("rsa", &rsa), ("ed", &ed)]).await;
    let good = claims("meter-sync:trigger");
    let token = ed.token("ed", &good);
    let (head, signature) = token.rsplit_once('.').expect("a signature");
    for algorithm in ["none", "NONE", ""] {
        let none = message(&json!({"alg": algorithm, "kid": "ed"}), &good);
        assert_refused(&served, algorithm, &format!("{none}.")).await;
        assert_refused(&served, algorithm, &format!("{none}.{signature}")).await;
    }
    let root = claims_but(&json!({"sub": "root"}));
    let forged = message(&json!({"alg": "EdDSA", "kid": "ed"}), &root);
    for signed in ["", &signature[..43], signature] {
        assert_refused(&served, "other claims", &format!("{forged}.{signed}")).await;
    }
    assert_refused(&served, "no signature", &format!("{head}.")).await;
    // What is public may be known to whoever forges.
    let public = rsa.jwk("rsa");
    let header = json!({"alg": "HS256", "typ": "at+jwt", "kid": "rsa"});
    for secret in [
        public["n"].as_str().expect("a modulus"),
        &public.to_string(),
    ] {
        let shared = shared_secret_token(secret.as_bytes(), &header, &good);
        assert_refused(&served, "a public key as a shared secret", &shared).await;
    }
}

#[tokio::test]
async fn tokens_of_other_types_and_shapes_are_refused() {
    let site = Site::new().await;
    let ed = Signer::ed25519();
    let (served, _file) = served(&site, &[("ed", &ed)]).await;
    let good = claims("meter-sync:trigger");
    let with = |name: &str, value: Value| {
        let mut header = json!({"alg": "EdDSA", "kid": "ed"});
        header[name] = value;
        ed.token_with(&header, &good)
    };
    let long = claims_but(&json!({"more": "x".repeat(20_000)}));
    for (what, token) in [
        ("words", "a.b.c".to_owned()),
        ("nothing", "..".to_owned()),
        ("four parts", format!("{}.x", ed.token("ed", &good))),
        ("a long token", ed.token("ed", &long)),
        ("of another type", with("typ", json!("logout+jwt"))),
        ("an extension", with("crit", json!(["exp"]))),
    ] {
        assert_refused(&served, what, &token).await;
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "JWT"] {
        let token = with("typ", json!(typ));
        assert_eq!(status(&served, STATUS, &token).await, 200, "{typ}");
    }
    let untyped = with("more", json!(1));
    assert_eq!(status(&served, STATUS, &untyped).await, 200);
}

#[tokio::test]
async fn an_expired_token_says_so_and_shows_nothing_of_itself() {
    let site = Site::new().await;
    let signer = Signer::ed25519();
    let (served, _file) = served(&site, &[("1", &signer)]).await;
    let token = signer.token("1", &claims_but(&json!({"exp": 1})));
    let body: Value = ask(&served, STATUS, &token)
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(body["code"], "TOKEN_INVALID");
    assert_eq!(body["detail"], "The access token has expired.");
    assert!(!body.to_string().contains("ann"), "{body}");
}
