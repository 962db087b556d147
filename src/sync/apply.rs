//! Carries a plan out: a statement a step, and row by row only around a row that is not taken.

use crate::db::exclusive::Rules;
use crate::db::{DbError, Local, RowFault, Tx, json, param, quote};
use crate::meter::{Action, Rejection};

use super::plan::{Plan, Step, count_of};
use super::read::Staged;
use super::reasons::{self, BadRow};
use super::rejected::{self, PerRow, Rows, Tried};
use super::release::{self, Released};
use super::{
    Job, Shape, SyncError, Synced, altered, carry, exchange, parents, record, ring_by_ring, rings,
};

/// How often the rows that were not taken are tried again, as long as it helps: a row may have waited
/// for a value that another row gave up, or for the row that it refers to.
const PASSES: usize = 20;

/// While a set is halved, rows may be found that are not at fault but wait for others; so many times
/// the limit of rejected rows are remembered before the run gives up.
const WAITING_FACTOR: usize = 20;

/// Carries the plan out, and records the rows that were rejected.
pub(crate) async fn apply(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    plan: Plan,
    staged: Staged,
) -> Result<Synced, SyncError> {
    // A constraint checked only at commit could not be traced to a row.
    local.batch(rejected::CHECK).await?;
    let last = plan.steps.last().map_or(0, |(_, rows)| rows.last);
    let mut released = Released::after(last);
    let Some((shape, mut bad)) = steps(local, shape, job, &plan, &mut released).await? else {
        let altered = altered::columns(local, shape, &[]).await?;
        return Ok(Synced {
            altered,
            ..plan.into_synced(job, staged.rejected)
        });
    };
    Box::pin(try_again(local, &shape, job, &mut bad, &mut released)).await?;
    settle(local, &shape, job, (plan, staged), (bad, &released)).await
}

/// Carries the steps out. If a row was not taken, gives the shape with the rules of the local table and the rows that are not in.
async fn steps(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    plan: &Plan,
    released: &mut Released,
) -> Result<Option<(Shape, Vec<BadRow>)>, SyncError> {
    let mut obstacles = None;
    let mut bad: Vec<BadRow> = Vec::new();
    let mut left_of_inserts = None;
    for (step, rows) in &plan.steps {
        let ranges = match step {
            Step::Insert => left_of_inserts.take(),
            Step::Deactivate | Step::Change => None,
        };
        let ranges = ranges.unwrap_or_else(|| vec![*rows]);
        let is_order_told = *step == Step::Change && shape.has_acting_keys;
        if !is_order_told && are_taken(local, shape, *step, &ranges).await? {
            continue;
        }
        if obstacles.is_none() {
            obstacles = Some(with_rules(local, shape).await?);
        }
        let shape = obstacles.as_ref().unwrap_or(shape);
        if is_order_told && Box::pin(are_exchanged(local, shape, job, *rows, released)).await? {
            continue;
        }
        let inserts = plan.steps.iter().find(|(step, _)| *step == Step::Insert);
        if *step == Step::Change
            && let Some((_, inserts)) = inserts
        {
            let left = rings::insert_early(local, shape, *inserts).await?;
            let are_some_in = left != [*inserts];
            left_of_inserts = Some(left);
            if are_some_in && !is_order_told && are_taken(local, shape, *step, &ranges).await? {
                continue;
            }
        }
        let limit = (job.limits.rejected_limit as usize * WAITING_FACTOR).saturating_sub(bad.len());
        match one_step(local, shape, job, (*step, ranges, limit), released).await? {
            Ok(found) => bad.extend(found.into_iter().map(|(n, fault)| (*step, n, fault))),
            Err(fault) => return Err(too_many(job, reasons::plain(&fault))),
        }
    }
    Ok(obstacles.map(|shape| (shape, bad)))
}

/// Writes all updates as an exchange, or none of them. What refers to the meters would else be told by the order of the rows: a value
/// that passes from one meter to the other takes along what refers to it, or not, as the one or the other is written first.
async fn are_exchanged(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    rows: Rows,
    released: &mut Released,
) -> Result<bool, DbError> {
    local.savepoint("acting").await?;
    let mut given_up = released.clone();
    let (index, write) = (index(shape), write(shape, Step::Change));
    let rows = (rows, 1, &mut given_up);
    let tried = exchange::write(local, shape, job, rows, (&index, &write)).await?;
    let are_in = tried.is_ok_and(|bad| bad.is_empty());
    match are_in {
        true => {
            *released = given_up;
            local.release("acting").await?;
        }
        false => local.back_to("acting").await?,
    }
    Ok(are_in)
}

