//! Reads from the tables `meter_sync_change` and `meter_sync_log` what runs have changed since a run and until another.

use tokio_postgres::Row;

use super::changes::{CHANGED, change, changed, order, order_of};
use super::log::LogFilter;
use crate::db::{DbError, Local, Tx, param};
use crate::model::{Change, RunId};

/// What is known of the runs after one run and up to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunsBetween {
    /// How many of these runs changed meters.
    pub runs: i64,
    /// Whether the log still has all changes that these runs made.
    pub is_complete: bool,
}

/// A change of a meter, with what is known of the meter before the runs.
#[derive(Clone, Debug)]
pub struct ChangeBetweenRuns {
    /// The change.
    pub change: Change,
    /// Whether the change inserts a meter that an earlier run had changed, too. Somebody has deleted its row here then.
    pub was_deleted_here: bool,
}

/// The runs after `$3` and up to `$4` that changed meters.
fn between(log: LogFilter<'_>) -> String {
    let order = order(log);
    let of = |run: &str| order_of(log, run);
    format!(
        "g.local_table = $1 and g.tenant = $2 and not g.dry_run and g.outcome in ('succeeded', 'partial')
    and g.inserted + g.updated + g.deactivated + g.reactivated > 0 and {order} > {} and {order} <= {}",
        of("$3"),
        of("$4")
    )
}

/// Counts the runs after the run `from` and up to the run `to` that changed meters. `log` must name a tenant.
pub async fn count(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    from: RunId,
    to: RunId,
) -> Result<RunsBetween, DbError> {
    // `is_pruned` is read through JSON, because the log table of an earlier version does not have that column.
    let sql = format!(
        "-- count the runs between two runs
select count(*), coalesce(bool_and(not g.changes_truncated and (to_jsonb(g.*)->>'is_pruned') is distinct from 'true'), true)
from meter_sync.meter_sync_log g where {}",
        between(log)
    );
    let params = log.with([param::uuid(from.as_uuid()), param::uuid(to.as_uuid())]);
    let row = tx.query_one(&sql, &params).await?;
    Ok(RunsBetween {
        runs: row.get(0),
        is_complete: row.get(1),
    })
}

/// Lists the changes of these runs by key, those of one meter in the order in which they were made; at most `limit`.
pub async fn list(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    from: RunId,
    to: RunId,
    limit: i64,
) -> Result<Vec<ChangeBetweenRuns>, DbError> {
    let params = log.with([
        param::uuid(from.as_uuid()),
        param::uuid(to.as_uuid()),
        param::bigint(limit),
    ]);
    let sql = |text: fn(&str) -> String| {
        format!(
            "-- list the changes between two runs
select {}, c.action = 'insert' and exists (
    select from meter_sync.meter_sync_change e join meter_sync.meter_sync_log h on h.id = e.run_id
    where e.key = c.key and h.local_table = $1 and h.tenant = $2 and not h.dry_run
      and h.outcome in ('succeeded', 'partial') and {} <= {})
from meter_sync.meter_sync_log g join meter_sync.meter_sync_change c on c.run_id = g.id
where {}
order by c.key, {}, c.n limit $5",
            changed(text),
            order(log).replace("g.", "h."),
            order_of(log, "$3"),
            between(log),
            order(log)
        )
    };
    let rows = tx.query_json(sql, &params).await?;
    let read = |row: &Row| ChangeBetweenRuns {
        change: change(row),
        was_deleted_here: row.get(CHANGED),
    };
    Ok(rows.iter().map(read).collect())
}
