//! Makes values to park rows on, for a column that accepts only a few values. The following values are tried before the
//! general ones of `spare_values`:
//!
//! - values of the table that a foreign key of the column refers to;
//! - literals in the checks;
//! - for numbers and dates, values in the gaps between the values in use;
//! - if the index compares more than this column, values that other rows hold.

use crate::db::catalog::Column;
use crate::db::quote;
use crate::db::row_constraints::UniquenessRule;

use super::spare_referenced_values;
use super::spare_values::{self, TypeKind, checked, sure};
use crate::engine::Relations;

/// The most values that each statement makes.
const TRIED: i64 = 100;

/// Builds statements that each fill `meter_sync_free` with values to be tried one by one. If `is_alone` is true, the
/// index reads only this column, and values that other rows hold are not made. `own` is SQL for the rows to be parked,
/// as in `spare_values`.
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
        ways.push(sure(
            "select distinct h.value from held h where h.value is not null".to_owned(),
        ));
    }
    let few = ways
        .iter()
        .map(|way| spare_values::statement(relations, column, way, TRIED, own));
    let referred = spare_referenced_values::statements(relations, column, TRIED, own).into_iter();
    let few = referred.chain(few);
    few.chain(spare_values::statements(
        relations, column, kind, TRIED, own,
    ))
    .collect()
}

/// Builds the statement that fills `meter_sync_free` with the literals in the expressions and the predicate of an
/// index. A row with such a value may be outside of a partial index. Other rows may hold the same value.
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
    let way = sure(format!(
        "select {value} from unnest(array[{}]) t (text), regexp_matches(t.text, '{pattern}', 'g') m",
        texts.join(", ")
    ));
    spare_values::statement(relations, column, &way, TRIED, own)
}

fn is_number(column: &Column, kind: &TypeKind) -> bool {
    kind.category == "N" && column.base_type != "oid"
}

/// A regular expression that matches the SQL literals of a column's type, and the SQL expression that turns a match `m`
/// into a value.
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

/// A query of the literals in the checks of the table and of the domains of its columns.
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

/// A query of values between the lowest and the highest value in use.
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
