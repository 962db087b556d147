//! SQL conditions for whether a staged row and a local row differ.
//!
//! Two values are the same if their binary images are (`record_image_eq`, record comparison,
//! <https://www.postgresql.org/docs/current/functions-comparisons.html#COMPOSITE-TYPE-COMPARISON>). So NULL differs
//! from `''` and `1.0` from `1.00`, types without an equality operator such as `json` can be compared, and `a` differs
//! from `A` even in a case-insensitive type. For the types whose own operators tell the same, these are used, because
//! they take a fraction of the time.

use crate::db::catalog::Column;

use super::Relations;

/// Returns the synced columns that are not part of the key.
pub(super) fn compared(relations: &Relations) -> impl Iterator<Item = &Column> {
    let is_compared = |column: &&Column| !relations.key.contains(&column.name);
    relations.columns.iter().filter(is_compared)
}

/// SQL condition: whether the staged row `s` and the local row `l` differ in a column that an update would write. It is
/// never NULL in effect: used as a filter, it gives the same answer as comparing the binary images of both rows.
///
/// The key is left out because keys that are equal in the local type (such as `a` and `A` in a case-insensitive type)
/// are the same meter, and the local key is not changed.
///
/// Columns of time come first, because one of them usually says when a row was changed, and then no other is compared.
pub(super) fn differ(relations: &Relations) -> String {
    let mut conditions = Vec::new();
    let mut by_image = Vec::new();
    let fields: Vec<&String> = relations.fields().collect();
    let mut columns: Vec<&Column> = compared(relations)
        .filter(|column| fields.contains(&&column.name))
        .collect();
    columns.sort_by_key(|column| !column.base_type.starts_with("timestamp"));
    for column in columns {
        let [there, here] = ["s", "l"].map(|row| relations.column(row, &column.name));
        match comparable(column) {
            Some(cast) => conditions.push(format!(
                "{there}{cast} operator(pg_catalog.<>) {here}{cast} \
                 or ({there} is null) operator(pg_catalog.<>) ({here} is null)"
            )),
            None => by_image.push((there, here)),
        }
    }
    if !by_image.is_empty() || conditions.is_empty() {
        let (there, here): (Vec<String>, Vec<String>) = by_image.into_iter().unzip();
        conditions.push(format!(
            "pg_catalog.record_image_ne(row({}), row({}))",
            there.join(", "),
            here.join(", ")
        ));
    }
    format!("({})", conditions.join(" or "))
}

/// SQL condition, never NULL: whether the staged and the local value of a column are the same.
pub(super) fn is_same(relations: &Relations, column: &Column) -> String {
    let [here, there] = ["l", "s"].map(|row| relations.column(row, &column.name));
    match comparable(column) {
        Some(cast) => format!(
            "coalesce({here}{cast} operator(pg_catalog.=) {there}{cast}, {here} is null and {there} is null)"
        ),
        None => format!("pg_catalog.record_image_eq(row({here}), row({there}))"),
    }
}

/// Whether the column's own operators tell whether two values have the same binary image. If so, returns what to add to
/// both values, as SQL.
fn comparable(column: &Column) -> Option<&'static str> {
    match column.base_type.as_str() {
        _ if !column.is_builtin => None,
        base_type if EXACT.contains(&base_type) => Some(""),
        "text" | "character varying" => Some("::text collate pg_catalog.\"C\""),
        _ => None,
    }
}

/// The types whose `=` is true only for values with the same binary image.
const EXACT: &[&str] = &[
    "smallint",
    "integer",
    "bigint",
    "boolean",
    "date",
    "timestamp without time zone",
    "timestamp with time zone",
    "uuid",
];
