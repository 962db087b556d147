//! Writes a plan whose rows were not locked: each step in one statement, which finds the rows by their places.
//!
//! A row is written only if it still has the place (`ctid`) and the version (`xmin`) that it had when it was planned.
//! If another session has changed a row meanwhile, the statement writes fewer rows than planned, and all is undone. So
//! the rows need not be locked first. All is also undone if the local table refuses a row. The caller then plans anew,
//! locks the rows, and finds out which rows are refused.

use crate::db::{DbError, PAGES_ARE_CACHED, PLANNING, quote};
use crate::engine::digest::{WrittenVersions, version_change};
use crate::engine::find_gone_meters::MissingMeters;
use crate::engine::plan::{Plan, PlanStep};
use crate::engine::write_by_halving::{self, CHECK, WriteAttemptOutcome};
use crate::engine::{RunContext, record_changes};

/// Records the changes of the plan and writes them, or does neither. `gone` says where missing meters went. Returns the row versions that were written, whose
/// sum is 0 unless `sums_versions`. Returns `None` if nothing was written, because a row was refused, or was changed by
/// another session since it was planned.
///
/// The local table must store rows as they are written (`Relations::stores_rows_unchanged`) and rows must keep their
/// places (`Relations::keeps_places`).
pub(in crate::engine) async fn write(
    run: &RunContext<'_>,
    plan: &Plan,
    gone: &MissingMeters,
    sums_versions: bool,
) -> Result<Option<WrittenVersions>, DbError> {
    let (mut inserted, mut change) = (0, 0);
    let tried = write_by_halving::attempt(run.local, async {
        let prepare = format!("{CHECK}; {PAGES_ARE_CACHED}");
        run.local.batch(&prepare).await?;
        if plan.counts.changes() > 0 {
            let kept = i64::from(run.job.limits.change_limit);
            record_changes::planned(run, kept, gone).await?;
        }
        for (step, rows) in &plan.steps {
            let row = run
                .local
                .query_one(&statement(run, *step, sums_versions), &[])
                .await?;
            let count: i64 = row.get(0);
            if count != rows.count() {
                return Ok(WriteAttemptOutcome::skipped());
            }
            change ^= row.get::<_, i64>(1);
            if *step == PlanStep::Insert {
                inserted = count;
            }
        }
        let end = format!("-- end writing at once\n{PLANNING}");
        run.local.batch(&end).await?;
        Ok(WriteAttemptOutcome::Written)
    });
    Ok(match tried.await? {
        WriteAttemptOutcome::Written => Some(WrittenVersions::Change { inserted, change }),
        WriteAttemptOutcome::NotWritten(_) => None,
    })
}

/// Returns the statement that writes all rows of a step. It returns their number and the change of the sum of versions,
/// or 0. A server may lack the functions that sum versions.
fn statement(run: &RunContext<'_>, step: PlanStep, sums_versions: bool) -> String {
    let relations = run.relations;
    let (local, local_filter) = (&relations.local, &run.scope.local_filter);
    let local_row = format!(
        "l.ctid operator(pg_catalog.=) p.place and l.xmin operator(pg_catalog.=) p.version and {} and {local_filter}",
        relations.same_key("l", "p")
    );
    let staged_row = "s.ctid operator(pg_catalog.=) p.staged_place";
    let active = quote::identifier(&relations.active);
    let old = "p.place as old_place, p.version as old_version";
    let (name, write, old) = match step {
        PlanStep::Deactivate => (
            "deactivate meters",
            format!(
                "update {local} l set {active} = false from pg_temp.meter_sync_plan p
    where p.step operator(pg_catalog.=) 0 and {local_row}"
            ),
            old,
        ),
        PlanStep::Change => (
            "update meters",
            format!(
                "update {local} l set {} from pg_temp.meter_sync_plan p, pg_temp.meter_sync_stage s
    where p.step operator(pg_catalog.=) 1 and {staged_row} and {local_row}",
                super::assignments(relations)
            ),
            old,
        ),
        PlanStep::Insert => (
            "insert meters",
            format!(
                "insert into {local} as l ({}) overriding system value
    select {} from pg_temp.meter_sync_plan p join pg_temp.meter_sync_stage s on {staged_row}
    where p.step operator(pg_catalog.=) 2 order by p.n",
                quote::columns("", &relations.names),
                relations.list("s", &relations.names)
            ),
            "null::pg_catalog.tid as old_place, null::pg_catalog.xid as old_version",
        ),
    };
    let change = match sums_versions {
        true => format!("coalesce(pg_catalog.bit_xor({}), 0)", version_change("w")),
        false => "0::pg_catalog.int8".to_owned(),
    };
    format!(
        "-- {name}
with written as (
    {write}
    returning l.ctid as place, l.xmin as version, {old}
)
select pg_catalog.count(*), {change} from written w"
    )
}
