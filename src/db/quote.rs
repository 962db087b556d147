//! Quotes names and values for SQL text.

use postgres_protocol::escape;

use crate::config::parse_table_name;

/// The equality operator of built-in types, with its schema, so that the search path does not matter.
pub const EQUALS: &str = "operator(pg_catalog.=)";

/// Quotes a name for use as an SQL identifier.
pub fn identifier(name: &str) -> String {
    escape::escape_identifier(name)
}

/// Quotes a name for use as an SQL identifier, but only if Postgres would read it differently without quotes.
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

/// The key words that must be quoted to name a column
/// (<https://www.postgresql.org/docs/current/sql-keywords-appendix.html>).
const RESERVED: &str = "all analyse analyze and any array as asc asymmetric authorization binary both case cast check \
    collate collation column concurrently constraint create cross current_catalog current_date current_role \
    current_schema current_time current_timestamp current_user default deferrable desc distinct do else end except \
    false fetch for foreign freeze from full grant group having ilike in initially inner intersect into is isnull join \
    lateral leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer \
    overlaps placing primary references returning right select session_user similar some symmetric system_user table \
    tablesample then to trailing true union unique user using variadic verbose when where window with";

/// Quotes a value as an SQL literal, for SQL that is built from pieces and for statements that take no parameters.
pub fn literal(value: &str) -> String {
    escape::escape_literal(value)
}

/// Quotes the name of a relation for use in a statement. `name` comes from a setting: `name` or `schema.name`, with or
/// without quotes. Returns `None` if it is not such a name.
pub fn relation(name: &str) -> Option<String> {
    let parts = parse_table_name::parts(name).ok()?;
    Some(list(&parts, ".", identifier))
}

/// Quotes each name and puts `prefix` before it. Returns a list such as `t."a", t."b"` for the prefix `t.`.
pub fn columns<'a>(prefix: &str, names: impl IntoIterator<Item = &'a String>) -> String {
    list(names, ", ", |name| format!("{prefix}{}", identifier(name)))
}

/// Makes an SQL fragment of each name, and joins the fragments with `separator`.
pub fn list<'a>(
    names: impl IntoIterator<Item = &'a String>,
    separator: &str,
    fragment: impl Fn(&str) -> String,
) -> String {
    let fragments: Vec<String> = names.into_iter().map(|name| fragment(name)).collect();
    fragments.join(separator)
}
