//! Finds out which tables a role can read.

use tokio_postgres::Row;

use super::{DbError, Side, Tx, param};

/// SQL: the object id of the relation that `u.name` names; null if there is no such relation. A name in a schema that
/// the role may not use gives null, too, because an error would hide the results for all other names.
macro_rules! oid_of_name {
    () => {
        "case when pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace(pg_catalog.quote_ident(
               (pg_catalog.parse_ident(u.name))[pg_catalog.cardinality(pg_catalog.parse_ident(u.name)) operator(pg_catalog.-) 1]
           ))::pg_catalog.oid, 'usage') is not false
           then pg_catalog.to_regclass(u.name)::pg_catalog.oid end"
    };
}
pub(crate) use oid_of_name;

// The names are looked up by the role's own path, all before the path is pinned: the aggregate reads them to the end.
const READABLE: &str = concat!(
    "\
-- look up which tables can be read
with named as materialized (
    select u.n, ",
    oid_of_name!(),
    " as oid
    from (select set_config('search_path', $2, true) offset 0) path (is_set)
    cross join unnest($1) with ordinality u (name, n)
    where path.is_set is not null
), pinned as materialized (
    select array_agg(named.oid order by named.n) as oids, set_config('search_path', 'pg_catalog, pg_temp', true) from named
)
select f.n
from pinned
cross join lateral unnest(pinned.oids) with ordinality f (oid, n)
join pg_catalog.pg_class c on c.oid = f.oid and c.relkind = 'r'
where has_table_privilege(c.oid, 'select')
order by f.n"
);

/// Returns the places, from 0, of the names that stand for ordinary tables all of whose columns the role may read.
pub async fn places_of_readable<S: Side>(
    tx: &Tx<'_, S>,
    names: &[String],
) -> Result<Vec<usize>, DbError> {
    let path = tx.role_path();
    let params = [param::texts(names), param::text(path.as_str())];
    let rows = tx.query(READABLE, &params).await?;
    let place = |row: &Row| usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
    Ok(rows.iter().map(place).collect())
}
