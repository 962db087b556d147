//! Writes a plan, the changes that a run would make, to the local table, with one statement for each step. If the table
//! refuses a row, the rows of the step are halved again and again, until each refused row is alone. If foreign keys act
//! on updates (such as `on update cascade`), the updates are written as an exchange of unique values (`exchange`).

use crate::db::constraints_between_rows::ConstraintsBetweenRows;
use crate::db::{DbError, RowFault, param, read_lossless_json};
use crate::model::{ChangeAction, Rejection};

use super::plan::{self, Plan, PlanStep, UnwrittenRow, count_of};
use super::read::StagedRows;
use super::write_by_halving::{self, RowFaults, RowRange, WriteAttemptOutcome};
use super::{Relations, RunContext, SyncError, SyncJob, SyncResult};
use super::{record_changes, why_value_refused};
use exchange::exchange_rings;
use keep_references_through_exchange::is_blocked_by_references;
use release_inactive_values::ClearedValues;
pub(super) use write_statements::assignments;
use write_statements::{write, writing};

mod collision_queries;
mod count_distributed_inserts;
mod defer_constraints;
mod exchange;
mod insert_parents_first;
mod keep_references_through_exchange;
mod name_shard_constraints;
mod reasons;
mod release_inactive_values;
mod verify_written;
pub(in crate::engine) mod write_at_once;
mod write_reference_rings;
mod write_statements;

/// How many times rows that could not be written are retried at most. Each time, rows may be written that others wait
/// for: rows that give up a unique value, or rows that others refer to.
const PASSES: usize = 20;

/// The limit of rejected rows, multiplied by this factor, is the most rows that may fail while the plan is first
/// written. If more fail, the run fails at once. The factor is needed because some of these rows only wait for other
/// rows, and can be written later.
const WAITING_FACTOR: usize = 20;

/// Applies the plan to the local table. The result lists the rejected rows, which the table refused. Fails if more rows
/// are rejected than allowed.
pub(crate) async fn apply(
    run: &RunContext<'_>,
    plan: Plan,
    staged: StagedRows,
) -> Result<SyncResult, SyncError> {
    // An error raised only at commit could not be traced to a row.
    run.local.batch(write_by_halving::CHECK).await?;
    let last = plan.steps.last().map_or(0, |(_, rows)| rows.last);
    let mut released = ClearedValues::after(last);
    let Some((relations, mut bad)) = steps(run, &plan, &mut released).await? else {
        let altered = verify_written::columns(run, &[]).await?;
        return Ok(SyncResult {
            altered,
            ..plan.into_synced(run.job, staged.rejected)
        });
    };
    let run = &run.with_relations(&relations);
    Box::pin(try_again(run, &mut bad, &mut released)).await?;
    settle(run, plan, staged, bad, &released).await
}

/// Writes the steps of the plan. Returns `None` if one statement was enough for each step. Otherwise, returns the rows
/// that could not be written, and a copy of `run.relations` that also has the constraints of the local table.
async fn steps(
    run: &RunContext<'_>,
    plan: &Plan,
    released: &mut ClearedValues,
) -> Result<Option<(Relations, Vec<UnwrittenRow>)>, SyncError> {
    let mut constrained: Option<Relations> = None;
    let mut bad: Vec<UnwrittenRow> = Vec::new();
    let mut left_of_inserts = None;
    for (step, rows) in &plan.steps {
        let ranges = match step {
            PlanStep::Insert => left_of_inserts.take(),
            PlanStep::Deactivate | PlanStep::Change => None,
        };
        let ranges = ranges.unwrap_or_else(|| vec![*rows]);
        let needs_exchange =
            *step == PlanStep::Change && run.relations.has_foreign_keys_acting_on_update;
        if !needs_exchange && write_all_or_none(run, *step, &ranges).await? {
            continue;
        }
        if constrained.is_none() {
            constrained = Some(with_constraints(run).await?);
        }
        let run = &run.with_relations(constrained.as_ref().unwrap_or(run.relations));
        if needs_exchange && Box::pin(exchanged(run, *rows, released)).await? {
            continue;
        }
        let mut all = plan.steps.iter();
        let inserts = all.find(|(step, _)| *step == PlanStep::Insert);
        if *step == PlanStep::Change
            && let Some((_, inserts)) = inserts
        {
            let left = write_reference_rings::insert_early(run, *inserts).await?;
            let any_early = left != [*inserts];
            left_of_inserts = Some(left);
            if any_early && !needs_exchange && write_all_or_none(run, *step, &ranges).await? {
                continue;
            }
        }
        let limit =
            (run.job.limits.rejected_limit as usize * WAITING_FACTOR).saturating_sub(bad.len());
        match one_step(run, *step, ranges, limit, released).await? {
            Ok(found) => {
                let found = name_shard_constraints::name_all(run.relations, found);
                bad.extend(UnwrittenRow::of_step(*step, found));
            }
            Err(fault) => return Err(too_many(run.job, why_value_refused::plain(&fault))),
        }
    }
    Ok(constrained.map(|relations| (relations, bad)))
}

