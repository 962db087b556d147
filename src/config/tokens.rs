//! Bearer tokens and what they allow.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::layers::items;
use super::watched_file::{self, WatchedFile};

/// The shortest secret that is accepted, in characters. 16 random characters cannot be guessed over HTTP.
const SHORTEST_SECRET: usize = 16;
/// The longest name of a token, in characters.
const LONGEST_NAME: usize = 64;

/// A bearer token and what it allows.
#[derive(Clone)]
pub struct Token {
    secret: String,
    /// The name of its holder, which the log shows; `None` if it has no name.
    pub name: Option<String>,
    /// Whether it allows requests for runs. Every token allows reading.
    pub may_trigger: bool,
    /// When an access token (OAuth) expires; `None` for a token of the settings, which is valid until it is removed.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Token {
    /// A token that allows reading, and with `may_trigger` also requests for runs.
    pub fn new(secret: String, may_trigger: bool) -> Self {
        Self {
            secret,
            name: None,
            may_trigger,
            expires_at: None,
        }
    }

    /// A token for the caller of an access token (OAuth). It stores `subject` in place of a secret, with a blank in the
    /// text. No secret contains a blank, so the two cannot be confused.
    pub fn of_subject(subject: &str, name: String, may_trigger: bool) -> Self {
        Self::new(format!("subject {subject}"), may_trigger).named(name)
    }

    /// Sets the name of the holder.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    /// Sets the time at which the token expires.
    #[must_use]
    pub fn until(self, end: DateTime<Utc>) -> Self {
        Self {
            expires_at: Some(end),
            ..self
        }
    }

    /// Identifies the holder. It is the same for all access tokens of one subject.
    pub fn identity(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// The secret's bytes, for a comparison in constant time.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("may_trigger", &self.may_trigger)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The tokens that are valid now, from the setting or from the file that the setting names.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    list: Arc<[Token]>,
    file: Option<WatchedFile>,
}

impl Tokens {
    /// Tokens that do not change.
    pub fn new(list: Vec<Token>) -> Self {
        let list = list.into();
        Self(Arc::new(Mutex::new(Held { list, file: None })))
    }

    /// Tokens that are read again when their file changes.
    pub(super) fn of_file(list: Vec<Token>, file: WatchedFile) -> Self {
        let (list, file) = (list.into(), Some(file));
        Self(Arc::new(Mutex::new(Held { list, file })))
    }

    /// Whether there are no tokens. Tokens from a file never become none, as a file without tokens is not used.
    pub fn is_empty(&self) -> bool {
        self.now().is_empty()
    }

    /// Whether this token is valid now.
    pub fn holds(&self, token: &Token) -> bool {
        self.now().iter().any(|held| held.secret == token.secret)
    }

    /// The tokens that are valid now. A changed file is read first. If it cannot be used, the former tokens stay valid.
    pub fn now(&self) -> Arc<[Token]> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = held.file.as_mut().filter(|file| file.has_changed()) {
            *file = WatchedFile::new(file.path());
            match of_text(file.path()) {
                Ok(list) => {
                    tracing::info!("the tokens were read again from their file, which has changed");
                    held.list = list.into();
                }
                Err(why) => tracing::warn!(
                    "the file of METER_SYNC_TOKENS_FILE has changed and cannot be used, so the former tokens count: {why}"
                ),
            }
        }
        Arc::clone(&held.list)
    }
}

fn of_text(path: &Path) -> Result<Vec<Token>, String> {
    let text = watched_file::read(path).map_err(|error| error.to_string())?;
    match parse(&items(&text.unwrap_or_default())) {
        Ok(list) if list.is_empty() => Err("it holds no token".to_owned()),
        read => read,
    }
}

/// Parses `read:SECRET` and `trigger:SECRET`, both also with a name, as in `trigger:ann:SECRET`. An error gives the
/// number of the token and never its text.
pub(super) fn parse(list: &[String]) -> Result<Vec<Token>, String> {
    let mut tokens: Vec<Token> = Vec::new();
    for (text, number) in list.iter().zip(1..) {
        let token = parse_one(text).map_err(|why| format!("token {number} {why}"))?;
        if tokens.iter().any(|earlier| earlier.secret == token.secret) {
            return Err(format!("token {number} has the secret of an earlier one"));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

fn parse_one(text: &str) -> Result<Token, String> {
    let (scope, rest) = text.split_once(':').unwrap_or(("", text));
    let may_trigger = match scope.trim() {
        "read" => false,
        "trigger" => true,
        _ => return Err("does not start with read: or trigger:".to_owned()),
    };
    let (name, secret) = match rest.split_once(':') {
        Some((name, secret)) => (Some(name.trim()), secret.trim()),
        None => (None, rest.trim()),
    };
    if !secret.chars().all(|c| c.is_ascii_graphic()) {
        return Err("holds a character that cannot stand in an HTTP header".to_owned());
    }
    if secret.len() < SHORTEST_SECRET {
        return Err(format!("is shorter than {SHORTEST_SECRET} characters"));
    }
    let token = Token::new(secret.to_owned(), may_trigger);
    match name {
        None => Ok(token),
        Some(name) if is_name(name) => Ok(token.named(name.to_owned())),
        Some(_) => Err(format!(
            "has a name of something else than 1 to {LONGEST_NAME} letters, digits and . _ -"
        )),
    }
}

/// Whether a text can be the name of a token. `@` and `,` are kept free for naming the tenants of a token.
fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || ['.', '_', '-'].contains(&c);
    (1..=LONGEST_NAME).contains(&text.chars().count()) && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    fn parse_texts(texts: &[&str]) -> Result<Vec<Token>, String> {
        let list: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        parse(&list)
    }

    #[test]
    fn a_token_has_a_scope_and_a_long_secret() {
        let texts = ["read:0123456789abcdef", "trigger: ann.b :fedcba98:76543210"];
        let tokens = parse_texts(&texts).unwrap();
        let read: Vec<_> = tokens
            .iter()
            .map(|t| (t.secret(), t.name.as_deref(), t.may_trigger))
            .collect();
        let expected: [(&[u8], Option<&str>, bool); 2] = [
            (b"0123456789abcdef", None, false),
            (b"fedcba98:76543210", Some("ann.b"), true),
        ];
        assert_eq!(read, expected);
        for text in [
            "0123456789abcdef0",
            "write:0123456789abcdef",
            "read:0123456789abcde",
            "read:0123456789 abcdef",
            "read:ann:0123456789abcde",
            "read:ann@7:0123456789abcdef",
            "read::0123456789abcdef",
        ] {
            assert!(
                parse_texts(&[text]).unwrap_err().starts_with("token 1 "),
                "{text}"
            );
        }
    }

    #[test]
    fn a_secret_belongs_to_one_token() {
        let twice = ["read:ann:0123456789abcdef", "trigger:bob:0123456789abcdef"];
        assert!(parse_texts(&twice).unwrap_err().starts_with("token 2 "));
    }

    quickcheck! {
        fn nothing_shows_a_token(before: String, after: String) -> bool {
            let shown = match parse(&[format!("{before}hunter2{after}")]) {
                Ok(tokens) => format!("{tokens:?}"),
                Err(error) => error,
            };
            !shown.contains("hunter2")
        }
    }
}
