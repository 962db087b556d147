//! Makes the plan: finds the differences between the staged rows and the local table by set operations.
//!
//! Which rows differ is decided by [`row_difference_sql`]. A staged value was already converted to the local type, so once
//! it is written, it compares equal in later runs.

use crate::db::{DbError, Local, RowFault, Tx, quote};
use crate::model::{ChangeAction, Counts, Rejection, saturating_i64};

use super::read::{self, StagedRows};
use super::write_by_halving::{RowFaults, RowRange};
use super::{
    Relations, RowSelection, RunContext, SyncError, SyncJob, SyncResult, TenantFilters,
    row_difference_sql, stage_local_rows,
};

/// The changes that a sync would make. The rows are in two temporary tables:
///
/// - `meter_sync_plan`: one numbered row for each meter to change.
/// - `meter_sync_unmatched`: those of the compared local meters that are missing on the remote, active or not.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) counts: Counts,
    /// How many updates make an active meter inactive, because the active column of its remote row is not true.
    pub(crate) switched_off: i64,
    /// The rows of each step, in the order in which they are applied.
    pub(crate) steps: Vec<(PlanStep, RowRange)>,
}

/// A step of applying a plan. Steps that free unique values come before steps that need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlanStep {
    Deactivate,
    /// Updates and reactivations.
    Change,
    Insert,
}

impl PlanStep {
    fn of(action: ChangeAction) -> Option<Self> {
        match action {
            ChangeAction::Deactivate => Some(Self::Deactivate),
            ChangeAction::Update | ChangeAction::Reactivate => Some(Self::Change),
            ChangeAction::Insert => Some(Self::Insert),
            ChangeAction::Unknown => None,
        }
    }
}

impl Plan {
    /// Turns the plan and the rejected rows into the result of the sync, or of the dry run.
    pub(crate) fn into_synced(self, job: &SyncJob<'_>, rejected: Vec<Rejection>) -> SyncResult {
        SyncResult {
            changes_truncated: self.counts.changes() > i64::from(job.limits.change_limit),
            counts: self.counts,
            rejected,
            altered: Vec::new(),
        }
    }
}

/// The most attempts to make a plan, with the draft as the first. Another attempt is needed if another session changes a
/// row before it is locked or written.
const ATTEMPTS: usize = 5;

/// Makes the plan, and locks no row. Others may change the rows of the plan before it is carried out.
pub(crate) async fn draft(
    run: &RunContext<'_>,
    selection: &RowSelection,
    staged: &StagedRows,
) -> Result<Plan, SyncError> {
    let candidates = match staged.has_candidates && !run.job.dry_run {
        true => stage_local_rows::TABLE,
        false => &stage_local_rows::rows(run, selection),
    };
    run.local.batch(&plan_sql(run, candidates)).await?;
    Ok(sum_up(run.local, staged, UNLOCKED).await?.0)
}

/// Makes the plan. Unless this is a dry run, also locks the local rows of the plan, so that nobody can change them
/// before the plan is applied. If one of them changed before it was locked, makes the plan again, up to [`ATTEMPTS`]
/// times. `attempt` is the number of the first attempt: 2 if a draft could not be carried out.
pub(crate) async fn make(
    run: &RunContext<'_>,
    selection: &RowSelection,
    staged: &StagedRows,
    mut attempt: usize,
) -> Result<Plan, SyncError> {
    let RunContext { local, job, .. } = *run;
    if job.dry_run {
        let plan = draft(run, selection, staged).await?;
        refuse_planned_twice(run).await?;
        return Ok(plan);
    }
    loop {
        let candidates = match staged.has_candidates && attempt == 1 {
            true => stage_local_rows::TABLE,
            false => &stage_local_rows::rows(run, selection),
        };
        local.batch(&plan_sql(run, candidates)).await?;
        let locked = lock(run).await?;
        let (plan, as_planned) = sum_up(local, staged, LOCKED_AS_PLANNED).await?;
        if are_unchanged(run, &plan, locked, as_planned).await? {
            return Ok(plan);
        }
        if attempt == ATTEMPTS {
            return Err(SyncError::PlanKeptChanging(job.tenant.clone()));
        }
        attempt += 1;
        local
            .batch(
                "-- drop the outdated plan
drop table pg_temp.meter_sync_plan, pg_temp.meter_sync_unmatched, pg_temp.meter_sync_locked",
            )
            .await?;
    }
}

