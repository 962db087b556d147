//! The local table that a run writes to, and with the tenant the scope of a run.
//!
//! One database may hold several mirrored tables, for one tenant or for several. Lock, log and slots
//! are kept apart by scope: what goes on in one table says nothing of another.

use crate::config::Mapping;
use crate::db::{DbError, Local, Tx, catalog, param, quote};
use crate::meter::TenantId;

use super::tenant::Tenant;

/// What is synced as one: a tenant's meters in a local table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) tenant: Tenant,
    pub(super) table: LocalTable,
}

impl Scope {
    /// The scope in one text, for the locks.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.table.name, self.tenant.id)
    }
}

/// The local table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalTable {
    /// Schema and table, quoted where needed; the same however the setting spells it, and while the
    /// table is missing.
    pub(super) name: String,
    /// Whether there is one that we may see.
    pub(super) exists: bool,
    /// The type of the tenant column; without the column the table holds one tenant's meters.
    pub(super) tenant_type: Option<String>,
    /// The operator by which values of that type are equal.
    pub(super) tenant_equals: String,
    /// Whether it has the column that tells whether a meter is active.
    pub(super) has_active: bool,
    /// Whether policies of its owner decide which rows we see.
    pub(super) has_row_security: bool,
    /// Whether runs in the log have their numbers: an earlier version may have made it, and no run of this one yet.
    pub(super) has_run_numbers: bool,
    /// The table that names the tenant.
    pub(super) tenants: TenantTable,
}

/// The local table `tenant`, which need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TenantTable {
    /// Its schema and name, quoted, if there is one that we may read.
    pub(super) name: Option<String>,
    /// The type of its key, if it has column `id`.
    pub(super) id_type: Option<String>,
    /// Whether it has a column `name` that we may read.
    pub(super) has_name: bool,
}

// Both tables in one statement, as each costs a status a question and its answer; and without a join, as to plan one
// took most of a status's time.
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
       c.atttypid, (select t.typnamespace = 'pg_catalog'::regnamespace from pg_catalog.pg_type t where t.oid = c.atttypid)
from pinned
cross join (select parse_ident($1) as parts) said
cross join lateral pg_identify_object('pg_catalog.pg_class'::regclass, pinned.meter, 0) found (type, schema, object, name)
left join pg_catalog.pg_attribute c
    on c.attrelid = pinned.meter and c.attname = $2 and c.attnum > 0 and not c.attisdropped";

/// Looks the tables up, as the role itself would find them; whether they exist is for the run to say.
pub(super) async fn find(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<LocalTable, DbError> {
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
    Ok(LocalTable {
        name: row.get(0),
        exists: row.get(1),
        tenant_type: row.get(2),
        tenant_equals,
        has_active: row.get(3),
        has_row_security: row.get(6),
        has_run_numbers: row.get(7),
        tenants: TenantTable {
            name: row.get(4),
            id_type: row.get(5),
            has_name: row.get(8),
        },
    })
}

/// The condition that picks the tenant's rows of the local table, for a row named `l`.
pub(super) fn of_tenant(table: &LocalTable, mapping: &Mapping, tenant: &TenantId) -> String {
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
