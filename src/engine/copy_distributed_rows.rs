//! Copies the rows of a distributed local table to a temporary table, for statements that Citus cannot plan.
//!
//! Citus refuses most joins of a distributed table with our temporary tables, other than inner joins, and some of the
//! statements that look for colliding values crash Citus 13.2. If such a statement reads a copy instead, Citus has no
//! part in it. The copy holds the rows as they were when it was made, so it is made anew before each statement that
//! reads it.

use crate::db::DbError;

use super::RunContext;
use super::relations::refuse_unsuited_distribution::COPIED_ROWS;

/// Copies all rows that `Relations::local_rows` reads. These are the tenant's rows if the table is distributed by the
/// tenant, because each unique index then has the tenant in it. Otherwise they are all rows of the table. Does nothing
/// if Citus does not distribute the local table.
pub(super) async fn copy(run: &RunContext<'_>) -> Result<(), DbError> {
    let Some(distribution) = &run.relations.distribution else {
        return Ok(());
    };
    let filter = match distribution.column() {
        Some(_) => run.scope.local_filter.as_str(),
        None => "true",
    };
    copy_those(run, &format!("{} l where {filter}", run.relations.local)).await
}

/// Copies only the rows of the plan, for a statement that reads no others. Does nothing if Citus does not distribute
/// the local table.
pub(super) async fn copy_planned(run: &RunContext<'_>) -> Result<(), DbError> {
    if run.relations.distribution.is_none() {
        return Ok(());
    }
    let (table, filter) = (&run.relations.local, &run.scope.local_filter);
    let same_key = run.relations.same_key("l", "p");
    let rows = format!("pg_temp.meter_sync_plan p join {table} l on {same_key} and {filter}");
    copy_those(run, &rows).await
}

/// Copies the rows `l` that `rows` selects. `rows` is SQL to follow the keyword `from`.
async fn copy_those(run: &RunContext<'_>, rows: &str) -> Result<(), DbError> {
    let table = &run.relations.local;
    let sql = format!(
        "-- copy the rows of the distributed table
create temp table if not exists meter_sync_local on commit drop as select l.* from {table} l with no data;
truncate {COPIED_ROWS};
insert into {COPIED_ROWS} select l.* from {rows};
analyze {COPIED_ROWS}"
    );
    run.local.batch(&sql).await
}
