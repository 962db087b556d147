//! Makes spare values (values that a row can hold for a moment) for columns with a foreign key to another table. The
//! foreign key accepts only values of that table, so a spare value is one of them that no meter holds.

use crate::db::catalog::Column;
use crate::db::constraints_between_rows::OutgoingForeignKey;
use crate::db::{DbError, RowFault, param, quote};

use super::spare_values::{self, checked};
use crate::engine::write_by_halving;
use crate::engine::write_by_halving::RowFaults;
use crate::engine::{Relations, RunContext};

/// Returns one statement for each foreign key of the column to another table. Each fills the temporary table
/// `meter_sync_free` with up to `rows` values of that table that no meter holds. If a foreign key has several columns,
/// some values may not fit the other columns of a row. `own` selects the rows that need a value, as SQL to follow the
/// keyword `from`.
pub(in crate::engine) fn statements(
    relations: &Relations,
    column: &Column,
    rows: i64,
    own: &str,
) -> Vec<String> {
    let outward = relations.constraints.outward.iter().filter_map(|outward| {
        let mut pairs = outward.columns.iter();
        let (_, to) = pairs.find(|(from, _)| *from == column.name)?;
        Some((&outward.table, to))
    });
    outward
        .map(|(table, to)| {
            let (value, base) = (quote::identifier(to), &column.base_type);
            let way = checked(format!("select t.{value}::{base} from {table} t"));
            spare_values::statement(relations, column, &way, rows, own)
        })
        .collect()
}

/// Returns the planned updates that would refer to a row which another table does not have, by the foreign key that
/// `fault` names. Returns none if `fault` names no foreign key to another table. This search is needed because the
/// error of a deferred constraint does not tell which row broke it.
pub(in crate::engine) async fn missing(
    run: &RunContext<'_>,
    fault: &RowFault,
) -> Result<RowFaults, DbError> {
    let local = run.local;
    let mut outward = run.relations.constraints.outward.iter();
    let broken = outward.find(|outward| fault.rule.as_ref() == Some(&outward.constraint));
    let Some(sql) = broken.and_then(|outward| lacking(run, outward)) else {
        return Ok(Vec::new());
    };
    let params = [&fault.schema, &fault.table].map(|name| param::text(name.as_deref()));
    local.pin_path().await?;
    let found = write_by_halving::if_possible(local, local.query(&sql, &params)).await?;
    local.use_role_path().await?;
    let rows = found.unwrap_or_default();
    Ok(rows.iter().map(|row| (row.get(0), fault.clone())).collect())
}

/// The most rows that [`missing`] returns.
const LACKING: i64 = 10_000;

/// Builds the query for [`missing`], or returns `None` if a column of the foreign key is not synced. The parameters
/// `$1` and `$2` are the schema and the name of the table that has the rows: the local table or one of its partitions.
fn lacking(run: &RunContext<'_>, outward: &OutgoingForeignKey) -> Option<String> {
    let relations = run.relations;
    let mut conditions = Vec::new();
    let mut matches = Vec::new();
    for (from, to) in &outward.columns {
        let column = relations
            .columns
            .iter()
            .find(|column| column.name == *from)?;
        let (value, to) = (relations.column("s", from), quote::identifier(to));
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
where p.step = 1 and {} and not exists (select 1 from {} t where {})
limit {LACKING}",
        relations.same_key("s", "p"),
        relations.local,
        relations.same_key("l", "p"),
        run.scope.local_filter,
        conditions.join(" and "),
        outward.table,
        matches.join(" and ")
    ))
}
