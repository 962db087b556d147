//! Trims an SQL query that is given as a setting: removes semicolons, comments and white space from its end.

use super::error::ConfigError;
use super::setting_layers::FoundSetting;

/// Returns the query in a setting without semicolons, comments and white space at its end. Error: nothing is left.
pub(super) fn trim(found: &FoundSetting) -> Result<String, ConfigError> {
    match without_end(&found.text()) {
        "" => Err(found.error("holds no query")),
        query => Ok(query.to_owned()),
    }
}

/// Returns the query without the semicolons, comments and white space at its end. If a second statement follows a
/// semicolon, it is kept, so that the server refuses the query.
fn without_end(text: &str) -> &str {
    let mut end = 0;
    let mut place = 0;
    while let Some(rest) = text.get(place..).filter(|rest| !rest.is_empty()) {
        let token = token(rest);
        place += token.length;
        if token.is_part_of_query {
            end = place;
        }
    }
    text.get(..end).unwrap_or(text)
}

/// The first token of an SQL text.
struct SqlToken {
    /// The length of the token in bytes, which is at least one character.
    length: usize,
    /// Whether the token is part of the query, and not white space, a comment or a semicolon.
    is_part_of_query: bool,
}

impl SqlToken {
    fn new(is_part_of_query: bool) -> impl Fn(usize) -> Self {
        move |length| Self {
            length,
            is_part_of_query,
        }
    }
}

/// Reads the first token of an SQL text by the rules of Postgres
/// (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html>), as far as is needed to find comments. A quote
/// or comment that is never closed extends to the end of the text.
fn token(text: &str) -> SqlToken {
    let (part, nothing) = (SqlToken::new(true), SqlToken::new(false));
    if text.starts_with("--") {
        return nothing(text.find(['\n', '\r']).unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return block_comment(text).map_or_else(|| part(text.len()), nothing);
    }
    let escaped = text.strip_prefix(['e', 'E']);
    if let Some(inside) = escaped.and_then(|rest| rest.strip_prefix('\'')) {
        return part(2 + quoted(inside, '\'', true));
    }
    let mut characters = text.chars();
    let first = characters.next().unwrap_or_default();
    match first {
        ';' | ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' => nothing(1),
        '\'' | '"' => part(1 + quoted(characters.as_str(), first, false)),
        '$' => part(dollar_quoted(text).unwrap_or(1)),
        first if is_of_word(first) => {
            let end = text.find(|c| !is_of_word(c) && c != '$');
            part(end.unwrap_or(text.len()))
        }
        first => part(first.len_utf8()),
    }
}

fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

/// Returns the length in bytes of the block comment at the beginning of the text, which may contain other block
/// comments; `None` if it is never closed.
fn block_comment(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut place = 0;
    loop {
        let rest = text.get(place..)?;
        let (opens, closes) = (rest.find("/*"), rest.find("*/")?);
        let opens = opens.filter(|opens| *opens < closes);
        depth += if opens.is_some() { 1 } else { -1 };
        place += opens.unwrap_or(closes) + 2;
        if depth == 0 {
            return Some(place);
        }
    }
}

/// Returns the length in bytes of a quoted text. `text` begins after the opening quote; the closing quote is counted. A
/// doubled quote does not close the text, nor does a quote after a backslash if `has_escapes` is true.
fn quoted(text: &str, quote: char, has_escapes: bool) -> usize {
    let mut characters = text.char_indices().peekable();
    while let Some((place, c)) = characters.next() {
        let is_twice = c == quote && characters.peek().is_some_and(|(_, next)| *next == quote);
        if is_twice || has_escapes && c == '\\' {
            characters.next();
        } else if c == quote {
            return place + 1;
        }
    }
    text.len()
}

/// Returns the length in bytes of the dollar-quoted text at the beginning of `text`, with its two tags such as `$$` or
/// `$tag$`. `None` if `text` does not start with a tag.
fn dollar_quoted(text: &str) -> Option<usize> {
    let (name, _) = text.get(1..)?.split_once('$')?;
    let is_tag = name.chars().all(is_of_word) && !name.starts_with(|c: char| c.is_ascii_digit());
    let tag = text.get(..name.len() + 2).filter(|_| is_tag)?;
    let inside = text.get(tag.len()..)?;
    let closed = inside.find(tag).map(|end| tag.len() + end + tag.len());
    Some(closed.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::without_end;

    #[test]
    fn semicolons_comments_and_blanks_at_the_end_go() {
        for (end, is_taken_off) in [
            (";", true),
            (" ;; \n", true),
            ("; -- all", true),
            (" -- all; of 'them", true),
            ("; /* all /* of */ them */ ;", true),
            ("/* ; */ -- \n\t", true),
            ("; select 1", false),
            ("; /* never closed", false),
            (" */", false),
        ] {
            let query = format!("select * from meter{end}");
            let expected = match is_taken_off {
                true => "select * from meter",
                false => query.as_str(),
            };
            assert_eq!(without_end(&query), expected, "{query}");
        }
        assert_eq!(without_end(" -- nothing\n;"), "");
    }

    #[test]
    fn what_only_looks_like_an_end_stays() {
        for query in [
            "select '; --'",
            "select 'it''s; -- '",
            r"select E'it\'s; -- '",
            r"select E'it''\'s; -- '",
            r"select 'C:\', '; -- '",
            "select \"a; --\"\"b\"",
            "select $$; -- $$",
            "select $a$; $b$ -- $a$",
            "select a$b$, $c$; -- $c$",
            "select $1, '; -- $1'",
            "select $1$",
            "select /* one */ 1",
            "select zähler -- all\nfrom meter",
        ] {
            assert_eq!(without_end(query), query);
            assert_eq!(without_end(&format!("{query} ;--")), query);
        }
        let never_closed = "select '; -- ";
        assert_eq!(without_end(never_closed), never_closed);
    }
}
