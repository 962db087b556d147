//! Checks for logical replication publications that make Postgres refuse updates of the local tables. A published table
//! needs a replica identity, and the row filter and column list of its publication must fit that identity
//! (<https://www.postgresql.org/docs/current/logical-replication-row-filter.html>).

use super::{Finding, Verdict};
use crate::db::catalog::Relation;
use crate::db::table_family_sql::family;
use crate::db::{DbError, Local, PUBLICATION_REMEDY, Tx, param};
use crate::error::{ErrorCode, Failure};

/// Returns findings about publications that make Postgres refuse updates of the local meter table or of the tables in
/// schema `meter_sync`. Empty if all updates are possible.
pub(super) async fn findings(
    tx: &Tx<'_, Local>,
    table: &Relation,
) -> Result<Vec<Finding>, DbError> {
    let found = [
        replica_identity(tx, table).await?,
        filters(tx, table).await?,
    ];
    Ok(found.into_iter().flatten().collect())
}

/// SQL: the common table expressions with which the queries below begin. `ours` lists the tables that hold rows: the
/// local meter table with its partitions and the tables that inherit from it, and the tables in schema `meter_sync`.
/// `published_as` lists, for each of them, the table itself (with `ancestor_level` 0) and the partitioned tables above
/// it (with an `ancestor_level` that grows towards the root).
macro_rules! ours {
    () => {
        concat!(
            family!(),
            ", ours as (
    select c.oid, format('%I.%I', n.nspname, c.relname) as name, c.relreplident, (
        select array_agg(a.attname)
        from pg_catalog.pg_index i
        join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)
        where i.indrelid = c.oid
          and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end
    ) as identity
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind = 'r' and c.relpersistence = 'p'
      and (c.oid in (select f.oid from family f) or n.nspname = 'meter_sync')
), published_as as (
    select o.oid as leaf, o.oid as relid, 0 as ancestor_level from ours o
    union all
    select o.oid, a.relid, a.ancestor_level from ours o
    cross join lateral pg_partition_ancestors(o.oid) with ordinality a (relid, ancestor_level) where a.relid <> o.oid
)"
        )
    };
}

const UNIDENTIFIED: &str = concat!(
    "-- look for published tables without a replica identity",
    ours!(),
    "
select o.name from ours o
where o.relreplident <> 'f' and o.identity is null
  and exists (
    select from pg_catalog.pg_publication p
    where (p.pubupdate or p.pubdelete) and (p.puballtables or exists (
        select from published_as a
        join pg_catalog.pg_class c on c.oid = a.relid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        join pg_catalog.pg_publication_tables t on t.schemaname = n.nspname and t.tablename = c.relname
        where a.leaf = o.oid and t.pubname = p.pubname)))
order by 1"
);

/// Checks for published tables without a replica identity, because Postgres refuses updates of them. `None` if there
/// are none.
async fn replica_identity(
    tx: &Tx<'_, Local>,
    table: &Relation,
) -> Result<Option<Finding>, DbError> {
    let rows = tx.query(UNIDENTIFIED, &[param::oid(table.oid)]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let tables = tables.join(", ");
    let message = format!(
        "{tables}: published for logical replication without a replica identity, so Postgres refuses updates."
    );
    let remedy = "As the table's owner: give it a primary key, or alter table <table> replica identity using index <unique index> (or replica identity full).";
    let failure = Failure::new(ErrorCode::LocalSchema, message).with_remedy(remedy);
    let verdict = Verdict::Failed(failure);
    Ok(Some(Finding::new("local replica identity", verdict)))
}

/// SQL: lists the row filters and column lists of publications that do not fit the replica identity. Servers before
/// version 15 lack both, and the catalog columns for them, so the query reads these columns with `to_jsonb`, which
/// allows a missing column. If a publication has `publish_via_partition_root`, the query uses the filter and list of
/// the highest published ancestor.
const UNCOVERED: &str = concat!(
    "-- look for publications that the replica identity does not cover",
    ours!(),
    ", published as (
    select o.*, p.pubname, r.relid, r.filter, r.columns
    from ours o
    join pg_catalog.pg_publication p on p.pubupdate or p.pubdelete
    cross join lateral (
        select a.relid, to_jsonb(e) ->> 'prqual' as filter, to_jsonb(e) ->> 'prattrs' as columns
        from published_as a
        join pg_catalog.pg_publication_rel e on e.prrelid = a.relid and e.prpubid = p.oid
        where a.leaf = o.oid and (p.pubviaroot or a.relid = o.oid)
        order by a.ancestor_level desc limit 1
    ) r
    where o.relreplident = 'f' or o.identity is not null
)
select format('%s (the %s of publication %I)', u.name, u.what, u.pubname) from (
    select p.name, 'row filter' as what, p.pubname from published p
    where p.relreplident <> 'f' and exists (
        select from regexp_matches(p.filter, ':varattno ([0-9]+)', 'g') v (found)
        join pg_catalog.pg_attribute a on a.attrelid = p.relid and a.attnum = v.found[1]::integer
        where a.attname <> all (p.identity))
    union
    select p.name, 'column list', p.pubname from published p
    where p.columns is not null and (p.relreplident = 'f' or exists (
        select from unnest(p.identity) i (name)
        where i.name not in (
            select a.attname from regexp_matches(p.columns, '[0-9]+', 'g') v (found)
            join pg_catalog.pg_attribute a on a.attrelid = p.relid and a.attnum = v.found[1]::integer)))
) u
order by 1"
);

/// Checks for publications whose row filter or column list does not fit the replica identity of a table, because
/// Postgres refuses updates of such a table. `None` if there are none.
async fn filters(tx: &Tx<'_, Local>, table: &Relation) -> Result<Option<Finding>, DbError> {
    let rows = tx.query(UNCOVERED, &[param::oid(table.oid)]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let tables: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let message = format!(
        "{}: does not fit the replica identity, so Postgres refuses updates.",
        tables.join(", ")
    );
    let failure = Failure::new(ErrorCode::LocalSchema, message).with_remedy(PUBLICATION_REMEDY);
    let verdict = Verdict::Failed(failure);
    Ok(Some(Finding::new("local publications", verdict)))
}
