//! Bearer tokens and what they allow.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::layers::items;
use super::reread::{self, Reread};

/// The shortest secret taken: 16 characters of a random alphabet cannot be guessed over HTTP.
const SHORTEST_SECRET: usize = 16;
/// The longest name of a token, in characters.
const LONGEST_NAME: usize = 64;

/// A bearer token and what it allows.
#[derive(Clone)]
pub struct Token {
    secret: String,
    /// Who holds it, as the log shows who asked.
    pub name: Option<String>,
    /// Whether it may trigger syncs; every token may read.
    pub may_trigger: bool,
    /// When an access token (OAuth) expires; `None` for a token of the settings, which counts until it is removed.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Token {
    /// A token that allows reading, and triggering if `may_trigger`.
    pub fn new(secret: String, may_trigger: bool) -> Self {
        Self {
            secret,
            name: None,
            may_trigger,
            expires_at: None,
        }
    }

    /// The caller of an access token (OAuth). `subject` stands where other tokens have a secret; it holds a blank,
    /// which no secret does, so that neither is taken for the other.
    pub fn of_subject(subject: &str, name: String, may_trigger: bool) -> Self {
        Self::new(format!("subject {subject}"), may_trigger).named(name)
    }

    /// The same for whoever goes by this name.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    /// The same until this time.
    #[must_use]
    pub fn until(self, end: DateTime<Utc>) -> Self {
        Self {
            expires_at: Some(end),
            ..self
        }
    }

    /// What tells its holder from others: the same for all access tokens of one subject.
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

/// The tokens that count now: those of the settings, or those that the file of the settings holds.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    list: Arc<[Token]>,
    file: Option<Reread>,
}

impl Tokens {
    /// These, for ever.
    pub fn new(list: Vec<Token>) -> Self {
        let list = list.into();
        Self(Arc::new(Mutex::new(Held { list, file: None })))
    }

    /// These, until their file changes.
    pub(super) fn of_file(list: Vec<Token>, file: Reread) -> Self {
        let (list, file) = (list.into(), Some(file));
        Self(Arc::new(Mutex::new(Held { list, file })))
    }

    /// Whether none are asked for. Those of a file never become none.
    pub fn is_empty(&self) -> bool {
        self.now().is_empty()
    }

    /// Whether this token counts now.
    pub fn holds(&self, token: &Token) -> bool {
        self.now().iter().any(|held| held.secret == token.secret)
    }

    /// The tokens that count now. Where their file was changed to something that cannot be used, the former ones.
    pub fn now(&self) -> Arc<[Token]> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = held.file.as_mut().filter(|file| file.has_changed()) {
            *file = Reread::new(file.path());
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
    let text = reread::read(path).map_err(|error| error.to_string())?;
    match parse(&items(&text.unwrap_or_default())) {
        Ok(list) if list.is_empty() => Err("it holds no token".to_owned()),
        read => read,
    }
}

/// Reads `read:SECRET`, `trigger:SECRET`, and both with a name, as `trigger:ann:SECRET`. An error says which one by its
/// number, never by itself.
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

/// `@` and `,` stay free for the tenants of a token.
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
