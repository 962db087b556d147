//! The planned deactivations: finds the meters that a plan would make inactive, and compares them with those that a
//! person was shown. `store::held_sets` keeps the sets of meters that the brake held back.

use tokio_postgres::Row;

use super::RunContext;
use crate::db::{DbError, lossless_json};
use crate::model::{Fields, RunId};
use crate::store::held_sets::{self, ApprovalCover};

/// SQL that selects the meters that the plan makes inactive. Column `key` is the meter's key as the local table has
/// it, and `n` is its number in the plan.
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

/// Stores the meters that the plan makes inactive, under the job's run. Returns the digest of the set.
pub(super) async fn keep(run: &RunContext<'_>) -> Result<String, DbError> {
    let job = run.job;
    let whose = format!("{} {} ", run.relations.local, job.tenant);
    held_sets::keep(run.local, job.run_id, &keys(run), &whose).await
}

/// Tells whether all meters that the plan makes inactive are among those that the brake held back in the run `shown`.
pub(super) async fn cover(run: &RunContext<'_>, shown: RunId) -> Result<ApprovalCover, DbError> {
    held_sets::cover(run.local, run.job.run_id, shown, &keys(run)).await
}

/// The most meters that [`first`] returns for one cause.
const NAMED: u32 = 5;

/// Why a meter would become inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeactivationCause {
    /// The meter is missing on the remote.
    Gone,
    /// The meter's remote row has an active column that is not true.
    SwitchedOff,
}

/// Returns the first meters that would become inactive for this cause, for people to read: their keys, and their
/// names if there is a column `name`.
pub(super) async fn first(
    run: &RunContext<'_>,
    kind: DeactivationCause,
) -> Result<Vec<Fields>, DbError> {
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
        .map(|row: &Row| lossless_json::fields(row.get(0)));
    Ok(named.collect())
}
