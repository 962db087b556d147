//! Puts the id of a tenant into the name of the local table, in place of [`TENANT_PLACEHOLDER`]. With such a name, each
//! tenant has a local table of its own.
//!
//! The name is parsed before the id is put into its parts, and the result is quoted. So an id can neither split the
//! name nor change how Postgres reads it. Different ids give different names.

use super::parse_table_name;

/// The text in the name of the local table that is replaced by the tenant's id.
pub const TENANT_PLACEHOLDER: &str = "{tenant}";

/// The character that replaces the placeholder while the name is parsed. The parser accepts it without quotes, as it
/// does every character outside ASCII. No real name should contain it, because Unicode reserves it for internal use.
const STAND_IN: &str = "\u{10ffff}";

/// The longest name that Postgres stores, in bytes. It cuts longer names off without an error
/// (<https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>).
const LONGEST_NAME: usize = 63;

/// Whether the name of a table contains the placeholder for a tenant's id.
pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(TENANT_PLACEHOLDER)
}

/// Checks that the name of a table, with or without the placeholder, can be parsed. The error is the part of a message
/// that follows the name of the setting.
pub(super) fn check(name: &str) -> Result<(), String> {
    parts(name).map(drop)
}

/// Replaces the placeholder by a tenant's id. A name without the placeholder is returned unchanged. Error: the result
/// is longer than Postgres can store.
pub(super) fn fill(name: &str, id: &str) -> Result<String, String> {
    if !is_pattern(name) {
        return Ok(name.to_owned());
    }
    let parts = parts(name)?.into_iter();
    let filled: Vec<String> = parts.map(|part| part.replace(STAND_IN, id)).collect();
    match filled.iter().find(|part| part.len() > LONGEST_NAME) {
        Some(long) => Err(format!(
            "the name \"{long}\" for tenant {id} is longer than {LONGEST_NAME} bytes, the most that Postgres takes"
        )),
        None => Ok(parse_table_name::write(&filled)),
    }
}

/// Parses the name of a table into its parts, with [`STAND_IN`] in place of the placeholder.
fn parts(name: &str) -> Result<Vec<String>, String> {
    let parsed = parse_table_name::parts(&name.replace(TENANT_PLACEHOLDER, STAND_IN));
    parsed.map_err(|problem| problem.replace(STAND_IN, TENANT_PLACEHOLDER))
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    #[test]
    fn the_id_becomes_a_part_of_the_name_and_nothing_else() {
        for (pattern, id, filled) in [
            ("meter", "7", "meter"),
            ("Site_{tenant}.Meter", "7", "site_7.meter"),
            ("meter_{tenant}", "-7", "\"meter_-7\""),
            ("{tenant}.meter", "7", "\"7\".meter"),
            ("meter_{tenant}", "A-1", "\"meter_A-1\""),
            ("meter_{tenant}", "a\"b", "\"meter_a\"\"b\""),
            ("\"Meter {tenant}\"", "a\"b", "\"Meter a\"\"b\""),
            ("site_{tenant}.meter", "x.y", "\"site_x.y\".meter"),
            ("\"{tenant}\".meter", "x.y", "\"x.y\".meter"),
            (
                "meter_{tenant}",
                "; drop table m; --",
                "\"meter_; drop table m; --\"",
            ),
            (
                "{tenant}.m_{tenant}",
                "{tenant}",
                "\"{tenant}\".\"m_{tenant}\"",
            ),
            ("meter_{tenant}", "\u{e4}", "\"meter_\u{e4}\""),
        ] {
            assert_eq!(fill(pattern, id).unwrap(), filled, "{pattern} {id}");
        }
    }

    #[test]
    fn a_name_that_postgres_would_cut_off_is_refused() {
        assert!(fill("m_{tenant}", &"x".repeat(61)).is_ok());
        let problem = fill("m_{tenant}", &"x".repeat(62)).unwrap_err();
        assert!(problem.contains("longer than 63 bytes"), "{problem}");
        assert!(fill("m_{tenant}", &"\u{e4}".repeat(31)).is_err());
    }

    #[test]
    fn a_pattern_is_checked_as_a_name_is() {
        for name in ["meter", "site_{tenant}.meter", "\"{tenant}\"", "{tenant}"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for name in [
            "site-{tenant}",
            "{tenant",
            "a.b.{tenant}",
            "{tenant}.",
            "{Tenant}",
        ] {
            let problem = check(name).unwrap_err();
            assert!(!problem.contains(STAND_IN), "{problem}");
        }
    }

    quickcheck! {
        fn an_id_is_read_back_from_the_name(id: String) -> bool {
            let id: String = id.chars().filter(|c| *c != '\0').take(15).collect();
            let read = |pattern: &str| parse_table_name::parts(&fill(pattern, &id).unwrap()).unwrap();
            read("S.Meter_{tenant}") == ["s".to_owned(), format!("meter_{id}")]
                && read("\"M.{tenant}\"") == [format!("M.{id}")]
        }
    }
}
