//! Deletes old runs from the log, with their changes and rejected rows.
//!
//! This happens after a run, in small steps, each in a transaction of its own. Some runs are kept longer:
//!
//! - runs that did not succeed completely are kept `PROBLEMS` times as long;
//! - runs that made the last change of a meter are kept with only these last changes, so that the log can always tell
//!   why a meter is as it is;
//! - the last run that succeeded, and the last run that compared the contents of all rows, are kept.
//!
//! The age of a run is measured by the database's clock. Several processes may delete at once: each skips the runs that
//! another one has locked. If deleting fails, the error is logged, and the next run tries again.

use std::time::{Duration, Instant};

use super::log::LogFilter;
use crate::db::{Database, DbError, Local, Tx, param};
use crate::model::saturating_i64;

/// Runs that did not succeed completely are kept this many times as long as others.
const PROBLEMS: i64 = 4;
/// The maximum number of runs that one step handles.
const STEP: i64 = 50;
/// The maximum number of entries (changes and rejected rows) that the runs of one step have together. A step handles at
/// least one run, however many entries that run has.
const STEP_ENTRIES: i64 = 5000;
/// The time after which a call begins no further step. The next call deletes what remains.
const LONGEST: Duration = Duration::from_secs(5);

/// Deletes runs that are older than `keep`: the runs of the tenant in the table, and runs that failed because no tenant
/// was known. Stops after about `LONGEST`. An error is logged and ends the call, too.
pub async fn prune(local: &Database<Local>, log: LogFilter<'_>, keep: Duration) {
    let begun = Instant::now();
    let mut runs = 0;
    while begun.elapsed() < LONGEST {
        match step(local, log, keep).await {
            Ok(0) => break,
            Ok(looked_at) => runs += looked_at,
            Err(error) => {
                let failure = error.failure();
                tracing::warn!(error = %failure, error.code = %failure.code, "old runs could not be deleted from the log");
                break;
            }
        }
    }
    if runs > 0 {
        tracing::debug!(runs, "old runs were deleted from the log");
    }
}

/// Deletes some of the oldest runs in one transaction. Returns how many old runs it handled; 0 if none is left.
async fn step(
    local: &Database<Local>,
    log: LogFilter<'_>,
    keep: Duration,
) -> Result<usize, DbError> {
    let prune = async |tx: &Tx<'_, Local>| {
        let old = old_runs(tx, log, keep).await?;
        if !old.is_empty() {
            let ids = || param::uuids(&old);
            let of_log = || log.with([ids()]);
            tx.execute(SUPERSEDED, &of_log()).await?;
            tx.execute(CHANGES, &of_log()).await?;
            tx.execute(REJECTED, &[ids()]).await?;
            tx.execute(KEPT, &[ids()]).await?;
            tx.execute(RUNS, &of_log()).await?;
        }
        Ok(old.len())
    };
    local.write("prune the log", prune).await
}

/// Selects and locks the oldest runs that are due for deletion, as many as one step handles.
async fn old_runs(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    keep: Duration,
) -> Result<Vec<uuid::Uuid>, DbError> {
    let seconds = saturating_i64(keep.as_secs());
    let params = log.with([
        param::bigint(seconds),
        param::bigint(seconds.saturating_mul(PROBLEMS)),
        param::bigint(STEP),
        param::bigint(STEP_ENTRIES),
    ]);
    let rows = tx.query(OLD, &params).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

const OLD: &str = "\
-- look for old runs
with old as materialized (
    select l.id, l.started_at, l.inserted + l.updated + l.deactivated + l.reactivated + l.rejected as entries
    from meter_sync.meter_sync_log l
    where l.local_table = $1 and (l.tenant = $2 or l.tenant is null) and not l.is_pruned and l.outcome is not null
      and l.started_at < now() - $3 * interval '1 second'
      and (l.outcome in ('succeeded', 'no_change', 'dry_run') or l.started_at < now() - $4 * interval '1 second')
      and l.seq is distinct from (
          select max(s.seq) from meter_sync.meter_sync_log s
          where s.local_table = $1 and s.tenant = $2 and s.outcome in ('succeeded', 'no_change'))
      and l.seq is distinct from (
          select max(s.seq) from meter_sync.meter_sync_log s
          where s.local_table = $1 and s.tenant = $2 and s.compared in ('contents', 'everything'))
    order by l.started_at limit $5
    for update of l skip locked
)
select o.id
from (select id, row_number() over oldest as n, sum(entries) over oldest as entries
      from old window oldest as (order by started_at, id)) o
where o.n = 1 or o.entries <= $6
order by o.n";

/// SQL that deletes changes that earlier steps kept as the last change of a meter, if one of the old runs of this step
/// has changed that meter later.
const SUPERSEDED: &str = "\
-- prune changes that others followed
with gone as (
    delete from meter_sync.meter_sync_change c
    using meter_sync.meter_sync_change later, meter_sync.meter_sync_log l, meter_sync.meter_sync_log g
    where later.run_id = any ($3) and l.id = later.run_id and not l.dry_run and l.outcome in ('succeeded', 'partial')
      and c.key = later.key and g.id = c.run_id and g.is_pruned and g.seq < l.seq
      and g.local_table = $1 and g.tenant = $2
    returning c.run_id
)
update meter_sync.meter_sync_log l set changes_truncated = true
where not l.changes_truncated and l.id in (select g.run_id from gone g)";

/// SQL that deletes the changes of the old runs, except the last change of each meter. A change of a dry run or of a
/// failed run did not take effect, so it never counts as the last.
const CHANGES: &str = "\
-- prune changes
with gone as (
    delete from meter_sync.meter_sync_change c
    using meter_sync.meter_sync_log l
    where l.id = any ($3) and c.run_id = l.id and c.run_id = any ($3)
      and (l.dry_run or l.outcome not in ('succeeded', 'partial') or exists (
          select from meter_sync.meter_sync_change later
          join meter_sync.meter_sync_log g on g.id = later.run_id
          where later.key = c.key and g.seq > l.seq and g.local_table = $1 and g.tenant = $2
            and not g.dry_run and g.outcome in ('succeeded', 'partial')))
    returning c.run_id
)
update meter_sync.meter_sync_log l set changes_truncated = true
where not l.changes_truncated and l.id in (select g.run_id from gone g)";

const REJECTED: &str = "\
-- prune rejected rows
delete from meter_sync.meter_sync_rejected r where r.run_id = any ($1)";

const KEPT: &str = "\
-- mark pruned runs
update meter_sync.meter_sync_log l set is_pruned = true where l.id = any ($1)";

/// SQL that deletes runs whose logged changes are all gone: old runs of this step, and runs of which earlier steps had
/// kept only the last changes of meters.
const RUNS: &str = "\
-- prune runs
delete from meter_sync.meter_sync_log l
where l.local_table = $1 and (l.tenant = $2 or l.tenant is null) and l.is_pruned
  and (l.id = any ($3) or l.outcome in ('succeeded', 'partial'))
  and not exists (select from meter_sync.meter_sync_change c where c.run_id = l.id)";
