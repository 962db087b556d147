//! Verifies OAuth access tokens (RFC 9068, section 4): signature, issuer, audience, validity period and scope.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header};
use serde::Deserialize;

use super::key_cache::NoKeyReason;
use super::{OAuthVerifier, READ, TRIGGER};
use crate::config::Token;
use crate::http::request_error::RequestError;
use crate::make_printable;
use crate::model::saturating_i64;

/// The accepted signature algorithms. All use a public key. HMAC is left out, because an attacker could sign with the
/// public key as the shared secret.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// The accepted `typ` values of a JWT; a JWT without `typ` is accepted, too. Others, such as `logout+jwt`, are not
/// access tokens.
const TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "JWT"];
/// How many seconds the clocks of the authorization server and this machine may differ.
const LEEWAY_SECONDS: u64 = 30;
/// The longest access token in bytes. A token with many claims has about 2 kB.
const MAX_BYTES: usize = 16 * 1024;
/// How many characters of a caller's name are kept. The name of a token in the settings has the same limit.
const NAME_CHARS: usize = 64;

/// The claims of a verified access token that this program uses. Because `iss` is a `String`, a token with a list of
/// issuers is refused.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: Option<String>,
    client_id: Option<String>,
    scope: Option<String>,
    /// When the token expires, in seconds since 1970.
    exp: f64,
}

impl OAuthVerifier {
    /// Whether a bearer token has the form of a JWT: three parts, separated by dots.
    pub(in crate::http) fn is_jwt(token: &str) -> bool {
        token.split('.').count() == 3
    }

    /// Verifies an access token and returns its caller. Errors:
    ///
    /// - `AccessTokenInvalid` if the token is not valid for this server, or names no caller;
    /// - `ScopeMissing` if the token is valid but grants neither scope of this server;
    /// - `KeysUnavailable` if no keys of the authorization server could be read so far.
    pub(in crate::http) async fn caller(&self, token: &str) -> Result<Token, RequestError> {
        let header = header(token).ok_or(MALFORMED)?;
        let key = self.keys.find(header.kid.as_deref(), header.alg).await;
        let key = key.map_err(|missing| match missing {
            NoKeyReason::Key => RequestError::AccessTokenInvalid(
                "No key of the authorization server fits the access token.",
            ),
            NoKeyReason::AllKeys => RequestError::KeysUnavailable,
        })?;
        let checked = decode::<Claims>(token, key.public(), &self.validation(header.alg));
        let checked = checked.map_err(|error| RequestError::AccessTokenInvalid(reason(&error)))?;
        caller(&checked.claims)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_SECONDS;
        validation
    }
}

const MALFORMED: RequestError =
    RequestError::AccessTokenInvalid("The bearer token is no access token that can be read.");

/// Parses the header of a token. Returns `None` if the token is too long or malformed, or if its type or algorithm is
/// not accepted.
fn header(token: &str) -> Option<Header> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let header = decode_header(token).ok()?;
    let is_type = |given: &String| TYPES.iter().any(|known| known.eq_ignore_ascii_case(given));
    let is_taken = header.typ.as_ref().is_none_or(is_type) && ALGORITHMS.contains(&header.alg);
    is_taken.then_some(header)
}

fn caller(claims: &Claims) -> Result<Token, RequestError> {
    let scopes = claims.scope.as_deref().unwrap_or_default();
    let has = |wanted| scopes.split(' ').any(|scope| scope == wanted);
    let may_trigger = has(TRIGGER);
    if !may_trigger && !has(READ) {
        return Err(RequestError::ScopeMissing);
    }
    let given = [&claims.sub, &claims.client_id].into_iter().flatten();
    let Some(subject) = given.clone().find(|name| make_printable::is_seen(name)) else {
        let why = "The access token names neither a subject nor a client.";
        return Err(RequestError::AccessTokenInvalid(why));
    };
    let identity = serde_json::json!([claims.iss, claims.sub, claims.client_id]);
    let name = make_printable::line(subject, NAME_CHARS);
    Ok(Token::of_subject(&identity.to_string(), name, may_trigger).until(end(claims.exp)))
}