fn plan_sql(run: &RunContext<'_>, candidates: &str) -> String {
    let relations = run.relations;
    let rows = rows_with_versions(run);
    let active = quote::identifier(&relations.active);
    let same_key = relations.same_key("l", "s");
    let is_first_key_null = |row: &str| {
        let first = relations.key.first();
        first.map_or_else(String::new, |name| {
            format!("{} is null", relations.column(row, name))
        })
    };
    let is_new = is_first_key_null("l");
    let (is_staged, is_aside) = (relations.same_key("u", "s"), relations.same_key("u", "a"));
    let (not_staged, not_aside) = (is_first_key_null("s"), is_first_key_null("a"));
    let differ = row_difference_sql::differ(relations);
    // Citus reads the staging table by a subquery that lacks `ctid`.
    let staged_place = match relations.keeps_places {
        true => "s.ctid",
        false => "null::pg_catalog.tid",
    };
    let staged_active = relations.column("s", &relations.active);
    let is_switched_off = is_switched_off(relations);
    let staged_key = relations.list("s", &relations.key);
    let unmatched_key = relations.list("u", &relations.key);
    let key = relations.list("d", &relations.key);
    // Citus refuses `not exists` here, and runs left joins. Postgres makes the same plan of both.
    format!(
        "-- plan the changes
create temp table meter_sync_unmatched on commit drop as
select u.* from {candidates} u
left join pg_temp.meter_sync_stage s on {is_staged}
left join pg_temp.meter_sync_aside a on {is_aside}
where {not_staged} and {not_aside};
create temp table meter_sync_plan on commit drop as
select pg_catalog.row_number() over (order by d.step, {key}) as n, d.*
from (
    select case when {is_new} then 2 else 1 end as step,
           case when {is_new} then 'insert'
                when l.{active} is not true and {staged_active} then 'reactivate'
                else 'update' end as action,
           {is_switched_off} as is_switched_off, l.xmin as version, l.ctid as place, {staged_place} as staged_place,
           {staged_key}
    from pg_temp.meter_sync_stage s
    left join {rows} l on {same_key}
    where {is_new} or {differ}
    union all
    select 0, 'deactivate', false, u.version, u.place, null, {unmatched_key}
    from pg_temp.meter_sync_unmatched u where u.active
) d;
analyze pg_temp.meter_sync_plan"
    )
}

/// SQL: a subquery of the tenant's local rows with their synced columns, `xmin` and `ctid`, all under their own names.
/// It is needed in outer joins: Citus reads a distributed table there through a subquery, and one that Citus makes
/// itself lacks `xmin`.
fn rows_with_versions(run: &RunContext<'_>) -> String {
    let relations = run.relations;
    format!(
        "(select l.xmin, l.ctid, {} from {} l where {})",
        relations.list("l", &relations.names),
        relations.local,
        run.scope.local_filter
    )
}

/// SQL condition: whether a staged row makes an active local row inactive, because its active column is `false` or
/// NULL. One exception: if the local active column is NOT NULL and the table stores rows unchanged, a row with NULL is
/// rejected and the meter stays active.
fn is_switched_off(relations: &Relations) -> String {
    let here = format!("l.{} is true", quote::identifier(&relations.active));
    let there = relations.column("s", &relations.active);
    let active = relations
        .columns
        .iter()
        .find(|column| column.name == relations.active);
    let is_kept =
        active.is_some_and(|column| !column.is_nullable) && relations.stores_rows_unchanged;
    match is_kept {
        true => format!("({here} and {there} is false)"),
        false => format!("({here} and {there} is not true)"),
    }
}

