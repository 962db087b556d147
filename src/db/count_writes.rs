//! Asks how often rows of a table were written and deleted. The server counts this for its statistics
//! (<https://www.postgresql.org/docs/current/monitoring-stats.html>), some seconds late at most.

use super::{DbError, Side, Tx, quote};

/// How often rows of a table were written so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteCounts {
    /// How many rows were inserted, updated and deleted.
    pub written: i64,
    /// How many of these were deleted.
    pub deleted: i64,
}

/// Returns how often rows of the table were written so far. Returns `None` if there is no such table, if the role may
/// not ask, on a standby, which does not count what it replays, and before Postgres 15, where the answer may take half
/// a second.
pub async fn of_table<S: Side>(tx: &Tx<'_, S>, name: &str) -> Result<Option<WriteCounts>, DbError> {
    let sql = format!(
        "select pg_catalog.set_config('search_path', {}, true);
select case when pg_catalog.current_setting('server_version_num')::integer operator(pg_catalog.>=) 150000
                 and not pg_catalog.pg_is_in_recovery()
            then pg_catalog.pg_stat_get_tuples_inserted(t.oid) operator(pg_catalog.+)
                 pg_catalog.pg_stat_get_tuples_updated(t.oid) operator(pg_catalog.+)
                 pg_catalog.pg_stat_get_tuples_deleted(t.oid) end,
       pg_catalog.pg_stat_get_tuples_deleted(t.oid)
from (select pg_catalog.to_regclass({})::pg_catalog.oid as oid) t;
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)",
        quote::literal(&tx.role_path()),
        quote::literal(name)
    );
    let doing = "ask how often the table was written";
    let undo = DbError::is_not_computable;
    let answer = tx
        .undo_simple_if("meter_sync_writes", undo, doing, &sql)
        .await?;
    let rows = answer.unwrap_or_default();
    let counts = rows.get(1).and_then(|row| {
        Some(WriteCounts {
            written: row.get(0)?.parse().ok()?,
            deleted: row.get(1)?.parse().ok()?,
        })
    });
    Ok(counts)
}
