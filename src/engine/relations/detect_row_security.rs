//! Finds out whether row security may hide remote rows from the role that reads them.

use crate::config::SourceSetting;
use crate::db::{DbError, Remote, Tx, catalog, param};

/// Returns whether row security may hide rows of a relation that the source reads: from the role of this connection, or
/// from the role with whose rights a view reads. If the source is a query, it must already have been run or planned in
/// this transaction.
pub(crate) async fn may_hide_rows(
    tx: &Tx<'_, Remote>,
    source: &SourceSetting,
) -> Result<bool, DbError> {
    tx.pin_path().await?;
    let found = match source {
        SourceSetting::Query(_) => tx.query_one(OF_QUERY, &[]).await?,
        SourceSetting::Table(name) => {
            let Some(relation) = catalog::find(tx, name).await? else {
                return Ok(false);
            };
            tx.query_one(OF_TABLE, &[param::oid(relation.oid)]).await?
        }
    };
    Ok(found.get(0))
}

/// Returns whether row security may hide rows of the table or view `$1`, or of a relation that the view reads. A view
/// usually reads with the rights of its owner. It is not known whether the owner sees all rows, so row security of a
/// relation that a view reads always counts.
const OF_TABLE: &str = "\
-- look for row security
with recursive below (oid, is_named) as (
    select $1::oid, true
    union
    select d.refobjid, false
    from below b
    join pg_catalog.pg_rewrite w on w.ev_class = b.oid
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = w.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.refobjid <> b.oid
)
select exists (
    select from below b join pg_catalog.pg_class c on c.oid = b.oid
    where c.relrowsecurity and (not b.is_named or row_security_active(c.oid))
)";

/// Returns whether row security may hide rows from the query that was run in this transaction. The relations that the
/// query reads are taken from the locks of the transaction, because its query plan omits a relation if a policy shows
/// none of its rows. If a table is read through its parent, the policies of the parent apply.
const OF_QUERY: &str = "\
-- look for row security behind the query
with locked as (
    select c.oid, c.relkind, c.relrowsecurity
    from pg_catalog.pg_locks l join pg_catalog.pg_class c on c.oid = l.relation
    where l.pid = pg_backend_pid() and l.locktype = 'relation'
      and c.relnamespace <> 'pg_catalog'::regnamespace
      and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
)
select exists (
    select from locked c
    where c.relrowsecurity
      and (row_security_active(c.oid) or exists (select from locked v where v.relkind = 'v'))
      and not exists (
        select from pg_catalog.pg_inherits i join locked p on p.oid = i.inhparent where i.inhrelid = c.oid)
)";
