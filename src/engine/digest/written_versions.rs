//! The row versions that a run has written to the local table, for the watermark.

use crate::db::DbError;
use crate::engine::RunContext;

use super::row_versions::WrittenVersions;
use super::version_hash::version;

/// Returns a `bigint` expression in SQL for the exclusive or of the old and the new version of a written row. The row
/// `row` has the columns `place` and `version`, and `old_place` and `old_version`, which are NULL if it was inserted.
pub(in crate::engine) fn version_change(row: &str) -> String {
    let new = version(&format!("{row}.place"), &format!("{row}.version"));
    let old = version(&format!("{row}.old_place"), &format!("{row}.old_version"));
    format!("({new} operator(pg_catalog.#) coalesce({old}, 0))")
}

/// Looks up the row versions that the plan wrote. The whole table is not summed again, because that would include rows
/// that other sessions wrote meanwhile and that were not compared.
pub(super) async fn look_up(run: &RunContext<'_>) -> Result<WrittenVersions, DbError> {
    let (table, local_filter) = (&run.relations.local, &run.scope.local_filter);
    let same_key = run.relations.same_key("l", "p");
    let new = version("l.ctid", "l.xmin");
    let old = version("p.place", "p.version");
    let sql = format!(
        "-- look up the versions written
select pg_catalog.count(*) filter (where p.place is null), coalesce(pg_catalog.bit_xor({new} # coalesce({old}, 0)), 0)
from pg_temp.meter_sync_plan p
join {table} l on {same_key} and {local_filter}"
    );
    let found = run.local.query_one(&sql, &[]).await?;
    Ok(WrittenVersions::Change {
        inserted: found.get(0),
        change: found.get(1),
    })
}
