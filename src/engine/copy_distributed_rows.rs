//! Copies the rows of a distributed local table to a temporary table, for statements that Citus cannot plan.
//!
//! Citus refuses most joins of a distributed table with our temporary tables, other than inner joins, and some of the
//! statements that look for colliding values crash Citus 13.2. Over a copy, Postgres plans them alone. The copy holds
//! the rows as they were when it was made, so it is made anew before each statement that reads it.

use crate::db::DbError;
use crate::db::distribution::Distribution;

use super::RunContext;
use super::relations::suited_distribution::COPIED_ROWS;

/// Copies the rows that `Relations::local_rows` reads. These are the tenant's rows if the table is distributed by the
/// tenant, because each unique index then has the tenant in it. Otherwise they are all rows of the table. Does nothing
/// if Citus does not distribute the local table.
pub(super) async fn copy(run: &RunContext<'_>) -> Result<(), DbError> {
    let relations = run.relations;
    let filter = match &relations.distribution {
        None => return Ok(()),
        Some(Distribution::ByColumn(_)) => run.scope.local_filter.as_str(),
        Some(
            Distribution::OneShard
            | Distribution::Reference
            | Distribution::Replicated
            | Distribution::CheckedAtCommit(_),
        ) => "true",
    };
    let table = &relations.local;
    let sql = format!(
        "-- copy the rows of the distributed table
create temp table if not exists meter_sync_local on commit drop as select l.* from {table} l with no data;
truncate {COPIED_ROWS};
insert into {COPIED_ROWS} select l.* from {table} l where {filter};
analyze {COPIED_ROWS}"
    );
    run.local.batch(&sql).await
}
