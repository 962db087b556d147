//! An authorization server's part that matters here: keys, their public half, and signed tokens. It is made with
//! `ring` alone, so that it shares no code with what checks the tokens.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

pub(super) const ISSUER: &str = "https://login.example.com/realms/site";
pub(super) const AUDIENCE: &str = "https://meters.example.com/mcp";

/// A key pair and how it signs.
pub(super) enum Signer {
    Rsa(Box<RsaKeyPair>, &'static str),
    Ecdsa(EcdsaKeyPair, &'static str),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    /// RSA with `RS256` or `PS256`; always the same key.
    pub(super) fn rsa(algorithm: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/oauth/rsa.pem");
        let der = PrivatePkcs8KeyDer::from_pem_file(path).expect("a key");
        let pair = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).expect("a key");
        Self::Rsa(Box::new(pair), algorithm)
    }

    /// A new key for `ES256` or `ES384`.
    pub(super) fn ecdsa(algorithm: &'static str) -> Self {
        let random = SystemRandom::new();
        let kind = match algorithm {
            "ES256" => &ECDSA_P256_SHA256_FIXED_SIGNING,
            _ => &ECDSA_P384_SHA384_FIXED_SIGNING,
        };
        let der = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(kind, der.as_ref(), &random);
        Self::Ecdsa(pair.expect("a key"), algorithm)
    }

    /// A new key for `EdDSA`.
    pub(super) fn ed25519() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(der.as_ref()).expect("a key"))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_, algorithm) | Self::Ecdsa(_, algorithm) => algorithm,
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair, algorithm) => {
                let encoding: &dyn RsaEncoding = match *algorithm {
                    "RS256" => &RSA_PKCS1_SHA256,
                    _ => &RSA_PSS_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(encoding, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Self::Ecdsa(pair, _) => pair
                .sign(&random, message)
                .expect("a signature")
                .as_ref()
                .to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The public key as a set has it.
    pub(super) fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair, _) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": text(&public.n), "e": text(&public.e)})
            }
            Self::Ecdsa(pair, _) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "kid": id, "crv": curve, "x": text(x), "y": text(y)})
            }
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "kid": id, "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
        }
    }

    /// A token that counts, as far as its claims do; its header names the key.
    pub(super) fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "at+jwt", "kid": id});
        self.token_with(&header, claims)
    }

    /// The same with a header of the test's own.
    pub(super) fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = text(&self.sign(message.as_bytes()));
        format!("{message}.{signature}")
    }
}

/// Claims that count, with these scopes.
pub(super) fn claims(scope: &str) -> Value {
    let now = meter_sync::machine_clock::now().timestamp();
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "ann@example.com", "client_id": "assistant", "jti": "1",
        "iat": now, "exp": now + 300, "scope": scope})
}

/// Claims that count, but for these; null takes one away.
pub(super) fn claims_but(others: &Value) -> Value {
    let mut claims = claims("meter-sync:trigger");
    let all = claims.as_object_mut().expect("claims");
    for (name, value) in others.as_object().expect("claims") {
        all.insert(name.clone(), value.clone());
    }
    all.retain(|_, value| !value.is_null());
    claims
}

/// Header and claims as they are signed.
pub(super) fn message(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        text(header.to_string().as_bytes()),
        text(claims.to_string().as_bytes())
    )
}

/// A token signed with a shared secret.
pub(super) fn shared_secret_token(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = text(hmac::sign(&key, message.as_bytes()).as_ref());
    format!("{message}.{signature}")
}

/// The set of these keys.
pub(super) fn key_set(keys: &[(&str, &Signer)]) -> String {
    let keys: Vec<_> = keys.iter().map(|(id, signer)| signer.jwk(id)).collect();
    json!({"keys": keys}).to_string()
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
