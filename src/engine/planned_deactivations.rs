//! Finds the meters that a plan would deactivate, and compares them with the deactivations that a person approved.
//! `store::held_deactivations` stores the meters that the brake refused to deactivate.

use tokio_postgres::Row;

use super::RunContext;
use crate::db::{DbError, read_lossless_json};
use crate::model::{MeterFields, RunId};
use crate::store::held_deactivations::{self, ApprovalCoverage};

/// SQL that selects the meters that the plan deactivates. Column `key` is the key of the local row as JSON, and `n` is
/// the meter's number in the plan.
fn keys(run: &RunContext<'_>) -> String {
    let relations = run.relations;
    let key = relations.key_json("l");
    let same_key = relations.same_key("l", "p");
    let (table, filter) = (&relations.local, &run.scope.local_filter);
    format!(
        "select {key} as key, p.n
    from pg_temp.meter_sync_plan p join {table} l on {same_key} and {filter}
    where p.action = 'deactivate' or p.is_switched_off"
    )
}

/// Stores the meters that the plan deactivates, under the job's run. Returns a digest that identifies this set of
/// meters.
pub(super) async fn keep(run: &RunContext<'_>) -> Result<String, DbError> {
    let job = run.job;
    let whose = format!("{} {} ", run.relations.local, job.tenant);
    held_deactivations::keep(run.local, job.run_id, &keys(run), &whose).await
}

/// Compares the meters that the plan deactivates with those that the brake held back in the run `shown` and that a
/// person has approved. Returns how many of them the approval does not cover.
pub(super) async fn cover(run: &RunContext<'_>, shown: RunId) -> Result<ApprovalCoverage, DbError> {
    held_deactivations::cover(run.local, run.job.run_id, shown, &keys(run)).await
}

/// The most meters that [`first`] returns for one cause.
const NAMED: u32 = 5;

/// Why a meter would become inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeactivationCause {
    /// The meter is missing on the remote.
    Gone,
    /// The meter's remote row says that it is not active: its active column is `false` or NULL.
    SwitchedOff,
}

/// Returns the first few meters that the plan deactivates for this cause: their keys, and their names if there is a
/// column `name`. The result is shown to people.
pub(super) async fn first(
    run: &RunContext<'_>,
    kind: DeactivationCause,
) -> Result<Vec<MeterFields>, DbError> {
    let relations = run.relations;
    let key = relations.key_json("l");
    let same_key = relations.same_key("l", "p");
    let name = match relations.names.iter().any(|name| name == "name") {
        true => "pg_catalog.jsonb_build_object('name', pg_catalog.left(l.name::text, 200))",
        false => "'{}'::jsonb",
    };
    let is_of_kind = match kind {
        DeactivationCause::Gone => "p.action = 'deactivate'",
        DeactivationCause::SwitchedOff => "p.is_switched_off",
    };
    let (table, filter) = (&relations.local, &run.scope.local_filter);
    let sql = |text: fn(&str) -> String| {
        format!(
            "-- name the first meters to be deactivated
select {}
from pg_temp.meter_sync_plan p
join {table} l on {same_key} and {filter}
where {is_of_kind} order by p.n limit {NAMED}",
            text(&format!("({key} || {name})"))
        )
    };
    let rows = run.local.query_json(sql, &[]).await?;
    let named = rows
        .iter()
        .map(|row: &Row| read_lossless_json::fields(row.get(0)));
    Ok(named.collect())
}
