//! The one place where a name or a value becomes SQL text.

use postgres_protocol::escape;

/// A quoted identifier.
pub fn identifier(name: &str) -> String {
    escape::escape_identifier(name)
}

/// A quoted literal, for the few places that take no parameter (`copy`, `set`).
pub fn literal(value: &str) -> String {
    escape::escape_literal(value)
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
