//! Finds by set operations what differs between the staged rows and the local table.
//!
//! Two values differ when their stored images differ (`record_image_ne`, record comparison,
//! <https://www.postgresql.org/docs/current/functions-comparisons.html#COMPOSITE-TYPE-COMPARISON>):
//! that tells NULL from `''` and `1.0` from `1.00`, works for types without equality such as `json`, and
//! lets no case-insensitive type hide a rename. The staged value has been through the local type, so
//! what was written once compares equal for ever.

use crate::db::{DbError, Local, Tx, quote};
use crate::meter::{Action, Counts, Rejection};

use super::read::{self, Staged};
use super::rejected::Rows;
use super::{Extent, Job, Shape, SyncError, Synced};

/// What a sync would change: temporary table `meter_sync_plan` holds a numbered row a meter,
/// `meter_sync_unmatched` the meters within the extent that the remote has not (any more).
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) counts: Counts,
    /// How many of the updates take `active` away from a meter that has it.
    pub(crate) switched_off: i64,
    /// The rows of each step, in the order in which they are applied.
    pub(crate) steps: Vec<(Step, Rows)>,
}

/// The steps in which a plan is applied: what frees a unique value comes before what takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Deactivate,
    /// Updates and reactivations.
    Change,
    Insert,
}

impl Step {
    fn of(action: Action) -> Option<Self> {
        match action {
            Action::Deactivate => Some(Self::Deactivate),
            Action::Update | Action::Reactivate => Some(Self::Change),
            Action::Insert => Some(Self::Insert),
            Action::Unknown => None,
        }
    }
}

impl Plan {
    /// The result of a dry run.
    pub(crate) fn into_synced(self, job: &Job<'_>, rejected: Vec<Rejection>) -> Synced {
        Synced {
            changes_truncated: self.counts.changes() > i64::from(job.limits.change_limit),
            counts: self.counts,
            rejected,
            altered: Vec::new(),
        }
    }
}

/// How often a plan is made anew because others changed the rows in it meanwhile.
const ATTEMPTS: usize = 5;

/// Makes the plan. Unless it is a dry run, the local rows in it are locked then and as the plan says, so
/// nothing can come between plan and apply.
pub(crate) async fn make(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    extent: &Extent,
    staged: &Staged,
) -> Result<Plan, SyncError> {
    let mut attempt = 1;
    loop {
        local.batch(&plan_sql(shape, extent)).await?;
        if job.dry_run {
            refuse_planned_twice(local, shape).await?;
            break;
        }
        if lock(local, shape).await? {
            break;
        }
        if attempt == ATTEMPTS {
            return Err(SyncError::Unsettled(job.tenant.clone()));
        }
        attempt += 1;
        local
            .batch(
                "-- drop the outdated plan\ndrop table pg_temp.meter_sync_plan, pg_temp.meter_sync_unmatched",
            )
            .await?;
    }
    Ok(summary(local, staged).await?)
}

/// `row(t."a", t."b", ...)` over all columns but the key: keys that the local table takes for one, such
/// as `a` and `A` where it is blind to case, are one meter, and its key stays as it is.
fn image(row: &str, shape: &Shape) -> String {
    format!("row({})", shape.list(row, shape.fields()))
}

fn plan_sql(shape: &Shape, extent: &Extent) -> String {
    let Shape {
        local,
        local_filter,
        ..
    } = shape;
    let active = quote::identifier(&shape.active);
    let same_key = shape.same_key("l", "s");
    let is_new = shape
        .key
        .first()
        .map(|name| format!("{} is null", shape.column("l", name)))
        .unwrap_or_default();
    // A local row without a key is no meter that the remote could name.
    let has_key = shape.has_key("l");
    let within = &extent.local;
    let (staged, here) = (image("s", shape), image("l", shape));
    let staged_active = shape.column("s", &shape.active);
    let is_switched_off = is_switched_off(shape);
    let staged_key = shape.list("s", &shape.key);
    let local_key = quote::list(&shape.key, ", ", |name| {
        format!("{} as {}", shape.column("l", name), shape.place(name))
    });
    let unmatched_key = shape.list("u", &shape.key);
    let key = shape.list("d", &shape.key);
    format!(
        "-- plan the changes
create temp table meter_sync_unmatched on commit drop as
select l.xmin as version, l.ctid as place, l.{active} is true as active, {local_key}
from {local} l
where {local_filter} and {has_key} and {within}
  and not exists (select from pg_temp.meter_sync_stage s where {same_key})
  and not exists (select from pg_temp.meter_sync_aside s where {same_key});
create temp table meter_sync_plan on commit drop as
select pg_catalog.row_number() over (order by d.step, {key}) as n, d.*
from (
    select case when {is_new} then 2 else 1 end as step,
           case when {is_new} then 'insert'
                when l.{active} is not true and {staged_active} then 'reactivate'
                else 'update' end as action,
           {is_switched_off} as is_switched_off, l.xmin as version, l.ctid as place, {staged_key}
    from pg_temp.meter_sync_stage s
    left join {local} l on {same_key} and {local_filter}
    where {is_new} or pg_catalog.record_image_ne({staged}, {here})
    union all
    select 0, 'deactivate', false, u.version, u.place, {unmatched_key}
    from pg_temp.meter_sync_unmatched u where u.active
) d;
analyze pg_temp.meter_sync_plan"
    )
}

/// Whether a staged row takes `active` away from the local row. A plain table that holds no NULL there rejects one, and the meter
/// then stays active.
fn is_switched_off(shape: &Shape) -> String {
    let here = format!("l.{} is true", quote::identifier(&shape.active));
    let there = shape.column("s", &shape.active);
    let active = shape
        .columns
        .iter()
        .find(|column| column.name == shape.active);
    let is_kept = active.is_some_and(|column| !column.is_nullable) && shape.keeps_what_is_written;
    match is_kept {
        true => format!("({here} and {there} is false)"),
        false => format!("({here} and {there} is not true)"),
    }
}