/// Locks the local rows of the plan, lists them in the temporary table `meter_sync_locked`, and returns their number.
/// Other sessions can then not change them, but can read them and insert rows that refer to them.
async fn lock(run: &RunContext<'_>) -> Result<u64, DbError> {
    let (table, local_filter) = (&run.relations.local, &run.scope.local_filter);
    let same_key = run.relations.same_key("l", "p");
    // The statement that locks cannot also count: Postgres takes no `count` beside a row lock, and Citus 13.2 no row
    // lock in a CTE.
    let sql = format!(
        "-- lock the rows of the plan
create temp table meter_sync_locked on commit drop as
select l.xmin operator(pg_catalog.=) p.version as as_planned
from pg_temp.meter_sync_plan p
join {table} l on {same_key} and {local_filter}
where p.action <> 'insert'
order by p.n
for no key update of l"
    );
    run.local.execute(&sql, &[]).await
}

/// Whether the local rows of the plan are still as they were when they were planned. `locked` is how many of them could
/// be locked, and `as_planned` how many of these have not changed. Returns an error if several local rows have the same
/// key, which is possible because a unique index does not cover the tables that inherit from its table.
async fn are_unchanged(
    run: &RunContext<'_>,
    plan: &Plan,
    locked: u64,
    as_planned: i64,
) -> Result<bool, SyncError> {
    let Counts {
        deactivated,
        updated,
        reactivated,
        ..
    } = plan.counts;
    let planned = deactivated + updated + reactivated;
    let locked = i64::try_from(locked).unwrap_or(i64::MAX);
    if locked > planned {
        refuse_planned_twice(run).await?;
    }
    if locked > as_planned {
        return Ok(false);
    }
    Ok(planned == as_planned || count_as_planned(run).await? == planned)
}

/// Counts the local rows of the plan that have not changed since they were planned, even if they could not be locked:
///
/// - A row that row security keeps us from locking is counted. The update skips it later, and it is rejected.
/// - A row that was changed or deleted before it could be locked is not counted, because this statement sees all
///   changes committed so far.
async fn count_as_planned(run: &RunContext<'_>) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the rows that are as planned
select pg_catalog.count(distinct p.n)
from pg_temp.meter_sync_plan p
join {} l on {} and {}
where p.action operator(pg_catalog.<>) 'insert' and l.xmin operator(pg_catalog.=) p.version",
        run.relations.local,
        run.relations.same_key("l", "p"),
        run.scope.local_filter
    );
    Ok(run.local.query_one(&sql, &[]).await?.get(0))
}

/// Returns an error if the plan changes a row whose key another local row has, too.
async fn refuse_planned_twice(run: &RunContext<'_>) -> Result<(), SyncError> {
    let same_key = run.relations.same_key("l", "p");
    let planned = format!("join pg_temp.meter_sync_plan p on p.action <> 'insert' and {same_key}");
    refuse_duplicate_local_keys(run.local, run.relations, run.scope, &planned).await
}

/// Returns an error if several of the tenant's local rows have the same key. Considers only rows `l` that are left by
/// the SQL `join`.
pub(crate) async fn refuse_duplicate_local_keys(
    local: &Tx<'_, Local>,
    relations: &Relations,
    scope: &TenantFilters,
    join: &str,
) -> Result<(), SyncError> {
    let (table, filter) = (&relations.local, &scope.local_filter);
    let (keys, has_key) = (relations.list("l", &relations.key), relations.has_key("l"));
    let key = relations.key_json("l");
    let sql = |text: fn(&str) -> String| {
        format!(
            "-- look for keys held twice
select {} from {table} l {join} where {filter} and {has_key}
group by {keys} having pg_catalog.count(*) > 1 order by {keys} limit {}",
            text(&key),
            read::DUPLICATES_NAMED
        )
    };
    let rows = local.query_json(sql, &[]).await?;
    let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    match keys.as_slice() {
        [] => Ok(()),
        keys => Err(SyncError::DuplicateLocalKey {
            table: table.clone(),
            keys: keys.join(", "),
        }),
    }
}

