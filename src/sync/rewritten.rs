//! Ends the reading of the remote, and finds tables that were rewritten between its snapshot and the first look at them.
//!
//! What a view, policy or function reads by itself cannot be locked before the snapshot is taken, nor what the role may
//! read only some columns of (see `locks`). A table that was emptied or filled anew meanwhile looks empty in the
//! snapshot (<https://www.postgresql.org/docs/current/mvcc-caveats.html>). The catalog shows its file as of the snapshot,
//! `pg_relation_filenode` as of now. A foreign table does not tell; it is waited for (see `locks`).

use crate::db::{Remote, Tx};

use super::SyncError;

const LOOK: &str = "\
-- look for tables that were rewritten
select l.relation::pg_catalog.regclass::pg_catalog.text
from pg_catalog.pg_locks l
left join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) l.relation
where l.pid operator(pg_catalog.=) pg_catalog.pg_backend_pid() and l.locktype operator(pg_catalog.=) 'relation'
  and (c.oid is null or c.relkind in ('r', 'm') and c.relfilenode operator(pg_catalog.<>) 0::pg_catalog.oid
       and c.relfilenode operator(pg_catalog.<>) pg_catalog.pg_relation_filenode(c.oid))
limit 1";

/// Commits, unless a table was rewritten.
pub(super) async fn end_reading(remote: Tx<'_, Remote>) -> Result<(), SyncError> {
    let found = remote.simple(LOOK).await?;
    if let Some(row) = found.first() {
        let table = row.get(0).unwrap_or_default().to_owned();
        return Err(SyncError::Rewritten(table));
    }
    Ok(remote.commit().await?)
}
