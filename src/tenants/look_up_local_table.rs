//! Looks up the local table that a run writes to. One database may hold several mirrored tables, and each of them the
//! meters of one tenant or of several.

use crate::config::Mapping;
use crate::db::look_up_table_names::oid_of_name;
use crate::db::unusable_schemas::{self, UnusableTable};
use crate::db::{DbError, Local, Tx, catalog, param, quote};
use crate::model::TenantId;
use crate::store::log::LogFilter;

/// The local table that holds the meters, as the database's catalogs describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalTable {
    /// The table's schema and name, quoted where needed. This is the same text for all spellings in the settings, and
    /// is known even if the table does not exist. It stays the same if our role may no longer use the schema, so that
    /// the log has all runs of the table under one name.
    pub(crate) name: String,
    /// Whether the table exists and this process's database role can see it.
    pub(crate) exists: bool,
    /// The table, if it is missing only because this process's database role may not use its schema; `None` otherwise.
    pub(crate) unusable: Option<UnusableTable>,
    /// The SQL type of the tenant column. `None` if the table has no tenant column, and so holds the meters of one
    /// tenant only.
    pub(crate) tenant_type: Option<String>,
    /// The SQL operator that compares values of the tenant column for equality.
    pub(crate) tenant_equals: String,
    /// Whether the table has the configured column that says whether a meter is active.
    pub(crate) has_active: bool,
    /// Whether row security is enabled on the table, so that policies may hide rows from our database role.
    pub(crate) has_row_security: bool,
    /// Whether the run log has the column `seq`. A log that an older version of the program created gets it from the
    /// next migration.
    pub(crate) has_run_numbers: bool,
    /// The local table `tenant`, which holds the ids and names of tenants.
    pub(crate) tenants: TenantNamesTable,
}

impl LocalTable {
    /// Returns the key that selects runs of this table in the run log: those of `tenant`, or of all tenants if it is
    /// `None`.
    pub(crate) fn log<'a>(&'a self, tenant: Option<&'a TenantId>) -> LogFilter<'a> {
        LogFilter {
            local_table: &self.name,
            tenant,
            has_run_numbers: self.has_run_numbers,
        }
    }
}

/// The local table `tenant`, which holds the ids and names of tenants. It may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantNamesTable {
    /// The schema and name of the table, quoted; `None` if it does not exist or our database role may not read it.
    pub(crate) name: Option<String>,
    /// The SQL type of the table's column `id`; `None` if there is no such column.
    pub(crate) id_type: Option<String>,
    /// Whether the table has a column `name` that our database role may read.
    pub(crate) has_name: bool,
}

// One statement looks up the meter table and the table `tenant`, because each statement costs a status one round trip.
// It uses subqueries and not joins, because planning the joins took most of the time of a status.
const FIND: &str = "\
-- look up the local tables
with named as materialized (
    select to_regclass($1)::oid as meter, to_regclass('tenant')::oid as tenant, current_schema() as schema
    from (select set_config('search_path', $4, true) offset 0) path (is_set) where path.is_set is not null
), pinned as materialized (
    select named.*, set_config('search_path', 'pg_catalog, pg_temp', true) from named
)
select coalesce(found.name, format('%I.%I',
           coalesce(said.parts[cardinality(said.parts) - 1], pinned.schema, 'public'),
           said.parts[cardinality(said.parts)])),
       found.name is not null,
       format_type(c.atttypid, -1),
       exists (select from pg_catalog.pg_attribute a
        where a.attrelid = pinned.meter and a.attname = $3 and a.attnum > 0 and not a.attisdropped),
       (select identity from pg_identify_object('pg_catalog.pg_class'::regclass, pinned.tenant, 0)
        where has_table_privilege(pinned.tenant, 'select') or has_column_privilege(pinned.tenant, (
            select a.attnum from pg_catalog.pg_attribute a
            where a.attrelid = pinned.tenant and a.attname = 'id' and a.attnum > 0 and not a.attisdropped), 'select')),
       (select format_type(a.atttypid, -1) from pg_catalog.pg_attribute a
        where a.attrelid = pinned.tenant and a.attname = 'id' and a.attnum > 0 and not a.attisdropped),
       (select r.relrowsecurity from pg_catalog.pg_class r where r.oid = pinned.meter) is true,
       exists (select from pg_catalog.pg_attribute a
        where a.attrelid = to_regclass('meter_sync.meter_sync_log')::oid and a.attname = 'seq' and a.attnum > 0),
       exists (select from pg_catalog.pg_attribute a
        where a.attrelid = pinned.tenant and a.attname = 'name' and a.attnum > 0 and not a.attisdropped
          and has_column_privilege(pinned.tenant, a.attnum, 'select')),
       c.atttypid, (select t.typnamespace = 'pg_catalog'::regnamespace from pg_catalog.pg_type t where t.oid = c.atttypid),
       cardinality(said.parts) = 1
