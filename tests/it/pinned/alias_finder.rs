//! Finds the aliases that our own SQL gives to rows, columns and subqueries, in the sources. A column of a meter
//! may have any of these names, and a statement of ours that names it without a prefix would take it for the alias.

use std::path::{Path, PathBuf};

/// All of them, each once.
pub(crate) fn in_our_sources() -> Vec<String> {
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut names = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("our sources") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => names.extend(in_file(&path)),
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

fn in_file(path: &Path) -> Vec<String> {
    let text = || std::fs::read_to_string(path).expect("a source");
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => literals(&text())
            .iter()
            .flat_map(|sql| in_sql(sql))
            .collect(),
        Some("sql") => in_sql(&text()),
        _ => Vec::new(),
    }
}

/// The string literals of a source in Rust, as they are written.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '\'', '/']) {
        rest = &rest[at..];
        rest = match rest.as_bytes() {
            [b'/', b'/', ..] => &rest[rest.find('\n').unwrap_or(rest.len())..],
            [b'\'', b'\\', _, more @ ..] => &rest[rest.len() - more.len()..],
            [b'\'', b'"' | b'/', b'\'', ..] => &rest[3..],
            [b'"', ..] => {
                let end = end_of_literal(&rest[1..]);
                found.push(rest[1..=end].to_owned());
                &rest[end + 2..]
            }
            _ => &rest[1..],
        };
    }
    found
}

/// The place of the quote that ends it; none of our raw literals holds one.
fn end_of_literal(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    end.expect("the end of a literal")
}

fn is_part(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'
}

/// The names before a dot, behind `as`, and of common table expressions. Words of sentences are among them, which does no harm.
fn in_sql(sql: &str) -> Vec<String> {
    let before = |end: usize| {
        let text = sql[..end].trim_end_matches(' ');
        // The names of its columns may stand behind the name of an expression.
        let text = match text.rfind('(') {
            Some(list) if text.ends_with(')') => text[..list].trim_end_matches(' '),
            Some(_) | None => text,
        };
        text[text.trim_end_matches(is_part).len()..].to_owned()
    };
    let after = |start: usize| {
        let text = &sql[start..];
        text[..text.find(|c| !is_part(c)).unwrap_or(text.len())].to_owned()
    };
    let qualifiers = sql.match_indices('.').map(|(at, _)| {
        let is_name = sql[at + 1..].starts_with(|c: char| is_part(c) || "{\\*".contains(c));
        if is_name { before(at) } else { String::new() }
    });
    let behind_as = sql
        .match_indices(" as ")
        .map(|(at, word)| after(at + word.len()));
    let expressions = [" as (", " as materialized ("]
        .into_iter()
        .flat_map(|word| sql.match_indices(word).map(|(at, _)| before(at)));
    let all = qualifiers.chain(behind_as).chain(expressions);
    all.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() < 64)
        .collect()
}

#[test]
fn aliases_are_found_in_a_source() {
    let source = r#"
        // "not.this" one
        const SQL: &str = "-- say
            with few as materialized (select 1), more (n) as (select 2)
            select l.id, x.\"Y\" as tag, z.* from {local} l where q.{name} = '1.5'";
        fn quote(c: char) -> bool { c == '"' || c == '\\' || c == '\'' }
        let fragment = "w.n";
    "#;
    let mut names: Vec<String> = literals(source)
        .iter()
        .flat_map(|sql| in_sql(sql))
        .collect();
    names.sort_unstable();
    let expected = [
        "few",
        "l",
        "materialized",
        "more",
        "q",
        "tag",
        "w",
        "x",
        "z",
    ];
    assert_eq!(names, expected);
}

#[test]
fn the_aliases_of_statements_in_every_part_of_our_sources_are_found() {
    let names = in_our_sources();
    // Of digests, free values, plans, slots, the catalogs, the log, held meters and the demo.
    for known in [
        "buckets",
        "candidates",
        "held",
        "l",
        "p",
        "s",
        "later",
        "oldest",
        "kept",
        "family",
        "is_gone",
        "named",
    ] {
        assert!(names.iter().any(|name| name == known), "{known}: {names:?}");
    }
    assert!(
        (100..600).contains(&names.len()),
        "{}: {names:?}",
        names.len()
    );
}