/// Writes all rows of the ranges, or none of them.
async fn are_taken(
    local: &Tx<'_, Local>,
    shape: &Shape,
    step: Step,
    ranges: &[Rows],
) -> Result<bool, DbError> {
    let write = write(shape, step);
    let tried = rejected::attempt(local, async {
        for rows in ranges {
            if let Tried::NotTaken(fault) = write.run(local, *rows).await? {
                return Ok(Tried::NotTaken(fault));
            }
        }
        Ok(Tried::Taken)
    });
    Ok(matches!(tried.await?, Tried::Taken))
}

/// The shape with the rules of the local table.
async fn with_rules(local: &Tx<'_, Local>, shape: &Shape) -> Result<Shape, DbError> {
    local.pin_path().await?;
    let rules = Rules::look_up(local, shape.local_oid).await?;
    local.use_role_path().await?;
    Ok(Shape {
        rules,
        ..shape.clone()
    })
}

fn too_many(job: &Job<'_>, reason: String) -> SyncError {
    SyncError::TooManyRejected {
        tenant: job.tenant.clone(),
        limit: job.limits.rejected_limit as usize,
        reason,
    }
}

/// Brings the rows of a step in, which did not go in as a whole, but those at fault.
async fn one_step(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (step, ranges, left): (Step, Vec<Rows>, usize),
    released: &mut Released,
) -> Result<Result<exchange::Bad, Box<RowFault>>, DbError> {
    let (write, index) = (write(shape, step), index(shape));
    if step != Step::Deactivate {
        let given_up = release::release(local, shape, job, step, released).await?;
        let is_order_told = step == Step::Change && shape.has_acting_keys;
        if given_up > 0 && !is_order_told && are_taken(local, shape, step, &ranges).await? {
            return Ok(Ok(Vec::new()));
        }
    }
    match ranges.as_slice() {
        [rows] if step == Step::Change => {
            Box::pin(exchange::write(
                local,
                shape,
                job,
                (*rows, left, released),
                (&index, &write),
            ))
            .await
        }
        _ if step == Step::Insert && rings::references(shape).next().is_some() => {
            parents::insert_all_but_the_bad(local, shape, ranges, left).await
        }
        [rows] => {
            let (low, high) = rows.halves();
            rejected::all_but_the_bad(local, vec![low, high], left, &index, &write).await
        }
        _ => rejected::all_but_the_bad(local, ranges, left, &index, &write).await,
    }
}

/// Says why the rows are not in that are not, and counts and records them as rejected.
async fn settle(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (mut plan, staged): (Plan, Staged),
    (bad, released): (Vec<BadRow>, &Released),
) -> Result<Synced, SyncError> {
    let out: Vec<i64> = bad.iter().map(|(_, n, _)| *n).collect();
    release::give_back(local, shape, job, (released, &out)).await?;
    if bad.len() + staged.rejected.len() > job.limits.rejected_limit as usize {
        let last = bad.get(bad.len().saturating_sub(1)..).unwrap_or_default();
        let reasons = reasons::explain(local, shape, job, last).await?;
        return Err(too_many(
            job,
            reasons.into_iter().next().unwrap_or_default(),
        ));
    }
    let reasons = reasons::explain(local, shape, job, &bad).await?;
    let altered = altered::columns(local, shape, &out).await?;
    let mut rejected = staged.rejected;
    if plan.counts.changes() > i64::from(job.limits.change_limit) && !out.is_empty() {
        record::refill(local, job, &out).await?;
    }
    for ((_, n, _), reason) in bad.into_iter().zip(reasons) {
        let (action, rejection) = reject(local, shape, job, (n, reason)).await?;
        if let Some(count) = count_of(&mut plan.counts, action) {
            *count -= 1;
        }
        plan.counts.rejected += 1;
        rejected.push(rejection);
    }
    Ok(Synced {
        altered,
        ..plan.into_synced(job, rejected)
    })
}

/// Lets the rows of a small range be found by their number and key.
pub(super) fn index(shape: &Shape) -> String {
    let key = shape.places(&shape.key);
    format!(
        "-- index the plan
create index if not exists meter_sync_plan_n on pg_temp.meter_sync_plan (n);
create index if not exists meter_sync_stage_key on pg_temp.meter_sync_stage ({key});
analyze pg_temp.meter_sync_plan (n)"
    )
}

