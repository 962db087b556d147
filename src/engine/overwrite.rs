//! Writes all differing rows in one statement, straight from the staging table and without a plan.
//!
//! Used if the row versions say that many remote rows are new, and both sides have the same keys. Then no meter is
//! inserted or gone, and the statement that finds the rows which differ can also write them. It costs less than a plan
//! and its application.
//!
//! Without a plan it is not known which rows another session changes meanwhile. The statement leaves such rows out, as
//! their versions are new. So the tenant's local rows are counted afterwards, and those with new versions. If the new
//! ones are not exactly the rows that the statement wrote, or if a row was refused, all is undone, and the caller makes
//! a plan.

use crate::db::{DbError, PAGES_ARE_CACHED, PLANNING, quote};
use crate::model::{Counts, DeactivationApproval};
use crate::store::watermarks::VersionSum;

use super::digest::{WrittenVersions, version_hash, version_sums};
use super::find_gone_meters::MissingMeters;
use super::read::StagedRows;
use super::write_by_halving::{self, CHECK, WriteAttemptOutcome};
use super::{RunContext, SyncResult, apply, record_changes, row_difference_sql};

/// Settings for joins of the staging table, of which the server has no statistics: both tables have about the same
/// number of rows, so each join is best made by hashing. The memory keeps the joins of smaller sites off the disk.
const JOIN_BY_HASH: &str = "set local enable_nestloop = off; set local enable_mergejoin = off; set local work_mem = '32MB'";
/// Sets the settings of [`JOIN_BY_HASH`] back.
const DEFAULT_JOINS: &str =
    "set local enable_nestloop to default; set local enable_mergejoin to default";

/// The row versions of the local table when the sides were compared.
pub(super) struct ComparedVersions {
    pub(super) sum: VersionSum,
    /// The number of the next transaction at that moment, if no other was running.
    pub(super) quiet_since: Option<i64>,
}

/// Records and writes all changes, or does neither. Returns the result of the sync and the row versions that the local
/// table has now, or `None` if nothing was written. If another session has written to the local table since the sides
/// were compared, nothing is written.
///
/// Both sides must have the same keys, and no row was rejected. The local table must store rows as they are written
/// (`Relations::stores_rows_unchanged`), and rows must keep their places (`Relations::keeps_places`).
pub(super) async fn write(
    run: &RunContext<'_>,
    staged: &StagedRows,
    compared: &ComparedVersions,
) -> Result<Option<(SyncResult, WrittenVersions)>, DbError> {
    let mut written = None;
    let tried = write_by_halving::attempt(run.local, async {
        written = try_to_write(run, staged, compared).await?;
        Ok(match written {
            Some(_) => WriteAttemptOutcome::Written,
            None => WriteAttemptOutcome::skipped(),
        })
    });
    Ok(match tried.await? {
        WriteAttemptOutcome::Written => written,
        WriteAttemptOutcome::NotWritten(_) => None,
    })
}

async fn try_to_write(
    run: &RunContext<'_>,
    staged: &StagedRows,
    compared: &ComparedVersions,
) -> Result<Option<(SyncResult, WrittenVersions)>, DbError> {
    let RunContext { local, job, .. } = *run;
    local.batch(&format!("{CHECK}; {PAGES_ARE_CACHED}")).await?;
    let Some(horizon) = find_horizon(run, compared).await? else {
        return Ok(None);
    };
    let limit = i64::from(job.limits.change_limit);
    let (recorded, looked_at) = record_first(run, limit).await?;
    if recorded < limit && looked_at < staged.read {
        return Ok(None);
    }
    local.batch(&format!("{PLANNING}{JOIN_BY_HASH}")).await?;
    let row = local.query_one(&statement(run, horizon), &[]).await?;
    let (changed, reactivated, switched_off): (i64, i64, i64) =
        (row.get(0), row.get(1), row.get(2));
    let end = format!("-- end overwriting\n{PLANNING}{DEFAULT_JOINS}");
    local.batch(&end).await?;
    let after = count_new(run, horizon).await?;
    let is_braked = switched_off > i64::from(job.limits.max_deactivated_rows)
        && *job.mass_deactivation != DeactivationApproval::Any;
    let is_alone = after.new == changed && after.versions.0 == compared.sum.0;
    if is_braked || !is_alone || recorded != changed.min(limit) {
        return Ok(None);
    }
    let counts = Counts {
        updated: changed - reactivated,
        reactivated,
        unchanged: staged.rows - changed,
        ..Counts::default()
    };
    let synced = SyncResult {
        changes_truncated: changed > limit,
        counts,
        ..SyncResult::default()
    };
    Ok(Some((synced, WrittenVersions::Total(after.versions))))
}

