//! The session cookie that a signed-in browser sends instead of a token.
//!
//! The cookie holds the time of sign-in and an HMAC of that time, keyed by the token's secret. It does not hold the
//! secret, and the server stores no session. So a cookie survives a restart of the server, expires after 7 days, and
//! becomes invalid as soon as its token is removed.

use chrono::{DateTime, Duration, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::config::Token;

const NAME: &str = "meter_sync_session";
/// How many days a cookie is valid.
const DAYS: i64 = 7;
/// A text in the input of the HMAC. It makes an HMAC that is made with the same key for another purpose invalid as a
/// cookie.
const PURPOSE: &str = "meter-sync page session";

/// Finds the token with this secret; `None` if there is none. Compares all tokens, each in constant time, so that the
/// response time reveals no more of a secret than its length.
pub(crate) fn find<'t>(tokens: &'t [Token], secret: &[u8]) -> Option<&'t Token> {
    let mut found = None;
    for token in tokens {
        let equal: Choice = token.secret().ct_eq(secret);
        if bool::from(equal) {
            found = Some(token);
        }
    }
    found
}

/// Returns the `Set-Cookie` value that signs a browser in with this token. If `is_encrypted` (the browser uses TLS),
/// the cookie has the attribute `Secure`.
pub(crate) fn give(token: &Token, now: DateTime<Utc>, is_encrypted: bool) -> String {
    let value = value(token, now.timestamp());
    header(&value, DAYS * 24 * 60 * 60, is_encrypted)
}

/// Returns the `Set-Cookie` value that deletes the session cookie. `is_encrypted` means that the browser uses TLS.
pub(crate) fn take(is_encrypted: bool) -> String {
    header("", 0, is_encrypted)
}

fn header(value: &str, seconds: i64, is_encrypted: bool) -> String {
    let secure = if is_encrypted { "; Secure" } else { "" };
    format!("{NAME}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

/// Finds the token for which the cookie in a `Cookie` header was made. Returns `None` if the header has no valid
/// cookie.
pub(crate) fn token<'t>(
    tokens: &'t [Token],
    header: &str,
    now: DateTime<Utc>,
) -> Option<&'t Token> {
    let pairs = header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    // Another instance on this host may have set a cookie of the same name, because cookies ignore the port.
    let mut shown = pairs.filter(|(name, _)| *name == NAME);
    shown.find_map(|(_, shown)| stands_for(tokens, shown, now))
}

fn stands_for<'t>(tokens: &'t [Token], shown: &str, now: DateTime<Utc>) -> Option<&'t Token> {
    let given_at: i64 = shown.split_once('.')?.0.parse().ok()?;
    let given = DateTime::from_timestamp(given_at, 0)?;
    if given > now + Duration::minutes(5) || now - given > Duration::days(DAYS) {
        return None;
    }
    let mut found = None;
    for token in tokens {
        let equal: Choice = value(token, given_at).as_bytes().ct_eq(shown.as_bytes());
        if bool::from(equal) {
            found = Some(token);
        }
    }
    found
}

fn value(token: &Token, given_at: i64) -> String {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(token.secret()) else {
        return String::new();
    };
    mac.update(format!("{PURPOSE} {given_at}").as_bytes());
    let hash = mac.finalize().into_bytes();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{given_at}.{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> [Token; 2] {
        [
            Token::new("read-secret-00000".to_owned(), false),
            Token::new("trigger-secret-00".to_owned(), true),
        ]
    }

    fn at(day: u32) -> DateTime<Utc> {
        format!("2026-11-{day:02}T10:00:00Z")
            .parse()
            .expect("a time")
    }

    /// Returns the `Cookie` header that a browser sends after it received `set_cookie`.
    fn sent(set_cookie: &str) -> String {
        let pair = set_cookie.split(';').next().expect("a pair");
        format!("theme=dark; {pair}")
    }

    #[test]
    fn a_cookie_stands_for_its_token_and_shows_nothing_of_it() {
        let tokens = tokens();
        for token in &tokens {
            let given = give(token, at(1), false);
            let secret = std::str::from_utf8(token.secret()).expect("text");
            assert!(!given.contains(secret), "{given}");
            let found = super::token(&tokens, &sent(&given), at(7)).expect("a token");
            assert_eq!(found.may_trigger, token.may_trigger);
        }
    }

    #[test]
    fn a_cookie_ends_by_itself_with_its_token_and_when_it_is_changed() {
        let tokens = tokens();
        let [read, trigger] = &tokens;
        let given = sent(&give(read, at(1), false));
        assert!(token(&tokens, &given, at(9)).is_none(), "too old");
        assert!(
            token(std::slice::from_ref(trigger), &given, at(2)).is_none(),
            "its token is gone"
        );
        assert!(
            token(&tokens, &given.replace("17", "18"), at(2)).is_none(),
            "another time"
        );
        let later = sent(&give(read, at(20), false));
        assert!(
            token(&tokens, &later, at(2)).is_none(),
            "given in the future"
        );
        assert!(
            token(&tokens, &sent(&take(false)), at(1)).is_none(),
            "taken back"
        );
    }

    #[test]
    fn a_cookie_counts_beside_one_of_another_instance() {
        let tokens = tokens();
        let [_, trigger] = &tokens;
        let given = sent(&give(trigger, at(1), false));
        let both = format!("{NAME}=1764547200.00; {given}");
        let found = token(&tokens, &both, at(2)).expect("a token");
        assert!(found.may_trigger);
    }

    #[test]
    fn a_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let [read, _] = tokens();
        let given = give(&read, at(1), true);
        for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/", "; Secure"] {
            assert!(given.contains(part), "{part} in {given}");
        }
    }
}