/// Locks the local rows of the plan against writers (not against readers, nor yet against new readings
/// that refer to them); `false` when one of them is no longer as it was planned. Refuses a key that several rows hold: the
/// unique index of a table does not cover those that inherit from it.
async fn lock(local: &Tx<'_, Local>, shape: &Shape) -> Result<bool, SyncError> {
    let Shape {
        local: table,
        local_filter,
        ..
    } = shape;
    let same_key = shape.same_key("l", "p");
    // `for update` and `count` do not go together in one query level; a CTE keeps them apart.
    let sql = format!(
        "-- lock the rows of the plan
with locked as (
    select l.xmin operator(pg_catalog.=) p.version as as_planned
    from pg_temp.meter_sync_plan p
    join {table} l on {same_key} and {local_filter}
    where p.action <> 'insert'
    order by p.n
    for no key update of l
)
select pg_catalog.count(*), (select pg_catalog.count(*) from locked),
       (select pg_catalog.count(*) from locked k where k.as_planned)
from pg_temp.meter_sync_plan p where p.action <> 'insert'"
    );
    let row = local.query_one(&sql, &[]).await?;
    let [planned, locked, as_planned] = [0, 1, 2].map(|place| row.get::<_, i64>(place));
    if locked > planned {
        refuse_planned_twice(local, shape).await?;
    }
    if locked > as_planned {
        return Ok(false);
    }
    Ok(planned == as_planned || count_as_planned(local, shape).await? == planned)
}

/// How many local rows of the plan are as they were planned, locked or not. Row security locks no row that our role may not
/// update. Such a row stays in the plan, and is rejected when the update passes over it. A row that was changed or deleted
/// before it could be locked is not counted, as this statement sees what is committed by now.
async fn count_as_planned(local: &Tx<'_, Local>, shape: &Shape) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the rows that are as planned
select pg_catalog.count(distinct p.n)
from pg_temp.meter_sync_plan p
join {} l on {} and {}
where p.action operator(pg_catalog.<>) 'insert' and l.xmin operator(pg_catalog.=) p.version",
        shape.local,
        shape.same_key("l", "p"),
        shape.local_filter
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}

/// Refuses keys of the plan that several local rows hold.
async fn refuse_planned_twice(local: &Tx<'_, Local>, shape: &Shape) -> Result<(), SyncError> {
    let same_key = shape.same_key("l", "p");
    let is_planned = format!(
        "exists (select from pg_temp.meter_sync_plan p where p.action <> 'insert' and {same_key})"
    );
    refuse_held_twice(local, shape, &is_planned).await
}

/// Refuses keys that several local rows hold, of those for which a condition on a row `l` holds.
pub(crate) async fn refuse_held_twice(
    local: &Tx<'_, Local>,
    shape: &Shape,
    condition: &str,
) -> Result<(), SyncError> {
    let (table, filter) = (&shape.local, &shape.local_filter);
    let (keys, has_key) = (shape.list("l", &shape.key), shape.has_key("l"));
    let key = shape.key_json("l");
    let sql = |text: fn(&str) -> String| {
        format!(
            "-- look for keys held twice
select {} from {table} l where {filter} and {has_key} and {condition}
group by {keys} having pg_catalog.count(*) > 1 order by {keys} limit {}",
            text(&key),
            read::DUPLICATES_NAMED
        )
    };
    let rows = local.query_json(sql, &[]).await?;
    let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    match keys.as_slice() {
        [] => Ok(()),
        keys => Err(SyncError::HeldTwice {
            table: table.clone(),
            keys: keys.join(", "),
        }),
    }
}

async fn summary(local: &Tx<'_, Local>, staged: &Staged) -> Result<Plan, DbError> {
    let mut plan = Plan {
        counts: Counts::default(),
        switched_off: 0,
        steps: Vec::new(),
    };
    for row in local.query(SUMMARY, &[]).await? {
        let (action, first, last): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let action = Action::read(&action);
        let (Some(step), Some(count)) = (Step::of(action), count_of(&mut plan.counts, action))
        else {
            continue;
        };
        *count = row.get(3);
        plan.switched_off += row.get::<_, i64>(4);
        match plan.steps.iter_mut().find(|(known, _)| *known == step) {
            Some((_, rows)) => {
                *rows = Rows {
                    first: rows.first.min(first),
                    last: rows.last.max(last),
                };
            }
            None => plan.steps.push((step, Rows { first, last })),
        }
    }
    plan.steps.sort_by_key(|(_, rows)| rows.first);
    let rejected = i64::try_from(staged.rejected.len()).unwrap_or(i64::MAX);
    plan.counts.rejected = rejected;
    plan.counts.unchanged = staged.rows
        - rejected
        - plan.counts.inserted
        - plan.counts.updated
        - plan.counts.reactivated;
    Ok(plan)
}

/// The count that an action adds to.
pub(crate) fn count_of(counts: &mut Counts, action: Action) -> Option<&mut i64> {
    match action {
        Action::Insert => Some(&mut counts.inserted),
        Action::Update => Some(&mut counts.updated),
        Action::Deactivate => Some(&mut counts.deactivated),
        Action::Reactivate => Some(&mut counts.reactivated),
        Action::Unknown => None,
    }
}

const SUMMARY: &str = "\
-- sum up the plan
select p.action, pg_catalog.min(p.n), pg_catalog.max(p.n), pg_catalog.count(*),
       pg_catalog.count(*) filter (where p.is_switched_off)
from pg_temp.meter_sync_plan p group by 1";