/// Writes all updates as one exchange of unique values, or none of them. Returns whether they were written. Used if a
/// foreign key to the local table acts on updates: when a value moves to another meter, such a foreign key may change
/// the rows that refer to the value. If the updates were written one by one, the result would depend on their order.
async fn exchanged(
    run: &RunContext<'_>,
    rows: RowRange,
    released: &mut ClearedValues,
) -> Result<bool, DbError> {
    let written = run.local.attempt("acting", async {
        let mut given_up = released.clone();
        let tried = exchange::write(run, rows, 1, &mut given_up).await?;
        let are_in = tried.is_ok_and(|bad| bad.is_empty());
        Ok::<_, DbError>(if are_in { Ok(given_up) } else { Err(()) })
    });
    let Ok(given_up) = written.await? else {
        return Ok(false);
    };
    *released = given_up;
    Ok(true)
}

/// Writes all planned rows with these numbers, or none of them if the local table refuses one. Returns whether they
/// were written.
async fn write_all_or_none(
    run: &RunContext<'_>,
    step: PlanStep,
    ranges: &[RowRange],
) -> Result<bool, DbError> {
    let write = write(run, step);
    let tried = write_by_halving::attempt(run.local, async {
        for rows in ranges {
            if let WriteAttemptOutcome::NotWritten(fault) = write.run(run.local, *rows).await? {
                return Ok(WriteAttemptOutcome::NotWritten(fault));
            }
        }
        Ok(WriteAttemptOutcome::Written)
    });
    Ok(matches!(tried.await?, WriteAttemptOutcome::Written))
}

/// Looks up the constraints of the local table. Returns a copy of `run.relations` that has them.
async fn with_constraints(run: &RunContext<'_>) -> Result<Relations, DbError> {
    let (local, oid) = (run.local, run.relations.local_oid);
    local.pin_path().await?;
    let constraints = ConstraintsBetweenRows::look_up(local, oid).await?;
    local.use_role_path().await?;
    let constraints = match run.relations.distribution {
        Some(_) => constraints.of_distributed_table(local, oid).await?,
        None => constraints,
    };
    Ok(Relations {
        constraints,
        ..run.relations.clone()
    })
}

fn too_many(job: &SyncJob<'_>, reason: String) -> SyncError {
    SyncError::TooManyRejected {
        tenant: job.tenant.clone(),
        limit: job.limits.rejected_limit as usize,
        reason,
    }
}

/// Writes the planned rows of a step without those that cannot be written. Called if they could not be written all at
/// once. Returns the rows that were left out, each with the reason, or the inner `Err(fault)` if there are more than
/// `left` of them.
async fn one_step(
    run: &RunContext<'_>,
    step: PlanStep,
    ranges: Vec<RowRange>,
    left: usize,
    released: &mut ClearedValues,
) -> Result<Result<RowFaults, Box<RowFault>>, DbError> {
    let (local, relations) = (run.local, run.relations);
    let (write, index) = (write(run, step), plan::index(relations));
    if step != PlanStep::Deactivate {
        let given_up = release_inactive_values::release(run, step, released).await?;
        let needs_exchange =
            step == PlanStep::Change && relations.has_foreign_keys_acting_on_update;
        if given_up > 0 && !needs_exchange && write_all_or_none(run, step, &ranges).await? {
            return Ok(Ok(Vec::new()));
        }
    }
    let has_parents = insert_parents_first::references(relations).next().is_some();
    match ranges.as_slice() {
        [rows] if step == PlanStep::Change => {
            Box::pin(exchange::write(run, *rows, left, released)).await
        }
        _ if step == PlanStep::Insert && has_parents => {
            insert_parents_first::insert_all_but_the_bad(run, ranges, left).await
        }
        [rows] => {
            let (low, high) = rows.halves();
            write_by_halving::all_but_the_bad(local, vec![low, high], left, &index, &write).await
        }
        _ => write_by_halving::all_but_the_bad(local, ranges, left, &index, &write).await,
    }
}