from pinned
cross join (select parse_ident($1) as parts) said
cross join lateral pg_identify_object('pg_catalog.pg_class'::regclass, pinned.meter, 0) found (type, schema, object, name)
left join pg_catalog.pg_attribute c
    on c.attrelid = pinned.meter and c.attname = $2 and c.attnum > 0 and not c.attisdropped";

/// Looks up the local meter table and the table `tenant`, with the `search_path` of our database role. A missing table
/// is not an error here: the run that needs it fails later.
pub(crate) async fn find(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<LocalTable, DbError> {
    let path = tx.role_path();
    let params = [
        param::text(mapping.local_table.as_str()),
        param::text(mapping.tenant_column.as_str()),
        param::text(mapping.active_column.as_str()),
        param::text(path.as_str()),
    ];
    let row = tx.query_one(FIND, &params).await?;
    let tenant_equals = match (row.get(9), row.get(10)) {
        (Some(oid), Some(false)) => catalog::equals_of(tx, oid).await?,
        (_, _) => quote::EQUALS.to_owned(),
    };
    let exists: bool = row.get(1);
    // A name with a schema that our role may not use has failed above.
    let unusable = match !exists && row.get(11) {
        true => {
            let asked = [mapping.local_table.clone()];
            unusable_schemas::find(tx, &asked).await?.into_iter().next()
        }
        false => None,
    };
    let unusable = unusable.flatten();
    let full_name = unusable.as_ref().map(|table| table.full_name.clone());
    Ok(LocalTable {
        name: full_name.unwrap_or_else(|| row.get(0)),
        exists,
        unusable,
        tenant_type: row.get(2),
        tenant_equals,
        has_active: row.get(3),
        has_row_security: row.get(6),
        has_run_numbers: row.get(7),
        tenants: TenantNamesTable {
            name: row.get(4),
            id_type: row.get(5),
            has_name: row.get(8),
        },
    })
}

const NAMES: &str = concat!(
    "\
-- look up the names of local tables
with paths as materialized (
    select current_schema() as schema
    from (select set_config('search_path', $2, true) offset 0) path (is_set) where path.is_set is not null
), found as materialized (
    select u.n, u.name, paths.schema, ",
    oid_of_name!(),
    " as oid
    from paths cross join unnest($1) with ordinality u (name, n)
), pinned as materialized (
    select count(*), set_config('search_path', 'pg_catalog, pg_temp', true) from found
)
select coalesce(
           (select identity from pg_identify_object('pg_catalog.pg_class'::regclass, found.oid, 0)),
           (select format('%I.%I', coalesce(said.parts[cardinality(said.parts) - 1], found.schema, 'public'),
                          said.parts[cardinality(said.parts)])
            from (select parse_ident(found.name) as parts) said)),
       found.oid is not null
from pinned cross join found order by found.n"
);

/// Returns the full names of local tables (see [`LocalTable::name`]). `tables` has their names as the settings spell
/// them; the result is in the same order.
pub(crate) async fn names<'a>(
    tx: &Tx<'_, Local>,
    tables: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, DbError> {
    let mut tables: Vec<String> = tables.map(str::to_owned).collect();
    let count = tables.len();
    // If all mirrors share one table, one name is looked up.
    if tables.iter().all(|table| Some(table) == tables.first()) {
        tables.truncate(1);
    }
    let path = tx.role_path();
    let params = [param::texts(&tables), param::text(path.as_str())];
    let rows = tx.query(NAMES, &params).await?;
    let mut names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let missing: Vec<usize> = (0..rows.len())
        .filter(|n| rows.get(*n).is_some_and(|row| !row.get::<_, bool>(1)))
        .collect();
    if !missing.is_empty() {
        let asked: Vec<String> = missing
            .iter()
            .filter_map(|n| tables.get(*n).cloned())
            .collect();
        let unusable = unusable_schemas::find(tx, &asked).await?;
        for (n, table) in missing.into_iter().zip(unusable) {
            if let (Some(name), Some(table)) = (names.get_mut(n), table) {
                *name = table.full_name;
            }
        }
    }
    Ok(names.into_iter().cycle().take(count).collect())
}

/// Returns the SQL condition that selects the tenant's rows of the local table, which the statement must call `l`.
/// Returns `true` if the table has no tenant column.
pub(crate) fn of_tenant(table: &LocalTable, mapping: &Mapping, tenant: &TenantId) -> String {
    match table.tenant_type {
        Some(_) => format!(
            "l.{} {} {}",
            quote::identifier(&mapping.tenant_column),
            table.tenant_equals,
            quote::literal(tenant.as_str())
        ),
        None => "true".to_owned(),
    }
}
