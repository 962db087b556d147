//! Puts the local rows of a [`RowSelection`] into a temporary table. Among these rows, the plan looks for meters that
//! are missing on the remote.

use crate::db::{DbError, quote};

use super::{RowSelection, RunContext};

/// The temporary table that [`select`] creates.
pub(super) const TABLE: &str = "pg_temp.meter_sync_candidate";

/// Creates a temporary table of the local rows of the selection. This is done while the remote looks for the rows to
/// send, so that the plan need not search the local table afterwards.
///
/// Another session may change a row after it was selected. If the plan would deactivate that row, the change is noticed
/// when the rows of the plan are locked, and the plan is made again from the local table itself. A row that is added or
/// activated after the selection is left to the next run.
pub(super) async fn select(run: &RunContext<'_>, selection: &RowSelection) -> Result<(), DbError> {
    let sql = format!(
        "-- look for the local rows of the extent
create temp table meter_sync_candidate on commit drop as select u.* from {} u",
        rows(run, selection)
    );
    run.local.batch(&sql).await
}

/// Returns a subquery, for use after `from`, that selects the local rows of the selection: their row version (`xmin`),
/// their `ctid`, whether they are active, and their key. Rows with NULL in their key are left out.
pub(super) fn rows(run: &RunContext<'_>, selection: &RowSelection) -> String {
    let relations = run.relations;
    let (local, filter, within) = (&relations.local, &run.scope.local_filter, &selection.local);
    let active = quote::identifier(&relations.active);
    let key = quote::list(&relations.key, ", ", |name| {
        format!(
            "{} as {}",
            relations.column("l", name),
            relations.temp_column(name)
        )
    });
    // No remote row can match a local row with NULL in its key, so such a row is not a meter.
    let has_key = relations.has_key("l");
    format!(
        "(select l.xmin as version, l.ctid as place, l.{active} is true as active, {key}
 from {local} l where {filter} and {has_key} and {within})"
    )
}