/// Returns the time until which a token with this `exp` claim is accepted: [`LEEWAY_SECONDS`] after it expires.
fn end(exp: f64) -> DateTime<Utc> {
    let seconds = Duration::try_from_secs_f64(exp).map_or(u64::MAX, |since| since.as_secs());
    let seconds = saturating_i64(seconds.saturating_add(LEEWAY_SECONDS));
    DateTime::from_timestamp(seconds, 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Returns the reason why a token is invalid. The reason is sent and logged, so it contains no part of the token.
fn reason(error: &Error) -> &'static str {
    let known = [
        (ErrorKind::ExpiredSignature, "The access token has expired."),
        (
            ErrorKind::ImmatureSignature,
            "The access token does not count yet.",
        ),
        (
            ErrorKind::InvalidIssuer,
            "The access token is of another issuer.",
        ),
        (
            ErrorKind::InvalidAudience,
            "The access token is for another audience.",
        ),
        (
            ErrorKind::InvalidSignature,
            "The signature of the access token is wrong.",
        ),
    ];
    let kind = error.kind();
    let found = known.iter().find(|(known, _)| known == kind);
    found.map_or(
        "The access token lacks a claim, or holds one that cannot be read.",
        |(_, reason)| reason,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(scope: &str, sub: Option<&str>, client_id: Option<&str>) -> Claims {
        Claims {
            iss: "https://login.example".to_owned(),
            sub: sub.map(str::to_owned),
            client_id: client_id.map(str::to_owned),
            scope: Some(scope.to_owned()),
            exp: 1_700_000_000.5,
        }
    }

    #[test]
    fn a_token_is_accepted_until_its_leeway_is_over() {
        let end = |exp| end(exp).to_rfc3339();
        assert_eq!(end(1_700_000_000.5), "2023-11-14T22:13:50+00:00");
        for never in [1e18, 1e300] {
            assert_eq!(end(never), DateTime::<Utc>::MAX_UTC.to_rfc3339());
        }
    }

    #[test]
    fn a_scope_is_a_whole_word() {
        for (scope, expected) in [
            ("meter-sync:read", Ok(false)),
            ("openid meter-sync:trigger", Ok(true)),
            ("meter-sync:trigger meter-sync:read", Ok(true)),
            ("", Err(RequestError::ScopeMissing)),
            (
                "meter-sync:reader meter-sync",
                Err(RequestError::ScopeMissing),
            ),
            ("METER-SYNC:READ", Err(RequestError::ScopeMissing)),
        ] {
            let read = caller(&claims(scope, Some("ann"), None));
            assert_eq!(read.map(|token| token.may_trigger), expected, "{scope}");
        }
    }

    #[test]
    fn the_caller_is_shown_by_a_harmless_name_and_told_apart_by_all_of_it() {
        let one = |sub: Option<&str>, client| caller(&claims(READ, sub, client)).unwrap();
        let name = |token: Token| token.name.unwrap();
        assert_eq!(
            name(one(Some("auth0|ann@example.com"), Some("c"))),
            "auth0|ann@example.com"
        );
        assert_eq!(name(one(None, Some("robot"))), "robot");
        assert_eq!(name(one(Some(" "), Some("robot"))), "robot");
        assert_eq!(name(one(Some("a\u{1b}[2J"), None)), "a[001B][2J");
        assert_eq!(
            name(one(Some(&"x".repeat(999)), None)).chars().count(),
            NAME_CHARS + 1
        );
        assert_ne!(
            one(Some("ann"), Some("a")).identity(),
            one(Some("ann"), Some("b")).identity()
        );
        let nobody = caller(&claims(READ, None, Some("")));
        assert!(matches!(
            nobody.unwrap_err(),
            RequestError::AccessTokenInvalid(_)
        ));
    }
}
