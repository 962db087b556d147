//! Bearer tokens and what they allow.

/// The shortest secret taken: 16 characters of a random alphabet cannot be guessed over HTTP.
const SHORTEST_SECRET: usize = 16;

/// A bearer token and what it allows.
#[derive(Clone)]
pub struct Token {
    secret: String,
    /// Whether it may trigger syncs; every token may read.
    pub may_trigger: bool,
}

impl Token {
    /// A token that allows reading, and triggering if `may_trigger`.
    pub fn new(secret: String, may_trigger: bool) -> Self {
        Self {
            secret,
            may_trigger,
        }
    }

    /// The secret's bytes, for a comparison in constant time.
    pub fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("may_trigger", &self.may_trigger)
            .finish_non_exhaustive()
    }
}

/// Reads `read:SECRET` and `trigger:SECRET`. An error says which one by its number, never by itself.
pub(super) fn parse(list: &[String]) -> Result<Vec<Token>, String> {
    let numbered = list.iter().enumerate();
    numbered
        .map(|(index, text)| parse_one(text).map_err(|why| format!("token {} {why}", index + 1)))
        .collect()
}

fn parse_one(text: &str) -> Result<Token, String> {
    let (scope, secret) = text.split_once(':').unwrap_or(("", text));
    let may_trigger = match scope.trim() {
        "read" => false,
        "trigger" => true,
        _ => return Err("does not start with read: or trigger:".to_owned()),
    };
    let secret = secret.trim();
    if !secret.chars().all(|c| c.is_ascii_graphic()) {
        return Err("holds a character that cannot stand in an HTTP header".to_owned());
    }
    if secret.len() < SHORTEST_SECRET {
        return Err(format!("is shorter than {SHORTEST_SECRET} characters"));
    }
    Ok(Token::new(secret.to_owned(), may_trigger))
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
        let tokens = parse_texts(&["read:0123456789abcdef", "trigger: fedcba98:76543210"]).unwrap();
        let read: Vec<_> = tokens.iter().map(|t| (t.secret(), t.may_trigger)).collect();
        let expected: [(&[u8], bool); 2] =
            [(b"0123456789abcdef", false), (b"fedcba98:76543210", true)];
        assert_eq!(read, expected);
        for text in [
            "0123456789abcdef0",
            "write:0123456789abcdef",
            "read:0123456789abcde",
            "read:0123456789 abcdef",
        ] {
            assert!(
                parse_texts(&[text]).unwrap_err().starts_with("token 1 "),
                "{text}"
            );
        }
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
