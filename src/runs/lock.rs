//! One run a scope (a tenant's meters in a local table) at a time, among all processes and hosts.
//!
//! The lock is an advisory lock of the local database, held by the very transaction that changes
//! the meters (<https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS>): it is
//! let go exactly when that transaction ends, however it ends, so a run that lost its lock cannot
//! write and a run that ended cannot hold it.
//!
//! A second, short lock, the *door*, is held while a run is being started. Whoever finds the lock
//! taken looks at the log behind the door, and there the running run's row is sure to be.

use std::time::Duration;

use crate::config::Limits;
use crate::db::{DbError, Local, Tx, param};

use super::table::{LocalTable, Scope};

const TRY_DOOR: &str = "\
-- try the door
select pg_try_advisory_xact_lock(hashtextextended('meter_sync door ' || $1, 0))";

const TAKE: &str = "\
-- take the run lock
select pg_advisory_xact_lock(hashtextextended('meter_sync run ' || $1, 0))";

/// Takes the door until the transaction ends; `false` while another process is starting a run.
pub(super) async fn try_door(tx: &Tx<'_, Local>, scope: &Scope) -> Result<bool, DbError> {
    Ok(tx
        .query_one(TRY_DOOR, &[param::text(scope.text().as_str())])
        .await?
        .get(0))
}

/// Takes the scope's lock until the transaction ends, and waits for it at most `lock_timeout`:
/// behind the door it is free; after a lost connection, until the old transaction is over.
pub(super) async fn take(tx: &Tx<'_, Local>, scope: &Scope) -> Result<(), DbError> {
    tx.execute(TAKE, &[param::text(scope.text().as_str())])
        .await
        .map(drop)
}

const TRY_TABLE: &str = "\
-- claim the table
select pg_try_advisory_xact_lock(hashtextextended('meter_sync table ' || $1, 0))";

/// Takes a table that holds one tenant's meters until the transaction ends; `false` while it is being
/// synced for another tenant. Whose meters it holds may be asked only by who has it.
pub(super) async fn try_table(tx: &Tx<'_, Local>, table: &LocalTable) -> Result<bool, DbError> {
    Ok(tx
        .query_one(TRY_TABLE, &[param::text(table.name.as_str())])
        .await?
        .get(0))
}

const IS_HELD: &str = "\
-- look for the run lock
select exists (
    select from pg_catalog.pg_locks k
    join pg_catalog.pg_database d on d.oid = k.database
    cross join (select hashtextextended('meter_sync run ' || $1, 0) as key) h
    where k.locktype = 'advisory' and k.objsubid = 1 and k.granted and d.datname = current_database()
      and k.classid::bigint = (h.key >> 32) & 4294967295 and k.objid::bigint = h.key & 4294967295
)";

/// Whether a run of the scope is in progress anywhere: a log row without an end may also have been
/// left by a process that died.
pub(super) async fn is_held(tx: &Tx<'_, Local>, scope: &Scope) -> Result<bool, DbError> {
    Ok(tx
        .query_one(IS_HELD, &[param::text(scope.text().as_str())])
        .await?
        .get(0))
}

const END_FROZEN: &str = "\
-- end the run of a frozen process
select pg_terminate_backend(a.pid)
from pg_catalog.pg_locks k
join pg_catalog.pg_database d on d.oid = k.database
join pg_catalog.pg_stat_activity a on a.pid = k.pid
cross join (select hashtextextended('meter_sync run ' || $1, 0) as key) h
where k.locktype = 'advisory' and k.objsubid = 1 and k.granted and d.datname = current_database()
  and k.classid::bigint = (h.key >> 32) & 4294967295 and k.objid::bigint = h.key & 4294967295
  and a.usename = current_user and a.wait_event_type = 'Client'
  and a.xact_start < clock_timestamp() - ($2 || ' milliseconds')::interval";

/// A process gives its run up before the server has waited for it for so long beyond the run's own limits.
const BEYOND: Duration = Duration::from_secs(10);

/// Ends the run that holds the lock where its process has been silent beyond every limit; whether there was one.
///
/// A server ends an idle transaction by itself, but not one that waits for the rows of a COPY.
pub(super) async fn end_frozen(
    tx: &Tx<'_, Local>,
    scope: &Scope,
    limits: &Limits,
) -> Result<bool, DbError> {
    let longest = limits.run_timeout + limits.statement_timeout + BEYOND;
    let longest_ms = longest.as_millis().to_string();
    let scope = scope.text();
    let params = [
        param::text(scope.as_str()),
        param::text(longest_ms.as_str()),
    ];
    Ok(!tx.query(END_FROZEN, &params).await?.is_empty())
}
