//! Builds the statements that write rows of the plan, found by their keys.

use crate::db::quote;
use crate::engine::plan::PlanStep;
use crate::engine::write_by_halving::RowRangeStatement;
use crate::engine::{Relations, RunContext};

use super::count_distributed_inserts;

/// Returns the statement that writes those rows of a step that are numbered `$1` to `$2` in the plan.
pub(super) fn write(run: &RunContext<'_>, step: PlanStep) -> RowRangeStatement {
    RowRangeStatement {
        sql: writing(run, step, RANGE),
        has_gaps: false,
        checks: !run.relations.stores_rows_unchanged,
        recount: count_distributed_inserts::query(run, step, RANGE),
    }
}

/// The SQL condition that row `p` of the plan has a number from `$1` to `$2`.
const RANGE: &str = "p.n >= $1 and p.n <= $2";

/// Returns the statement that writes those rows of the plan for which the SQL condition `picked` on the row `p` holds.
/// All of them must belong to the step.
pub(super) fn writing(run: &RunContext<'_>, step: PlanStep, picked: &str) -> String {
    let relations = run.relations;
    let (local, local_filter) = (&relations.local, &run.scope.local_filter);
    let staged_row = relations.same_key("s", "p");
    let local_row = relations.same_key("l", "p");
    match step {
        PlanStep::Deactivate => format!(
            "-- deactivate meters
update {local} l set {} = false from pg_temp.meter_sync_plan p
where {local_row} and {local_filter} and {picked}",
            quote::identifier(&relations.active)
        ),
        PlanStep::Change => format!(
            "-- update meters
update {local} l set {} from pg_temp.meter_sync_plan p, pg_temp.meter_sync_stage s
where {staged_row} and {local_row} and {local_filter} and {picked}",
            assignments(relations)
        ),
        PlanStep::Insert => format!(
            "-- insert meters
insert into {local} ({}) overriding system value
select {} from pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}
where {picked}
order by p.n",
            quote::columns("", &relations.names),
            relations.list("s", &relations.names)
        ),
    }
}

/// SQL to follow the keyword `set`: gives a local row the values of the staged row `s`.
pub(in crate::engine) fn assignments(relations: &Relations) -> String {
    quote::list(relations.fields(), ", ", |name| {
        format!(
            "{} = {}",
            quote::identifier(name),
            relations.column("s", name)
        )
    })
}
