//! Free values of a column for which few values are allowed: those that its checks name, the gaps between the values that are
//! held, and, where a rule compares more than this column, values that other rows hold.

use crate::db::catalog::Column;
use crate::db::exclusive::Exclusive;
use crate::db::quote;

use super::free_values::{self, TypeKind, checked, sure};
use super::{Shape, referred_values};

/// So many values of each kind are tried.
const TRIED: i64 = 100;

/// Statements that each fill `meter_sync_free` with values to be tried one by one; `is_alone` says that the rule compares nothing
/// but this column.
pub(super) fn statements(
    shape: &Shape,
    column: &Column,
    kind: &TypeKind,
    is_alone: bool,
    own: &str,
) -> Vec<String> {
    let base = column.base_type.as_str();
    let is_number = is_number(column, kind);
    let mut ways = vec![checked(named_in_checks(shape, column, is_number))];
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
        .map(|way| free_values::statement(shape, column, way, TRIED, own));
    let referred = referred_values::statements(shape, column, TRIED, own).into_iter();
    let few = referred.chain(few);
    few.chain(free_values::statements(shape, column, kind, TRIED, own))
        .collect()
}

/// The statement for the literals in a unique index: what its condition leaves out may be one of them. Others may hold them.
pub(super) fn named_in_rule(
    shape: &Shape,
    column: &Column,
    kind: &TypeKind,
    rule: &Exclusive,
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
    free_values::statement(shape, column, &way, TRIED, own)
}

fn is_number(column: &Column, kind: &TypeKind) -> bool {
    kind.category == "N" && column.base_type != "oid"
}

/// The pattern of a literal in SQL, and what its match `m` stands for.
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

/// The literals in the checks of the table and of the column's domain.
fn named_in_checks(shape: &Shape, column: &Column, is_number: bool) -> String {
    let (pattern, value) = literals(column, is_number);
    let oid = shape.local_oid;
    format!(
        "select {value} from pg_catalog.pg_constraint x, \
         regexp_matches(pg_get_constraintdef(x.oid), '{pattern}', 'g') m \
         where x.contype = 'c' and (x.conrelid = {oid} or x.contypid in ( \
         select a.atttypid from pg_catalog.pg_attribute a where a.attrelid = {oid}))"
    )
}

/// What lies between the lowest and the highest value that is held.
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