/// Rejects the rows in `bad`, which could not be written: finds the reason of each, counts them as rejected, and
/// removes them from the recorded changes. Inactive meters that released a unique value for one of these rows get it
/// back. Fails if more rows are rejected than allowed.
async fn settle(
    run: &RunContext<'_>,
    mut plan: Plan,
    staged: StagedRows,
    bad: Vec<UnwrittenRow>,
    released: &ClearedValues,
) -> Result<SyncResult, SyncError> {
    let job = run.job;
    let out: Vec<i64> = bad.iter().map(|row| row.n).collect();
    release_inactive_values::give_back(run, released, &out).await?;
    if bad.len() + staged.rejected.len() > job.limits.rejected_limit as usize {
        let last = bad.get(bad.len().saturating_sub(1)..).unwrap_or_default();
        let reasons = reasons::explain(run, last).await?;
        let reason = reasons.into_iter().next().unwrap_or_default();
        return Err(too_many(job, reason));
    }
    let reasons = reasons::explain(run, &bad).await?;
    let altered = verify_written::columns(run, &out).await?;
    let mut rejected = staged.rejected;
    if plan.counts.changes() > i64::from(job.limits.change_limit) && !out.is_empty() {
        record_changes::refill(run, &out).await?;
    }
    for (UnwrittenRow { n, .. }, reason) in bad.into_iter().zip(reasons) {
        let (action, rejection) = reject(run, n, reason).await?;
        if let Some(count) = count_of(&mut plan.counts, action) {
            *count -= 1;
        }
        plan.counts.rejected += 1;
        rejected.push(rejection);
    }
    Ok(SyncResult {
        altered,
        ..plan.into_synced(job, rejected)
    })
}

/// Retries the rows in `bad` and removes those that are written. Between two passes, inactive meters that are missing
/// on the remote release unique values that the rows need. Stops when no further value is released, or after [`PASSES`]
/// passes.
async fn try_again(
    run: &RunContext<'_>,
    bad: &mut Vec<UnwrittenRow>,
    released: &mut ClearedValues,
) -> Result<(), DbError> {
    for _ in 0..PASSES {
        retry(run, bad).await?;
        if Box::pin(exchange_rings::write(run, bad)).await? {
            retry(run, bad).await?;
        }
        let mut given_up = 0;
        for step in [PlanStep::Change, PlanStep::Insert] {
            let mut rows = bad.iter();
            if rows.any(|row| row.step == step && row.fault.is_collision()) {
                given_up += release_inactive_values::release(run, step, released).await?;
            }
        }
        if given_up == 0 {
            break;
        }
    }
    Ok(())
}

async fn retry(run: &RunContext<'_>, bad: &mut Vec<UnwrittenRow>) -> Result<(), DbError> {
    for _ in 0..PASSES {
        let before = bad.len();
        write_reference_rings::write_together(run, bad).await?;
        // If each row waits for the next one (all numbers move up by one, for instance), the last row must be written
        // first.
        bad.reverse();
        let mut still_bad = Vec::new();
        for UnwrittenRow { step, n, fault } in bad.drain(..) {
            let row = RowRange { first: n, last: n };
            let write = write(run, step);
            let tried = write_by_halving::attempt(run.local, write.run(run.local, row)).await?;
            let fault = fault_of(run.relations, fault, tried);
            still_bad.extend(fault.map(|fault| UnwrittenRow { step, n, fault }));
        }
        *bad = still_bad;
        if bad.is_empty() || bad.len() == before {
            break;
        }
    }
    Ok(())
}

/// Returns why a retried row still cannot be written; `None` if it was written. `known` is the reason from before the
/// retry. Returns `known` again if a trigger or a foreign key had refused the row and the retry ended in a conflict
/// with another row, because that conflict only follows from the first refusal.
fn fault_of(
    relations: &Relations,
    known: RowFault,
    tried: WriteAttemptOutcome,
) -> Option<RowFault> {
    match tried {
        WriteAttemptOutcome::Written => None,
        WriteAttemptOutcome::NotWritten(fault)
            if fault.is_collision()
                && (known.is_refused_by_other_code()
                    || is_blocked_by_references(relations, &known)) =>
        {
            Some(known)
        }
        WriteAttemptOutcome::NotWritten(fault) => {
            Some(name_shard_constraints::name(relations, *fault))
        }
    }
}

/// Removes row `n` of the plan from the recorded changes. Returns the action that was planned for it, and the rejection
/// to report.
async fn reject(
    run: &RunContext<'_>,
    n: i64,
    reason: String,
) -> Result<(ChangeAction, Rejection), DbError> {
    let key = run.relations.key_json("p");
    let sql = format!(
        "-- take a rejected row from the changes
with taken as (
    delete from meter_sync.meter_sync_change g where g.run_id = $1 and g.n = $2
)
select p.action, {key}::text
from pg_temp.meter_sync_plan p where p.n = $2"
    );
    let run_id = run.job.run_id.as_uuid();
    let params = [param::uuid(run_id), param::bigint(n)];
    let row = run.local.query_one(&sql, &params).await?;
    let action = ChangeAction::read(row.get(0));
    Ok((
        action,
        Rejection {
            key: read_lossless_json::stored_fields(row.get(1)),
            reason,
        },
    ))
}
