//! Carries a plan out: a statement a step, and row by row only around a row that is not taken.

use crate::db::{DbError, Local, Tx, param, quote};
use crate::meter::{Action, Rejection};

use super::plan::{Plan, Step, count_of};
use super::read::{Staged, fields};
use super::rejected::{self, Rows, Tried};
use super::{Job, Shape, SyncError, Synced, swap};

/// How often the rows that were not taken are tried again after the others are in: a row may have
/// waited for a unique value that another row gave up.
const PASSES: usize = 5;

/// Carries the plan out, and records the rows that were set aside.
pub(crate) async fn apply(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    plan: Plan,
    staged: Staged,
) -> Result<Synced, SyncError> {
    let limit = (job.limits.rejected_limit as usize).saturating_sub(staged.rejected.len());
    let too_many = |reason| SyncError::TooManyRejected {
        tenant: job.tenant.clone(),
        limit: job.limits.rejected_limit as usize,
        reason,
    };
    // A constraint checked only at commit could not be traced to a row.
    local
        .batch("-- check constraints at once\nset constraints all immediate")
        .await?;
    let mut bad = Vec::new();
    for (step, rows) in &plan.steps {
        let write = Write::new(shape, *step);
        let left = limit.saturating_sub(bad.len());
        let found = rejected::all_but_the_bad(local, *rows, left, |rows| write.run(local, rows));
        let found = found.await?.map_err(too_many)?;
        bad.extend(found.into_iter().map(|(n, reason)| (*step, n, reason)));
    }
    retry(local, shape, &mut bad).await?;
    let mut synced = plan.into_synced(staged.rejected);
    for (_, n, reason) in bad {
        let (action, rejection) = set_aside(local, shape, job, (n, reason)).await?;
        *count_of(&mut synced.counts, action) -= 1;
        synced.counts.rejected += 1;
        synced.rejected.push(rejection);
    }
    Ok(synced)
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
            let write = Write::new(shape, step);
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

/// The statement of a step, for a range of the plan's rows.
pub(super) struct Write {
    sql: String,
}

impl Write {
    pub(super) fn new(shape: &Shape, step: Step) -> Self {
        let Shape {
            local,
            local_filter,
            ..
        } = shape;
        let staged_row = shape.same_key("s", "p");
        let local_row = shape.same_key("l", "p");
        let range = "p.\"meter_sync n\" between $1 and $2";
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
                    let column = quote::identifier(name);
                    format!("{column} = s.{column}")
                })
            ),
            Step::Insert => format!(
                "-- insert meters
insert into {local} ({}) overriding system value
select {} from pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}
where {range}
order by p.\"meter_sync n\"",
                quote::columns("", &shape.names),
                quote::columns("s.", &shape.names)
            ),
        };
        Self { sql }
    }

    pub(super) async fn run(&self, local: &Tx<'_, Local>, rows: Rows) -> Result<Tried, DbError> {
        let params = [param::bigint(rows.first), param::bigint(rows.last)];
        let touched = local.execute(&self.sql, &params).await?;
        if i64::try_from(touched) == Ok(rows.count()) {
            return Ok(Tried::Taken);
        }
        Ok(Tried::NotTaken(
            "a trigger or rule of the local table skipped the row".to_owned(),
        ))
    }
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
    delete from meter_sync.meter_sync_change where run_id = $1 and n = $2
)
select p.\"meter_sync action\", {key}::text
from pg_temp.meter_sync_plan p where p.\"meter_sync n\" = $2"
    );
    let run_id = job.run_id.as_uuid();
    let params = [param::uuid(run_id), param::bigint(n)];
    let row = local.query_one(&sql, &params).await?;
    let action = Action::parse(row.get(0)).unwrap_or(Action::Update);
    Ok((
        action,
        Rejection {
            key: fields(row.get(1)),
            reason,
        },
    ))
}
