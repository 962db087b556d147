//! What a local server must have so that it can be synced. A server that only follows Postgres's protocol may lack it.

use crate::db::lacking_functions::{XMIN, lacking};
use crate::db::{DbError, Local, Tx};
use crate::error::{ErrorCode, Failure};

/// The functions and system columns without which the local server cannot be synced.
pub const NEEDED: [&str; 6] = [
    "pg_try_advisory_xact_lock(bigint)",
    "pg_advisory_xact_lock(bigint)",
    "hashtextextended(text,bigint)",
    "record_image_ne(record,record)",
    "record_image_eq(record,record)",
    XMIN,
];

/// Fails if the server lacks what a sync needs, or if its advisory locks have no effect.
pub async fn require(tx: &Tx<'_, Local>) -> Result<(), Failure> {
    let lacking = lacking(tx, &NEEDED).await?;
    if !lacking.is_empty() {
        let message = format!(
            "The local server lacks {}, or denies it to the role, and a sync needs it.",
            lacking.join(", ")
        );
        let remedy = "Grant execute on the functions to the role. If the server does not have them, use Postgres.";
        return Err(Failure::new(ErrorCode::LocalSchema, message).with_remedy(remedy));
    }
    if !locks_hold(tx).await? {
        let message =
            "The advisory locks of the local server have no effect, and a sync needs them.";
        let remedy = "Let the server take advisory locks, or use Postgres: without them, two runs may change the same meters at a time.";
        return Err(Failure::new(ErrorCode::LocalSchema, message).with_remedy(remedy));
    }
    Ok(())
}

const TRY_LOCK: &str = "\
-- try an advisory lock
select pg_try_advisory_xact_lock(hashtextextended('meter_sync trial ' || pg_backend_pid(), 0))";

const IS_LOCKED: &str = "\
-- look for the lock that was tried
select exists (
    select from pg_catalog.pg_locks k
    cross join (select hashtextextended('meter_sync trial ' || pg_backend_pid(), 0) as key) h
    where k.locktype = 'advisory' and k.objsubid = 1 and k.granted and k.pid = pg_backend_pid()
      and k.classid::bigint = (h.key >> 32) & 4294967295 and k.objid::bigint = h.key & 4294967295)";

/// Whether an advisory lock that was taken is listed in `pg_locks`. Some servers can be configured to accept the
/// statements that take locks and do nothing.
async fn locks_hold(tx: &Tx<'_, Local>) -> Result<bool, DbError> {
    tx.query_one(TRY_LOCK, &[]).await?;
    Ok(tx.query_one(IS_LOCKED, &[]).await?.get(0))
}
