//! The one place where a name or a value becomes SQL text.

use postgres_protocol::escape;

/// The operator by which values of the types that Postgres came with are equal.
pub const EQUALS: &str = "operator(pg_catalog.=)";

/// A quoted identifier.
pub fn identifier(name: &str) -> String {
    escape::escape_identifier(name)
}

/// An identifier, in quotes only where Postgres would read it otherwise without.
pub fn where_needed(name: &str) -> String {
    let is_word = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match is_word && !RESERVED.split_whitespace().any(|word| word == name) {
        true => name.to_owned(),
        false => identifier(name),
    }
}

/// The words that name no column without quotes
/// (<https://www.postgresql.org/docs/current/sql-keywords-appendix.html>).
const RESERVED: &str = "all analyse analyze and any array as asc asymmetric authorization binary both case cast check \
    collate collation column concurrently constraint create cross current_catalog current_date current_role \
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end except \
    false fetch for foreign freeze from full grant group having ilike in initially inner intersect into is isnull join \
    lateral leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer \
    overlaps placing primary references returning right select session_user similar some symmetric system_user table \
    tablesample then to trailing true union unique user using variadic verbose when where window with";

/// A quoted literal, for the few places that take no parameter (`copy`, `set`).
pub fn literal(value: &str) -> String {
    escape::escape_literal(value)
}

/// A relation's name as `to_regclass` reads it (`name`, `schema.name`, parts in quotes or not), for use in a statement;
/// `None` for what is no such name.
pub fn relation(name: &str) -> Option<String> {
    let mut parts = Vec::new();
    let mut rest = name.trim();
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_part(quoted)?,
            None => {
                let end = rest.find(|c: char| c == '.' || c.is_whitespace());
                let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
                (part.to_ascii_lowercase(), after)
            }
        };
        if part.is_empty() {
            return None;
        }
        parts.push(identifier(&part));
        rest = after.trim_start();
        match rest.strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None => return rest.is_empty().then(|| parts.join(".")),
        }
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted_part(text: &str) -> Option<(String, &str)> {
    let mut part = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        part += before;
        match after.strip_prefix('"') {
            Some(more) => {
                part.push('"');
                rest = more;
            }
            None => return Some((part, after)),
        }
    }
}

/// `prefix."a", prefix."b", ...`
pub fn columns<'a>(prefix: &str, names: impl IntoIterator<Item = &'a String>) -> String {
    list(names, ", ", |name| format!("{prefix}{}", identifier(name)))
}

/// One fragment a name, joined.
pub fn list<'a>(
    names: impl IntoIterator<Item = &'a String>,
    separator: &str,
    fragment: impl Fn(&str) -> String,
) -> String {
    let fragments: Vec<String> = names.into_iter().map(|name| fragment(name)).collect();
    fragments.join(separator)
}

#[cfg(test)]
mod tests {
    use super::relation;

    #[test]
    fn names_of_relations_are_read_as_postgres_reads_them() {
        for (name, read) in [
            ("meter", Some("\"meter\"")),
            ("Site.Meter", Some("\"site\".\"meter\"")),
            (
                " public . \"M \"\"t\"\" e.x\" ",
                Some("\"public\".\"M \"\"t\"\" e.x\""),
            ),
            ("", None),
            ("a.", None),
            ("a b", None),
            ("\"a", None),
            ("m; drop table m", None),
        ] {
            assert_eq!(relation(name).as_deref(), read, "{name}");
        }
    }
}