/// Returns the number of a transaction: all that was written to the tenant's local rows since they were compared was
/// written by this transaction or a later one. `None` if there is no such number.
async fn find_horizon(
    run: &RunContext<'_>,
    compared: &ComparedVersions,
) -> Result<Option<i64>, DbError> {
    if compared.quiet_since.is_some() {
        return Ok(compared.quiet_since);
    }
    let Some(horizon) = version_sums::horizon(run.local).await? else {
        return Ok(None);
    };
    let now = count_new(run, horizon).await?;
    // A transaction that runs for long may hide when new rows were written.
    Ok((now.new == 0 && now.versions == compared.sum).then_some(horizon))
}

/// The tenant's local rows.
struct LocalRows {
    versions: VersionSum,
    /// How many of them are new, see [`version_hash::is_new`].
    new: i64,
}

/// Counts the tenant's local rows, and those that were written by the transaction `horizon` or a later one.
async fn count_new(run: &RunContext<'_>, horizon: i64) -> Result<LocalRows, DbError> {
    let sql = format!(
        "-- count the rows written since
select pg_catalog.count(*), coalesce(pg_catalog.bit_xor({}), 0), pg_catalog.count(*) filter (where {})
from {} l where {}",
        version_hash::row_version("l"),
        version_hash::is_new("l", horizon),
        run.relations.local,
        run.scope.local_filter
    );
    let row = run.local.query_one(&sql, &[]).await?;
    Ok(LocalRows {
        versions: (row.get(0), row.get(1)),
        new: row.get(2),
    })
}

/// Records the first changes among the staged rows, as many as the log keeps. Looks only at somewhat more rows, as most
/// have changed. Returns how many changes were recorded, and at how many rows it looked at most.
async fn record_first(run: &RunContext<'_>, limit: i64) -> Result<(i64, i64), DbError> {
    let most = limit.saturating_add(limit / 4).saturating_add(100);
    if limit == 0 {
        return Ok((0, most));
    }
    let relations = run.relations;
    let (table, local_filter) = (&relations.local, &run.scope.local_filter);
    let key = relations.list("s", &relations.key);
    let sql = format!(
        "-- plan the first changes
create temp table meter_sync_plan on commit drop as
select pg_catalog.row_number() over (order by {}) as n, d.*
from (
    select 1 as step,
           case when l.{} is not true and {} then 'reactivate' else 'update' end as action,
           l.ctid as place, s.ctid as staged_place, {key}
    from (
        select s.ctid, s.* from pg_temp.meter_sync_stage s limit {}
    ) s
    join {table} l on {} and {local_filter}
    where {}
    limit {limit}
) d;
analyze pg_temp.meter_sync_plan (n)",
        relations.list("d", &relations.key),
        quote::identifier(&relations.active),
        relations.column("s", &relations.active),
        most,
        relations.same_key("l", "s"),
        row_difference_sql::differ(relations)
    );
    run.local.batch(&sql).await?;
    record_changes::planned(run, limit, &MissingMeters::default()).await?;
    let count =
        "-- count the first changes\nselect pg_catalog.count(*) from pg_temp.meter_sync_plan";
    Ok((run.local.query_one(count, &[]).await?.get(0), most))
}

/// Returns the statement that updates all local rows that differ from their staged row. It returns their number, how
/// many of them were inactive and become active, and how many were active and become inactive. Leaves out rows that
/// another session has written since `horizon`, also if it commits while this statement waits for it.
fn statement(run: &RunContext<'_>, horizon: i64) -> String {
    let relations = run.relations;
    let (local, local_filter) = (&relations.local, &run.scope.local_filter);
    let active = quote::identifier(&relations.active);
    let inactive_key = quote::list(&relations.key, ", ", |name| {
        format!(
            "{} as {}",
            relations.column("l", name),
            relations.temp_column(name)
        )
    });
    let first_key = relations.key.first();
    let was_inactive = first_key.map_or_else(
        || "false".to_owned(),
        |name| format!("{} is not null", relations.column("i", name)),
    );
    format!(
        "-- update meters
with written as (
    update {local} l set {}
    from (
        select s.*, {was_inactive} as was_inactive
        from pg_temp.meter_sync_stage s
        left join (select {inactive_key} from {local} l where {local_filter} and l.{active} is not true) i on {}
    ) s
    where {} and {local_filter} and not {} and {}
    returning s.was_inactive, {} as is_active
)
select pg_catalog.count(*), pg_catalog.count(*) filter (where w.was_inactive and w.is_active),
       pg_catalog.count(*) filter (where not w.was_inactive and w.is_active is not true)
from written w",
        apply::assignments(relations),
        relations.same_key("i", "s"),
        relations.same_key("l", "s"),
        version_hash::is_new("l", horizon),
        row_difference_sql::differ(relations),
        relations.column("s", &relations.active)
    )
}
