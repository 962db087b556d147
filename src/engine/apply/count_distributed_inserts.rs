//! Counts the inserted rows of a distributed table.
//!
//! Citus returns the number of rows that it sent to the shards. This includes rows that a trigger of a shard skips, so
//! the table is asked which of the rows it has.

use crate::engine::RunContext;
use crate::engine::plan::PlanStep;

/// Returns the query for the field `recount` of a statement that [`writing`](super::writing) returns for this step and
/// condition.
pub(super) fn query(run: &RunContext<'_>, step: PlanStep, picked: &str) -> Option<String> {
    let relations = run.relations;
    let may_skip = relations.distribution.is_some() && !relations.stores_rows_unchanged;
    (may_skip && step == PlanStep::Insert).then(|| {
        format!(
            "-- count the inserted meters
select pg_catalog.count(*) from (select p.* from pg_temp.meter_sync_plan p where {picked}) p
join {} l on {} and {}",
            relations.local,
            relations.same_key("l", "p"),
            run.scope.local_filter
        )
    })
}
