//! Commits the remote transaction, unless a table was rewritten in the time between the transaction's snapshot and its
//! first read of the table.
//!
//! Some tables cannot be locked before the snapshot is taken: those that are read only inside a view, policy or
//! function, and those of which the role may read only some columns (see `relations::lock_relations`). If such a table
//! was truncated or rewritten meanwhile, it looks empty in the snapshot
//! (<https://www.postgresql.org/docs/current/mvcc-caveats.html>). A rewrite is recognised because it gives the table a
//! new file: the catalog shows the file as of the snapshot, and `pg_relation_filenode` shows the current file. A
//! foreign table has no file, so the run waits before its snapshot until nobody rewrites it (see
//! `relations::lock_relations`).

use crate::db::{EndedTx, Remote, Tx};

use crate::engine::SyncError;

const LOOK: &str = "\
-- look for tables that were rewritten
select l.relation::pg_catalog.regclass::pg_catalog.text
from pg_catalog.pg_locks l
left join pg_catalog.pg_class c on c.oid operator(pg_catalog.=) l.relation
where l.pid operator(pg_catalog.=) pg_catalog.pg_backend_pid() and l.locktype operator(pg_catalog.=) 'relation'
  and (c.oid is null or c.relkind in ('r', 'm') and c.relfilenode operator(pg_catalog.<>) 0::pg_catalog.oid
       and c.relfilenode operator(pg_catalog.<>) pg_catalog.pg_relation_filenode(c.oid))
limit 1";

/// Commits the remote transaction. If a table that it read was rewritten after its snapshot, returns
/// [`SyncError::Rewritten`] instead.
pub(in crate::engine) async fn commit_unless_rewritten(
    remote: Tx<'_, Remote>,
) -> Result<EndedTx<'_>, SyncError> {
    let (found, ended) = remote.simple_and_commit(LOOK).await?;
    if let Some(row) = found.first() {
        let table = row.get(0).unwrap_or_default().to_owned();
        return Err(SyncError::Rewritten(table));
    }
    Ok(ended)
}
