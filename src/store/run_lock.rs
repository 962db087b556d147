//! The locks that allow one run of a mirror at a time, among all processes and hosts. A mirror is named by one text:
//! its local table, a space and the tenant's id.
//!
//! The *run lock* is an advisory lock of the local database
//! (<https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS>). The transaction that changes the
//! meters holds it, and the server releases it exactly when that transaction ends, however it ends. So a run that has
//! lost its lock cannot write, and a run that has ended cannot hold the lock.
//!
//! A second lock, the *start lock*, is held only for a short time: while any run of the database is being started, or
//! while a slot (scheduled time) is taken over. A process that finds the run lock taken reads the log while it holds
//! the start lock. The log row of the run in progress is then sure to be there.

use std::time::Duration;

use super::run_lock_key;
use crate::db::{DbError, Local, Tx, param};

const TRY_TO_START: &str = "\
-- try to start a run
select pg_try_advisory_xact_lock(hashtextextended('meter_sync start', 0))";

/// Tries to take the start lock, without which no run can start in this database. The lock is held until the
/// transaction ends. Returns `false` if another transaction holds it; the caller must then end its own transaction
/// before it tries again.
///
/// Starting a run takes two connections. Behind a pooler with few connections, several runs that start at the same time
/// could each hold one connection and wait for the second for ever. So only one run is started at a time.
pub async fn try_to_start(tx: &Tx<'_, Local>) -> Result<bool, DbError> {
    Ok(tx.query_one(TRY_TO_START, &[]).await?.get(0))
}

const TAKE: &str = concat!(
    "\
-- take the run lock
select pg_advisory_xact_lock(",
    run_lock_key!("$1"),
    ")"
);

/// Takes the run lock of the mirror until the transaction ends. Waits for at most `lock_timeout`, then fails. There is
/// no wait if the caller holds the start lock and has found the run lock free. If the connection of a run is lost, its
/// lock becomes free once the server has ended its transaction.
pub async fn take(tx: &Tx<'_, Local>, mirror: &str) -> Result<(), DbError> {
    tx.execute(TAKE, &[param::text(mirror)]).await.map(drop)
}

const TRY_TABLE: &str = "\
-- claim the table
select pg_try_advisory_xact_lock(hashtextextended('meter_sync table ' || $1, 0))";

/// Takes the advisory lock of a local table that has no tenant column, until the transaction ends. Returns `false` if a
/// run for another tenant holds it. While the lock is held, no such run can change which tenant's meters the table
/// holds.
pub async fn try_table(tx: &Tx<'_, Local>, local_table: &str) -> Result<bool, DbError> {
    is(tx, TRY_TABLE, local_table).await
}

/// SQL: the server processes that hold the run lock of the mirror `$1`.
macro_rules! holders {
    () => {
        concat!(
            "\
select k.pid
from pg_catalog.pg_locks k
join pg_catalog.pg_database d on d.oid = k.database
cross join (select ",
            run_lock_key!("$1"),
            " as key) h
where k.locktype = 'advisory' and k.objsubid = 1 and k.granted and d.datname = current_database()
  and k.classid::bigint = (h.key >> 32) & 4294967295 and k.objid::bigint = h.key & 4294967295"
        )
    };
}

const IS_HELD: &str = concat!("-- look for the run lock\nselect exists (", holders!(), ")");

/// Whether any process holds the run lock of the mirror, so that a run is in progress. A log row without an end does
/// not prove that, because a process that died leaves such a row, too.
pub async fn is_held(tx: &Tx<'_, Local>, mirror: &str) -> Result<bool, DbError> {
    is(tx, IS_HELD, mirror).await
}

async fn is(tx: &Tx<'_, Local>, question: &str, of: &str) -> Result<bool, DbError> {
    let row = tx.query_one(question, &[param::text(of)]).await?;
    Ok(row.get(0))
}

const END_FROZEN: &str = concat!(
    "\
-- end the run of a frozen process
select pg_terminate_backend(a.pid)
from pg_catalog.pg_stat_activity a
where a.pid in (",
    holders!(),
    ")
  and a.usename = current_user and a.wait_event_type = 'Client'
  and a.xact_start < clock_timestamp() - ($2 || ' milliseconds')::interval"
);

/// Ends the session that holds the run lock if its process is frozen (suspended, for example). Returns whether it ended
/// one. A process counts as frozen if the server is waiting for it and its transaction is older than `longest`.
/// Sessions of other database roles are left alone.
///
/// This is needed because the server ends an idle transaction by itself, but not one that waits for the rows of a COPY.
pub async fn end_frozen(
    tx: &Tx<'_, Local>,
    mirror: &str,
    longest: Duration,
) -> Result<bool, DbError> {
    let longest_ms = longest.as_millis().to_string();
    let params = [param::text(mirror), param::text(longest_ms.as_str())];
    Ok(!tx.query(END_FROZEN, &params).await?.is_empty())
}
