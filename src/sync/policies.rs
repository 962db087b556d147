//! Whether row security may hide remote rows from our role.

use crate::config::Source;
use crate::db::catalog::{self, Relation};
use crate::db::{DbError, Remote, Tx, param};

use super::locks;

/// Whether a relation that the source reads has row security: for our role, or below a view for whom it reads.
pub(crate) async fn may_hide_rows(tx: &Tx<'_, Remote>, source: &Source) -> Result<bool, DbError> {
    let names: Vec<String> = match source {
        Source::Query(query) => locks::named(tx, query).await?,
        Source::Table(name) => {
            tx.pin_path().await?;
            let found = catalog::find(tx, name).await?;
            found.iter().map(Relation::quoted).collect()
        }
    };
    // Where a policy shows no row at all, the plan of a query reads no relation.
    if names.is_empty() {
        return Ok(true);
    }
    let found = tx.query_one(ROW_SECURITY, &[param::texts(&names)]).await?;
    Ok(found.get(0))
}

const ROW_SECURITY: &str = "\
-- look for row security
with recursive below (oid, is_named) as (
    select to_regclass(u.name)::oid, true from unnest($1) u (name)
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
