//! The name of a table as a setting gives it: `table` or `schema.table`, each part in double quotes where it is no plain word.
//!
//! It is read as Postgres reads it in SQL. Postgres's own `to_regclass` takes more (a part `my-table` without quotes), and
//! `parse_ident` takes what no table can be called, so a name that both take in the same way is asked for.

/// Schema, if given, and table, without quotes; or what is wrong, in words that follow the setting's name.
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

/// The first part, and what follows it.
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

/// Whether Postgres reads it as one name without quotes
/// (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html>).
fn is_word(part: &str) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    part.starts_with(starts)
        && part
            .chars()
            .all(|c| starts(c) || c.is_ascii_digit() || c == '$')
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
