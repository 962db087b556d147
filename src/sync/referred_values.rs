//! Columns that refer to another table. Their free values are those of that table that no meter holds: no others are taken there.

use crate::db::catalog::Column;
use crate::db::exclusive::Outward;
use crate::db::{DbError, Local, RowFault, Tx, param, quote};

use super::exchange::Bad;
use super::free_values::{self, checked};
use super::{Shape, rejected};

/// Statements that each fill `meter_sync_free` with up to `rows` such values; none for a column that refers to nothing. Where the
/// reference has more columns, some of the values may not go with the others of a row.
pub(super) fn statements(shape: &Shape, column: &Column, rows: i64, own: &str) -> Vec<String> {
    let outward = shape.rules.outward.iter().filter_map(|outward| {
        let mut pairs = outward.columns.iter();
        let (_, to) = pairs.find(|(from, _)| *from == column.name)?;
        Some((&outward.table, to))
    });
    outward
        .map(|(table, to)| {
            let (value, base) = (quote::identifier(to), &column.base_type);
            let way = checked(format!("select t.{value}::{base} from {table} t"));
            free_values::statement(shape, column, &way, rows, own)
        })
        .collect()
}

/// The updates of the plan that are to refer to what is not there, where the fault is that one does: a check that was put off
/// does not tell which.
pub(super) async fn missing(
    local: &Tx<'_, Local>,
    shape: &Shape,
    fault: &RowFault,
) -> Result<Bad, DbError> {
    let mut outward = shape.rules.outward.iter();
    let broken = outward.find(|outward| fault.rule.as_ref() == Some(&outward.constraint));
    let Some(sql) = broken.and_then(|outward| lacking(shape, outward)) else {
        return Ok(Vec::new());
    };
    let params = [&fault.schema, &fault.table].map(|name| param::text(name.as_deref()));
    local.pin_path().await?;
    let found = rejected::if_possible(local, local.query(&sql, &params)).await?;
    local.use_role_path().await?;
    let rows = found.unwrap_or_default();
    Ok(rows.iter().map(|row| (row.get(0), fault.clone())).collect())
}

/// So many such rows are looked for at once.
const LACKING: i64 = 10_000;

/// The query for those of them that are in the table `$1`.`$2`, which may be a part of ours; none where a column of the reference
/// is not synced.
fn lacking(shape: &Shape, outward: &Outward) -> Option<String> {
    let mut conditions = Vec::new();
    let mut matches = Vec::new();
    for (from, to) in &outward.columns {
        let column = shape.columns.iter().find(|column| column.name == *from)?;
        let (value, to) = (shape.column("s", from), quote::identifier(to));
        conditions.push(format!("{value} is not null"));
        matches.push(format!(
            "t.{to}::{} {} {value}",
            column.base_type, column.equals
        ));
    }
    Some(format!(
        "-- look for rows that refer to nothing
select p.n from pg_temp.meter_sync_plan p
join pg_temp.meter_sync_stage s on {}
join {} l on {} and {}
join pg_catalog.pg_class c on c.oid = l.tableoid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace and n.nspname::text = $1 and c.relname::text = $2
where p.step = 1 and {} and not exists (select from {} t where {})
limit {LACKING}",
        shape.same_key("s", "p"),
        shape.local,
        shape.same_key("l", "p"),
        shape.local_filter,
        conditions.join(" and "),
        outward.table,
        matches.join(" and ")
    ))
}
