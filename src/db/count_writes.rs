//! Asks how often rows of a table were written. The server counts this for its statistics
//! (<https://www.postgresql.org/docs/current/monitoring-stats.html>), some seconds late at most.

use super::{DbError, Side, Tx, quote};

/// Returns how many rows of the table were inserted, updated and deleted so far. Returns `None` if there is no such
/// table, if the role may not ask, on a standby, which does not count what it replays, and before Postgres 15, where
/// the answer may take half a second.
pub async fn of_table<S: Side>(tx: &Tx<'_, S>, name: &str) -> Result<Option<i64>, DbError> {
    let sql = format!(
        "select pg_catalog.set_config('search_path', {}, true);
select case when pg_catalog.current_setting('server_version_num')::integer operator(pg_catalog.>=) 150000
                 and not pg_catalog.pg_is_in_recovery()
            then pg_catalog.pg_stat_get_tuples_inserted(t.oid) operator(pg_catalog.+)
                 pg_catalog.pg_stat_get_tuples_updated(t.oid) operator(pg_catalog.+)
                 pg_catalog.pg_stat_get_tuples_deleted(t.oid) end
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
    Ok(rows.get(1).and_then(|row| row.get(0)?.parse().ok()))
}
