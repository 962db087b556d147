//! Carries a plan out: a statement a step, and row by row only around a row that is not taken.

use crate::db::{DbError, Local, Tx, json, param, quote};
use crate::meter::{Action, Rejection};

use super::plan::{Plan, Step, count_of};
use super::read::Staged;
use super::rejected::{self, PerRow, Rows, Tried};
use super::{Job, Shape, SyncError, Synced, swap};

/// How often the rows that were not taken are tried again, as long as it helps: a row may have waited
/// for a value that another row gave up, or for the row that it refers to.
const PASSES: usize = 20;

/// While a set is halved, rows may be found that are not at fault but wait for others; so many times
/// the limit of rejected rows are remembered before the run gives up.
const WAITING_FACTOR: usize = 20;

/// Carries the plan out, and records the rows that were set aside.
pub(crate) async fn apply(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    plan: Plan,
    staged: Staged,
) -> Result<Synced, SyncError> {
    let limit = job.limits.rejected_limit as usize;
    let too_many = |reason| SyncError::TooManyRejected {
        tenant: job.tenant.clone(),
        limit,
        reason,
    };
    // A constraint checked only at commit could not be traced to a row.
    local
        .batch("-- check constraints at once\nset constraints all immediate")
        .await?;
    let index = index(shape);
    let mut bad = Vec::new();
    for (step, rows) in &plan.steps {
        let left = (limit * WAITING_FACTOR).saturating_sub(bad.len());
        let write = write(shape, *step);
        let found = rejected::all_but_the_bad(local, *rows, left, &index, &write);
        let found = found.await?.map_err(too_many)?;
        bad.extend(found.into_iter().map(|(n, reason)| (*step, n, reason)));
    }
    retry(local, shape, &mut bad).await?;
    if bad.len() + staged.rejected.len() > limit {
        let reason = bad.pop().map(|(_, _, reason)| reason);
        return Err(too_many(reason.unwrap_or_default()));
    }
    let out: Vec<i64> = bad.iter().map(|(_, n, _)| *n).collect();
    let altered = altered(local, shape, &out).await?;
    let mut synced = Synced {
        altered,
        ..plan.into_synced(staged.rejected)
    };
    for (_, n, reason) in bad {
        let (action, rejection) = set_aside(local, shape, job, (n, reason)).await?;
        *count_of(&mut synced.counts, action) -= 1;
        synced.counts.rejected += 1;
        synced.rejected.push(rejection);
    }
    Ok(synced)
}

/// How many of the written rows are looked at again.
const LOOKED_AT: usize = 200;

/// The columns that do not hold what was written to them, as where a trigger has a will of its own:
/// the next run would find the same difference again. `out` are the rows that were set aside.
async fn altered(
    local: &Tx<'_, Local>,
    shape: &Shape,
    out: &[i64],
) -> Result<Vec<String>, DbError> {
    let Shape {
        local: table,
        local_filter,
        ..
    } = shape;
    let staged_row = shape.same_key("s", "p");
    let local_row = shape.same_key("l", "p");
    let values = quote::list(shape.fields(), ", ", |name| {
        let (written, staged) = (shape.column("l", name), shape.column("s", name));
        let name = quote::literal(name);
        format!("({name}, pg_catalog.record_image_ne(row({written}), row({staged})))")
    });
    let sql = format!(
        "-- look at what was written
select distinct f.name
from (
    select p.* from pg_temp.meter_sync_plan p
    where p.step > 0 and p.n <> all ($1) limit {LOOKED_AT}
) p
join pg_temp.meter_sync_stage s on {staged_row}
join {table} l on {local_row} and {local_filter}
cross join lateral (values {values}) f(name, differs)
where f.differs order by 1"
    );
    let rows = local.query(&sql, &[param::bigints(out)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Lets the rows of a small range be found by their number and key.
fn index(shape: &Shape) -> String {
    let key = shape.places(&shape.key);
    format!(
        "-- index the plan
create index if not exists meter_sync_plan_n on pg_temp.meter_sync_plan (n);
create index if not exists meter_sync_stage_key on pg_temp.meter_sync_stage ({key});
analyze pg_temp.meter_sync_plan (n)"
    )
}

async fn retry(
    local: &Tx<'_, Local>,
    shape: &Shape,
    bad: &mut Vec<(Step, i64, String)>,
) -> Result<(), DbError> {
    for _ in 0..PASSES {
        let before = bad.len();
        // Of rows that each wait for the next one, as when all numbers move up by one, the last
        // must go first.
        bad.reverse();
        let mut still_bad = Vec::new();
        for (step, n, _) in bad.drain(..) {
            let write = write(shape, step);
            let row = Rows { first: n, last: n };
            if let Tried::NotTaken(reason) = rejected::attempt(local, write.run(local, row)).await?
            {
                still_bad.push((step, n, reason));
            }
        }
        *bad = still_bad;
        if bad.is_empty() || bad.len() == before {
            break;
        }
    }
    let waiting = bad.iter().filter(|(step, _, _)| *step == Step::Change);
    let untangled = swap::untangle(local, shape, waiting.map(|(_, n, _)| *n).collect()).await?;
    bad.retain(|(_, n, _)| !untangled.contains(n));
    Ok(())
}

/// The statement of a step.
pub(super) fn write(shape: &Shape, step: Step) -> PerRow {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let staged_row = shape.same_key("s", "p");
    let local_row = shape.same_key("l", "p");
    let range = "p.n >= $1 and p.n <= $2";
    let sql = match step {
        Step::Deactivate => format!(
            "-- deactivate meters
update {local} l set {} = false from pg_temp.meter_sync_plan p
where {local_row} and {local_filter} and {range}",
            quote::identifier(&shape.active)
        ),
        Step::Change => format!(
            "-- update meters
update {local} l set {} from pg_temp.meter_sync_plan p, pg_temp.meter_sync_stage s
where {staged_row} and {local_row} and {local_filter} and {range}",
            quote::list(shape.fields(), ", ", |name| {
                format!("{} = {}", quote::identifier(name), shape.column("s", name))
            })
        ),
        Step::Insert => format!(
            "-- insert meters
insert into {local} ({}) overriding system value
select {} from pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}
where {range}
order by p.n",
            quote::columns("", &shape.names),
            shape.list("s", &shape.names)
        ),
    };
    PerRow { sql }
}

/// Takes a row of the plan back from the recorded changes and says what it was.
async fn set_aside(
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
    let action = Action::parse(row.get(0)).unwrap_or(Action::Update);
    Ok((
        action,
        Rejection {
            key: json::fields(row.get(1)),
            reason,
        },
    ))
}
