//! The keys of a JSON Web Key Set (RFC 7517) that can verify access tokens.

use std::sync::Arc;

use jsonwebtoken::jwk::{Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The keys of a key set that can verify signatures.
#[derive(Debug)]
pub(super) struct KeySet(Vec<Arc<PublicKey>>);

/// One public key of a key set.
#[derive(Debug)]
pub(super) struct PublicKey {
    id: Option<String>,
    /// The only algorithm that the key may be used with; `None` if the key set names none.
    algorithm: Option<Algorithm>,
    public: DecodingKey,
}

/// A key set as JSON, before its keys are checked.
#[derive(Deserialize)]
struct KeySetDocument {
    keys: Vec<Value>,
}

impl KeySet {
    /// Parses a key set. Skips keys of unknown types and keys for another use (RFC 7517, section 5). Returns the reason
    /// as an error if the text is not a key set, or has no usable key.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let Ok(document) = serde_json::from_slice::<KeySetDocument>(text) else {
            return Err("it is no JSON Web Key Set: {\"keys\": [..]}".to_owned());
        };
        let keys: Vec<_> = document
            .keys
            .into_iter()
            .filter_map(PublicKey::read)
            .collect();
        match keys.is_empty() {
            true => Err("it holds no public key that can verify an access token".to_owned()),
            false => Ok(Self(keys.into_iter().map(Arc::new).collect())),
        }
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the key with this id for this algorithm. If `id` is `None`, returns the key for this algorithm if there
    /// is exactly one.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<PublicKey>> {
        let mut fitting = self.0.iter().filter(|key| key.is_for(algorithm));
        let found = match id {
            Some(_) => fitting.find(|key| key.id.as_deref() == id),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        };
        found.cloned()
    }
}

impl PublicKey {
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let is_for_signatures = common
            .public_key_use
            .as_ref()
            .is_none_or(|for_| *for_ == PublicKeyUse::Signature)
            && common
                .key_operations
                .as_ref()
                .is_none_or(|all| all.contains(&KeyOperations::Verify));
        let algorithm = match common.key_algorithm {
            Some(algorithm) => Some(Algorithm::try_from(algorithm).ok()?),
            None => None,
        };
        let public = DecodingKey::from_jwk(&jwk).ok()?;
        let is_usable = is_for_signatures && public.family() != AlgorithmFamily::Hmac;
        is_usable.then(|| Self {
            id: common.key_id.clone(),
            algorithm,
            public,
        })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.public.family() == algorithm.family()
            && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Returns the key as a type of the `jsonwebtoken` crate.
    pub(super) fn public(&self) -> &DecodingKey {
        &self.public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &str = r#"{"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
        {"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": "oaep", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "kid": "signs", "key_ops": ["sign"], "n": "AQAB", "e": "AQAB"},
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
        {"kty": "AKP", "kid": "new", "pub": "AQAB"},
        {"kty": "EC", "crv": "secp256k1", "kid": "coin", "x": "AQAB", "y": "AQAB"},
        7
    ]}"#;

    #[test]
    fn a_set_is_read_as_far_as_its_keys_can_verify_signatures() {
        let set = KeySet::parse(SET.as_bytes()).unwrap();
        assert_eq!(set.len(), 2);
        for (id, algorithm, is_found) in [
            (Some("ed"), Algorithm::EdDSA, true),
            (Some("ed"), Algorithm::RS256, false),
            (Some("rsa"), Algorithm::RS256, true),
            (Some("rsa"), Algorithm::PS256, false),
            (Some("shared"), Algorithm::HS256, false),
            (Some("other"), Algorithm::EdDSA, false),
            (None, Algorithm::EdDSA, true),
        ] {
            assert_eq!(
                set.find(id, algorithm).is_some(),
                is_found,
                "{id:?} {algorithm:?}"
            );
        }
        let two = SET.replace(r#""alg": "RSA-OAEP", "#, "");
        let set = KeySet::parse(two.as_bytes()).unwrap();
        assert!(
            set.find(None, Algorithm::RS256).is_none(),
            "it is not clear which"
        );
    }

    #[test]
    fn what_holds_no_key_is_no_set() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"keys": {}}"#,
            r#"{"keys": []}"#,
            r#"{"keys": [{"kty": "oct", "k": "AA"}]}"#,
        ] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
