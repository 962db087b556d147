//! Builds statements that make temporary values for rows that exchange unique values, if the column accepts only a few
//! values. The following values are tried before the general ones of `spare_values`:
//!
//! - values of the table that a foreign key of the column refers to;
//! - literals in check constraints;
//! - for numbers and dates, values in the gaps between the values in use;
//! - if the index reads more columns than this one, values that other rows hold.

use crate::db::catalog::Column;
use crate::db::constraints_between_rows::UniquenessRule;
use crate::db::quote;

use super::spare_foreign_key_values;
use super::spare_values::{self, TypeKind, checked, unchecked};
use crate::engine::Relations;

/// The most values that one statement makes.
const TRIED: i64 = 100;

/// Returns statements that each fill the temporary table `meter_sync_free` with values for the column, which the caller
/// then tries one by one. `is_alone` says that the index reads no other column, so that values which other rows hold
/// are useless and are not made. `own` selects the rows `l` that need a value, as SQL to follow the keyword `from`.
pub(in crate::engine) fn statements(
    relations: &Relations,
    column: &Column,
    kind: &TypeKind,
    is_alone: bool,
    own: &str,
) -> Vec<String> {
    let base = column.base_type.as_str();
    let is_number = is_number(column, kind);
    let mut ways = vec![checked(named_in_checks(relations, column, is_number))];
    if is_number || base == "date" {
        ways.push(checked(gaps(base, is_number)));
    }
    if !is_alone {
        ways.push(unchecked(
            "select distinct h.value from held h where h.value is not null".to_owned(),
        ));
    }
    let few = ways
        .iter()
        .map(|way| spare_values::statement(relations, column, way, TRIED, own));
    let referred = spare_foreign_key_values::statements(relations, column, TRIED, own).into_iter();
    let few = referred.chain(few);
    few.chain(spare_values::statements(
        relations, column, kind, TRIED, own,
    ))
    .collect()
}

/// Returns a statement that fills the temporary table `meter_sync_free` with the literals in the expressions and the
/// predicate of an index. A row that gets one of them may no longer meet the predicate, and so leave a partial index.
/// Values that other rows hold are not left out.
pub(in crate::engine) fn named_in_rule(
    relations: &Relations,
    column: &Column,
    kind: &TypeKind,
    rule: &UniquenessRule,
    own: &str,
) -> String {
    let (pattern, value) = literals(column, is_number(column, kind));
    let parts = rule.parts.iter().map(|part| &part.expression);
    let texts: Vec<String> = parts
        .chain(&rule.predicate)
        .map(|text| quote::literal(text))
        .collect();
    let way = unchecked(format!(
        "select {value} from unnest(array[{}]) t (text), regexp_matches(t.text, '{pattern}', 'g') m",
        texts.join(", ")
    ));
    spare_values::statement(relations, column, &way, TRIED, own)
}

fn is_number(column: &Column, kind: &TypeKind) -> bool {
    kind.category == "N" && column.base_type != "oid"
}

/// Returns a regular expression that finds literals of the column's type in SQL text, and an SQL expression that turns
/// a match `m` into a value.
fn literals(column: &Column, is_number: bool) -> (&'static str, String) {
    let base = &column.base_type;
    match is_number {
        true => ("(-?[0-9]+(?:[.][0-9]+)?)", format!("m[1]::numeric::{base}")),
        false => (
            "''((?:[^'']|'''')*)''",
            format!("replace(m[1], '''''', '''')::{base}"),
        ),
    }
}

/// Returns a query of the literals in the check constraints of the local table and of its columns' domains.
fn named_in_checks(relations: &Relations, column: &Column, is_number: bool) -> String {
    let (pattern, value) = literals(column, is_number);
    let oid = relations.local_oid;
    format!(
        "select {value} from pg_catalog.pg_constraint x, \
         regexp_matches(pg_get_constraintdef(x.oid), '{pattern}', 'g') m \
         where x.contype = 'c' and (x.conrelid = {oid} or x.contypid in ( \
         select a.atttypid from pg_catalog.pg_attribute a where a.attrelid = {oid}))"
    )
}

/// Returns a query that counts up from the lowest value in use, in steps of 1, and stays below the highest. Some of
/// these values may be in use. `base` is the type of the column.
fn gaps(base: &str, is_number: bool) -> String {
    let (held, is_finite) = match is_number {
        true => ("h.value::numeric", "true"),
        false => ("h.value", "isfinite(h.value)"),
    };
    format!(
        "select (m.least + g)::{base} \
         from (select min({held}) as least, max({held}) as most, count(*)::integer as rows from held h where {is_finite}) m, \
         generate_series(1, m.rows) g where m.least + g < m.most"
    )
}
