//! Bearer tokens, with which callers over HTTP identify themselves, and what each token allows.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::settings_file::SettingValue;
use super::watched_file::{self, WatchedFile};
use crate::model::TenantId;

/// The shortest secret of a token that is accepted, in characters. 16 random characters cannot be guessed over HTTP.
const SHORTEST_SECRET: usize = 16;
/// The longest name of a token, in characters.
const LONGEST_NAME: usize = 64;

/// A bearer token and what it allows.
#[derive(Clone)]
pub struct Token {
    secret: String,
    /// The name of the token's holder, which is written to the log; `None` if the token has no name.
    pub name: Option<String>,
    /// Whether the holder may request runs. Every token allows reading.
    pub may_trigger: bool,
    /// The only tenants that the token gives access to; `None` means all tenants.
    pub tenants: Option<Vec<TenantId>>,
    /// When the token expires, if it is an access token (OAuth). `None` for a token of the settings, which is valid
    /// until it is removed there.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Token {
    /// Creates a token for all tenants that allows reading and, if `may_trigger` is true, requesting runs.
    pub fn new(secret: String, may_trigger: bool) -> Self {
        Self {
            secret,
            name: None,
            may_trigger,
            tenants: None,
            expires_at: None,
        }
    }

    /// Creates a token for the holder of an access token (OAuth), whom `subject` identifies. In place of a secret, it
    /// stores a text made of `subject`. That text contains a space and no secret does, so it can never equal a secret.
    pub fn of_subject(subject: &str, name: String, may_trigger: bool) -> Self {
        Self::new(format!("subject {subject}"), may_trigger).named(name)
    }

    /// Sets the name of the token's holder.
    #[must_use]
    pub fn named(self, name: String) -> Self {
        Self {
            name: Some(name),
            ..self
        }
    }

