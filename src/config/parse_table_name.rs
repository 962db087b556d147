//! Parses the name of a table in a setting: `table` or `schema.table`. A part that is not a plain word must be in
//! double quotes.
//!
//! Names are read as Postgres reads them in SQL. Two functions of Postgres that parse names accept more: `to_regclass`
//! accepts an unquoted part such as `my-table`, and `parse_ident` accepts names that no table can have. This module
//! accepts only names that both functions read in the same way.

/// Splits the name of a table into the schema, if given, and the table, both without quotes. The error is the part of a
/// message that follows the name of the setting.
pub fn parts(text: &str) -> Result<Vec<String>, String> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = part(rest).map_err(|problem| format!("{text} {problem}"))?;
        parts.push(part);
        match after.trim_start().strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None => break,
        }
    }
    match parts.len() {
        1 | 2 => Ok(parts),
        _ => Err(format!(
            "{text} has more than two parts; write table or schema.table, and a part that has a dot in it in double quotes"
        )),
    }
}

/// Joins parts to a name that [`parts`] can read, with double quotes only where they are needed.
pub(super) fn write(parts: &[String]) -> String {
    let is_plain = |part: &str| {
        let is_lower = |c: char| c.is_ascii() && !c.is_ascii_uppercase();
        is_word(part) && part.chars().all(is_lower)
    };
    let written = parts.iter().map(|part| match is_plain(part) {
        true => part.clone(),
        false => format!("\"{}\"", part.replace('"', "\"\"")),
    });
    written.collect::<Vec<_>>().join(".")
}

/// Splits off the first part of a name. Returns it without quotes, and the rest of the text.
fn part(text: &str) -> Result<(String, &str), String> {
    let (part, after) = match text.strip_prefix('"') {
        Some(quoted) => {
            quoted_part(quoted).ok_or("has a double quote that is not closed; write \"table\"")?
        }
        None => {
            let end = text.find('.').unwrap_or(text.len());
            let (part, after) = text.split_at(end);
            let part = part.trim_end();
            if !part.is_empty() && !is_word(part) {
                return Err(format!(
                    "is no name of a table; write {} in double quotes: \"{}\"",
                    part,
                    part.replace('"', "\"\"")
                ));
            }
            (part.to_ascii_lowercase(), after)
        }
    };
    if part.is_empty() {
        return Err("has an empty part; write table or schema.table".to_owned());
    }
    match after.trim_start().chars().next() {
        None | Some('.') => Ok((part, after)),
        Some(_) => Err(
            "goes on after a closing double quote; write a double quote within a name twice"
                .to_owned(),
        ),
    }
}

/// Whether Postgres reads `part` as one name even without quotes
/// (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html>).
fn is_word(part: &str) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    part.starts_with(starts)
        && part
            .chars()
            .all(|c| starts(c) || c.is_ascii_digit() || c == '$')
}

/// Reads a quoted name; `text` begins after the opening quote. Returns the name and the text after the closing quote;
/// `None` if the quote is not closed. A doubled quote stands for one quote.
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

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn names_are_read_as_postgres_reads_them() {
        for (name, read) in [
            ("meter", &["meter"][..]),
            ("Site.Meter", &["site", "meter"]),
            ("Zähler$1", &["zähler$1"]),
            (" public . \"M \"\"t\"\" e.x\" ", &["public", "M \"t\" e.x"]),
        ] {
            assert_eq!(parts(name).unwrap(), read, "{name}");
        }
    }

    #[test]
    fn what_is_no_name_is_told_with_how_to_write_it() {
        for (name, told) in [
            ("my-table", "write my-table in double quotes: \"my-table\""),
            ("a b", "write a b in double quotes: \"a b\""),
            ("public.2nd", "write 2nd in double quotes: \"2nd\""),
            ("a\"b", "write a\"b in double quotes: \"a\"\"b\""),
            ("m; drop table m", "in double quotes"),
            ("", "empty part"),
            ("a.", "empty part"),
            ("a..b", "empty part"),
            ("a.\"\"", "empty part"),
            ("\"a", "not closed"),
            ("\"a\"b", "after a closing double quote"),
            ("a.b.c", "more than two parts"),
        ] {
            let problem = parts(name).unwrap_err();
            assert!(problem.contains(told), "{name}: {problem}");
        }
    }
}
