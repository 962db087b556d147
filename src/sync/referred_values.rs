//! Free values of a column that refers to another table: those of that table that no meter holds. No others are taken there.

use crate::db::catalog::Column;
use crate::db::quote;

use super::Shape;
use super::free_values::{self, checked};

/// Statements that each fill `meter_sync_free` with up to `rows` such values; none for a column that refers to nothing. Where the
/// reference has more columns, some of the values may not go with the others of a row.
pub(super) fn statements(shape: &Shape, column: &Column, rows: i64) -> Vec<String> {
    let outward = shape.rules.outward.iter().filter_map(|outward| {
        let mut pairs = outward.columns.iter();
        let (_, to) = pairs.find(|(from, _)| *from == column.name)?;
        Some((&outward.table, to))
    });
    outward
        .map(|(table, to)| {
            let (value, base) = (quote::identifier(to), &column.base_type);
            let way = checked(format!("select t.{value}::{base} from {table} t"));
            free_values::statement(shape, column, &way, rows)
        })
        .collect()
}