    /// Limits the token to the given tenants.
    #[must_use]
    pub fn for_tenants(self, tenants: Vec<TenantId>) -> Self {
        Self {
            tenants: Some(tenants),
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

    /// Returns bytes that identify the token's holder: for a token of the settings its secret; for access tokens
    /// (OAuth) the same bytes for all tokens of one subject.
    pub fn identity(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    /// Returns the bytes of the secret, for a comparison in constant time.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .field("may_trigger", &self.may_trigger)
            .field("tenants", &self.tenants)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// The tokens of the settings that are valid at present. If they come from a file, the file is read again when it
/// changes.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<Mutex<TokensState>>);

/// The tokens as last read, and the file that they came from; no file if they came from a setting.
#[derive(Debug, Default)]
struct TokensState {
    list: Arc<[Token]>,
    file: Option<WatchedFile>,
}

impl Tokens {
    /// Creates a list of tokens that never changes.
    pub fn new(list: Vec<Token>) -> Self {
        let list = list.into();
        Self(Arc::new(Mutex::new(TokensState { list, file: None })))
    }

    /// Creates a list of tokens that is read again when its file changes.
    pub(super) fn of_file(list: Vec<Token>, file: WatchedFile) -> Self {
        let (list, file) = (list.into(), Some(file));
        Self(Arc::new(Mutex::new(TokensState { list, file })))
    }

    /// Whether there are no tokens. A list from a file never becomes empty, because a changed file without tokens is
    /// ignored.
    pub fn is_empty(&self) -> bool {
        self.now().is_empty()
    }

    /// Whether the list has at present a token with the same secret and the same tenants as `token`.
    pub fn holds(&self, token: &Token) -> bool {
        let is_held = |held: &Token| held.secret == token.secret && held.tenants == token.tenants;
        self.now().iter().any(is_held)
    }

    /// Returns the tokens that are valid at present. If the file has changed, it is read again first. If it cannot be
    /// used, the former tokens stay valid.
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
    match read(&SettingValue::Text(text.unwrap_or_default())) {
        Ok(list) if list.is_empty() => Err("it holds no token".to_owned()),
        read => read,
    }
}

/// Parses a list of tokens. A token is `read:SECRET` or `trigger:SECRET`. A name may follow the scope, as in
/// `trigger:ann:SECRET`, and the tenants that the token is limited to may follow the name, as in
/// `trigger:ann@7,8:SECRET`. An error gives the number of the token in the list and never its text.
pub(super) fn read(value: &SettingValue) -> Result<Vec<Token>, String> {
    let texts = match value {
        SettingValue::Text(text) => split(text),
        SettingValue::List(list) => list.iter().map(String::as_str).collect(),
    };
    let texts = texts.into_iter().filter(|text| !text.trim().is_empty());
    let mut tokens: Vec<Token> = Vec::new();
    for (text, number) in texts.zip(1..) {
        let token = parse_one(text).map_err(|why| format!("token {number} {why}"))?;
        if tokens.iter().any(|earlier| earlier.secret == token.secret) {
            return Err(format!("token {number} has the secret of an earlier one"));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// Splits a text into tokens: at line ends and at commas, except the commas between the tenants of one token.
fn split(text: &str) -> Vec<&str> {
    let mut texts = Vec::new();
    for mut line in text.lines() {
        loop {
            let secret = after_tenants(line).unwrap_or(line);
            let Some((_, rest)) = secret.split_once(',') else {
                break;
            };
            let (token, _) = line.split_at(line.len() - rest.len() - 1);
            texts.push(token);
            line = rest;
        }
        texts.push(line);
    }
    texts
}

/// If the first token of the text names tenants, as in `trigger:ann@7,8:SECRET`, returns the text from its secret on;
/// otherwise `None`. A secret may also contain an `@`. So if `read` or `trigger` stands before the next colon, another
/// token starts there, and the first token names no tenants.
fn after_tenants(text: &str) -> Option<&str> {
    let (scope, rest) = text.split_once(':')?;
    let (name, secret) = rest.split_once(':')?;
    let (name, tenants) = name.split_once('@')?;
    let is_scope = |text: &str| ["read", "trigger"].contains(&text.trim());
    let starts_another = tenants.rsplit(',').next().is_some_and(is_scope);
    (is_scope(scope) && !name.contains(',') && !starts_another).then_some(secret)
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
    let Some(name) = name else {
        return Ok(token);
    };
    let (name, token) = match name.split_once('@') {
        Some((name, tenants)) => (name.trim(), token.for_tenants(tenants_of(tenants)?)),
        None => (name, token),
    };
    match is_name(name) {
        true => Ok(token.named(name.to_owned())),
        false => Err(format!(
            "has a name of something else than 1 to {LONGEST_NAME} letters, digits and . _ -"
        )),
    }
}

fn tenants_of(text: &str) -> Result<Vec<TenantId>, String> {
    let ids = text.split(',').map(|id| TenantId::new(id.trim()));
    ids.collect::<Option<_>>()
        .ok_or_else(|| "has no tenant behind the @ or a comma; write @7,8".to_owned())
}

/// Whether a text can be the name of a token: at most 64 letters, digits and `.`, `_`, `-`.
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
        read(&SettingValue::List(list))
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
            "read:@7:0123456789abcdef",
            "read:ann@:0123456789abcdef",
            "read:ann@7,:0123456789abcdef",
            "read:ann@7:0123456789abcde",
            "read::0123456789abcdef",
        ] {
            assert!(
                parse_texts(&[text]).unwrap_err().starts_with("token 1 "),
                "{text}"
            );
        }
    }

    #[test]
    fn a_token_may_be_limited_to_tenants() {
        let text = "trigger:ann@7, acme:0123456789abcdef,read:bob@8:1123456789abcdef,,\nread:2123456789abcdef";
        let tokens = read(&SettingValue::Text(text.to_owned())).unwrap();
        let tenants = tokens.iter().map(|token| {
            let ids = token.tenants.as_ref()?.iter();
            Some(ids.map(TenantId::as_str).collect())
        });
        let expected: [Option<Vec<&str>>; 3] = [Some(vec!["7", "acme"]), Some(vec!["8"]), None];
        assert_eq!(tenants.collect::<Vec<_>>(), expected);
        let secrets: Vec<_> = tokens.iter().map(Token::secret).collect();
        let expected: [&[u8]; 3] = [
            b"0123456789abcdef",
            b"1123456789abcdef",
            b"2123456789abcdef",
        ];
        assert_eq!(secrets, expected);
    }

    #[test]
    fn an_at_sign_in_a_secret_names_no_tenants() {
        for text in [
            "read:p@0123456789abcdef,trigger:ann:1123456789abcdef",
            "read:ann:p@0123456789abcdef,trigger:1123456789abcdef",
        ] {
            let tokens = read(&SettingValue::Text(text.to_owned())).unwrap();
            assert_eq!(tokens.len(), 2, "{text}");
            assert!(tokens.iter().all(|token| token.tenants.is_none()), "{text}");
        }
        for text in [
            "read:p@0123456789abcdef,1123456789abcdef",
            "read:0123456789abcdef,ann@7:1123456789abcdef",
        ] {
            let problem = read(&SettingValue::Text(text.to_owned())).unwrap_err();
            assert!(problem.starts_with("token 2 does not start"), "{problem}");
        }
    }

    #[test]
    fn a_token_that_is_limited_anew_is_no_longer_held() {
        let tokens = parse_texts(&["read:ann@7:0123456789abcdef"]).unwrap();
        let [token] = tokens.as_slice() else {
            panic!("one token");
        };
        let held = Tokens::new(tokens.clone());
        assert!(held.holds(token));
        assert!(!held.holds(&Token::new("0123456789abcdef".to_owned(), false)));
    }

    #[test]
    fn a_secret_belongs_to_one_token() {
        let twice = ["read:ann:0123456789abcdef", "trigger:bob:0123456789abcdef"];
        assert!(parse_texts(&twice).unwrap_err().starts_with("token 2 "));
    }

    quickcheck! {
        fn nothing_shows_a_token(before: String, after: String) -> bool {
            let shown = match parse_texts(&[&format!("{before}hunter2{after}")]) {
                Ok(tokens) => format!("{tokens:?}"),
                Err(error) => error,
            };
            !shown.contains("hunter2")
        }
    }
}