/// Tries the rows that are not in again, as long as values are given up that nothing refers to any more.
async fn try_again(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    bad: &mut Vec<BadRow>,
    released: &mut Released,
) -> Result<(), DbError> {
    for _ in 0..PASSES {
        retry(local, shape, bad).await?;
        if Box::pin(ring_by_ring::write(local, shape, job, bad)).await? {
            retry(local, shape, bad).await?;
        }
        let mut given_up = 0;
        for step in [Step::Change, Step::Insert] {
            let mut rows = bad.iter();
            if rows.any(|(of, _, fault)| *of == step && fault.is_collision()) {
                given_up += release::release(local, shape, job, step, released).await?;
            }
        }
        if given_up == 0 {
            break;
        }
    }
    Ok(())
}

async fn retry(local: &Tx<'_, Local>, shape: &Shape, bad: &mut Vec<BadRow>) -> Result<(), DbError> {
    for _ in 0..PASSES {
        let before = bad.len();
        rings::write_together(local, shape, bad).await?;
        // Of rows that each wait for the next one, as when all numbers move up by one, the last
        // must go first.
        bad.reverse();
        let mut still_bad = Vec::new();
        for (step, n, known) in bad.drain(..) {
            let row = Rows { first: n, last: n };
            let write = write(shape, step);
            let tried = rejected::attempt(local, write.run(local, row)).await?;
            still_bad.extend(fault_of(shape, known, tried).map(|fault| (step, n, fault)));
        }
        *bad = still_bad;
        if bad.is_empty() || bad.len() == before {
            break;
        }
    }
    Ok(())
}

/// Why a row is not in that was tried again. That rows of other tables refer to it, or their triggers refuse to follow, is
/// why it was not parked; alone it only meets the row that waits for it.
fn fault_of(shape: &Shape, known: RowFault, tried: Tried) -> Option<RowFault> {
    match tried {
        Tried::Taken => None,
        Tried::NotTaken(fault)
            if fault.is_collision()
                && (known.is_refused_elsewhere() || carry::is_held_fast(shape, &known)) =>
        {
            Some(known)
        }
        Tried::NotTaken(fault) => Some(*fault),
    }
}

/// The statement of a step for a range of rows.
pub(super) fn write(shape: &Shape, step: Step) -> PerRow {
    PerRow {
        sql: writing(shape, step, "p.n >= $1 and p.n <= $2"),
        has_gaps: false,
        checks: !shape.keeps_what_is_written,
    }
}

/// The statement of a step for the rows `p` of the plan that a condition picks.
pub(super) fn writing(shape: &Shape, step: Step, picked: &str) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let staged_row = shape.same_key("s", "p");
    let local_row = shape.same_key("l", "p");
    match step {
        Step::Deactivate => format!(
            "-- deactivate meters
update {local} l set {} = false from pg_temp.meter_sync_plan p
where {local_row} and {local_filter} and {picked}",
            quote::identifier(&shape.active)
        ),
        Step::Change => format!(
            "-- update meters
update {local} l set {} from pg_temp.meter_sync_plan p, pg_temp.meter_sync_stage s
where {staged_row} and {local_row} and {local_filter} and {picked}",
            quote::list(shape.fields(), ", ", |name| {
                format!("{} = {}", quote::identifier(name), shape.column("s", name))
            })
        ),
        Step::Insert => format!(
            "-- insert meters
insert into {local} ({}) overriding system value
select {} from pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}
where {picked}
order by p.n",
            quote::columns("", &shape.names),
            shape.list("s", &shape.names)
        ),
    }
}

/// Takes a row of the plan back from the recorded changes and says what it was.
async fn reject(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (n, reason): (i64, String),
) -> Result<(Action, Rejection), DbError> {
    let key = shape.key_json("p");
    let sql = format!(
        "-- take a rejected row from the changes
with taken as (
    delete from meter_sync.meter_sync_change g where g.run_id = $1 and g.n = $2
)
select p.action, {key}::text
from pg_temp.meter_sync_plan p where p.n = $2"
    );
    let run_id = job.run_id.as_uuid();
    let params = [param::uuid(run_id), param::bigint(n)];
    let row = local.query_one(&sql, &params).await?;
    let action = Action::read(row.get(0));
    Ok((
        action,
        Rejection {
            key: json::stored_fields(row.get(1)),
            reason,
        },
    ))
}
