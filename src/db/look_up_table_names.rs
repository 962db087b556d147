//! Looks up tables by their names, and finds out which of them a role can read.

use super::index_from_ordinality::index;
use super::{DbError, Side, Tx, param};

/// SQL expression for the object ID of the relation whose name is the text `u.name`; null if there is no such relation.
/// It is also null if the role may not use the schema in the name, because an error would hide the results for all
/// other names.
macro_rules! oid_of_name {
    () => {
        "case when pg_catalog.has_schema_privilege(pg_catalog.to_regnamespace(pg_catalog.quote_ident(
               (pg_catalog.parse_ident(u.name))[pg_catalog.cardinality(pg_catalog.parse_ident(u.name)) operator(pg_catalog.-) 1]
           ))::pg_catalog.oid, 'usage') is not false
           then pg_catalog.to_regclass(u.name)::pg_catalog.oid end"
    };
}
pub(crate) use oid_of_name;

/// SQL: a `with` clause that looks up the names in the array `$1` on the role's own search path `$2`, and then pins the
/// path again (sets it to `pg_catalog, pg_temp`). It defines `pinned`, a single row whose column `oids` is the array of
/// object IDs in the order of the names. `$oid` is SQL for the object ID of the name `u.name`. All names are looked up
/// before the path is pinned, because the aggregate reads all of them first.
macro_rules! oids_of_names {
    ($($oid:tt)*) => {
        concat!(
            "\
with named as materialized (
    select u.n, ",
            $($oid)*,
            " as oid
    from (select set_config('search_path', $2, true) offset 0) path (is_set)
    cross join unnest($1) with ordinality u (name, n)
    where path.is_set is not null
), pinned as materialized (
    select array_agg(named.oid order by named.n) as oids, set_config('search_path', 'pg_catalog, pg_temp', true) from named
)"
        )
    };
}
pub(super) use oids_of_names;

const READABLE: &str = concat!(
    "\
-- look up which tables can be read
",
    oids_of_names!(oid_of_name!()),
    "
select f.n
from pinned
cross join lateral unnest(pinned.oids) with ordinality f (oid, n)
join pg_catalog.pg_class c on c.oid = f.oid and c.relkind = 'r'
where has_table_privilege(c.oid, 'select')
order by f.n"
);

/// Returns the indexes, from 0, of those names that stand for an ordinary table of which the role may read all columns.
pub async fn indexes_of_readable<S: Side>(
    tx: &Tx<'_, S>,
    names: &[String],
) -> Result<Vec<usize>, DbError> {
    let path = tx.role_path();
    let params = [param::texts(names), param::text(path.as_str())];
    let rows = tx.query(READABLE, &params).await?;
    Ok(rows.iter().map(|row| index(row.get(0))).collect())
}