/// Sums the plan up. Also returns the number that the SQL expression `as_planned` gives, 0 for an empty plan.
async fn sum_up(
    local: &Tx<'_, Local>,
    staged: &StagedRows,
    as_planned: &str,
) -> Result<(Plan, i64), DbError> {
    let sql = format!(
        "-- sum up the plan
select p.action, pg_catalog.min(p.n), pg_catalog.max(p.n), pg_catalog.count(*),
       pg_catalog.count(*) filter (where p.is_switched_off), {as_planned}
from pg_temp.meter_sync_plan p group by 1"
    );
    let mut unchanged = 0;
    let mut plan = Plan {
        counts: Counts::default(),
        switched_off: 0,
        steps: Vec::new(),
    };
    for row in local.query(&sql, &[]).await? {
        let (action, first, last): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let action = ChangeAction::read(&action);
        let (Some(step), Some(count)) = (PlanStep::of(action), count_of(&mut plan.counts, action))
        else {
            continue;
        };
        *count = row.get(3);
        plan.switched_off += row.get::<_, i64>(4);
        unchanged = row.get(5);
        match plan.steps.iter_mut().find(|(known, _)| *known == step) {
            Some((_, rows)) => {
                *rows = RowRange {
                    first: rows.first.min(first),
                    last: rows.last.max(last),
                };
            }
            None => plan.steps.push((step, RowRange { first, last })),
        }
    }
    plan.steps.sort_by_key(|(_, rows)| rows.first);
    let rejected = saturating_i64(staged.rejected.len());
    plan.counts.rejected = rejected;
    plan.counts.unchanged = staged.rows
        - rejected
        - plan.counts.inserted
        - plan.counts.updated
        - plan.counts.reactivated;
    Ok((plan, unchanged))
}

/// Returns the counter for an action; `None` for an unknown action.
pub(crate) fn count_of(counts: &mut Counts, action: ChangeAction) -> Option<&mut i64> {
    match action {
        ChangeAction::Insert => Some(&mut counts.inserted),
        ChangeAction::Update => Some(&mut counts.updated),
        ChangeAction::Deactivate => Some(&mut counts.deactivated),
        ChangeAction::Reactivate => Some(&mut counts.reactivated),
        ChangeAction::Unknown => None,
    }
}

/// SQL: how many rows of the plan are locked and have not changed since they were planned.
const LOCKED_AS_PLANNED: &str =
    "(select pg_catalog.count(*) from pg_temp.meter_sync_locked k where k.as_planned)";
/// SQL: the same number for a dry run, which locks no row.
const UNLOCKED: &str = "0::pg_catalog.int8";

/// A row of the plan that could not be written.
pub(in crate::engine) struct UnwrittenRow {
    pub(in crate::engine) step: PlanStep,
    /// The number of the row in the plan.
    pub(in crate::engine) n: i64,
    pub(in crate::engine) fault: RowFault,
}

impl UnwrittenRow {
    /// Builds an [`UnwrittenRow`] from each row of one step that could not be written.
    pub(in crate::engine) fn of_step(step: PlanStep, bad: RowFaults) -> impl Iterator<Item = Self> {
        bad.into_iter()
            .map(move |(n, fault)| Self { step, n, fault })
    }
}

/// SQL that indexes the plan by row number and the staging table by key, so that a small range of rows is found fast.
pub(super) fn index(relations: &Relations) -> String {
    let key = relations.temp_columns(&relations.key);
    format!(
        "-- index the plan
create index if not exists meter_sync_plan_n on pg_temp.meter_sync_plan (n);
create index if not exists meter_sync_stage_key on pg_temp.meter_sync_stage ({key});
analyze pg_temp.meter_sync_plan (n)"
    )
}
