//! The local table that a run writes to, and with the tenant the scope of a run.
//!
//! One database may hold several mirrored tables, for one tenant or for several. Lock, log and slots
//! are kept apart by scope: what goes on in one table says nothing of another.

use crate::config::Mapping;
use crate::db::{DbError, Local, Tx, param, quote};
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
    /// Whether it has the column that tells whether a meter is active.
    pub(super) has_active: bool,
    /// The table that names the tenant.
    pub(super) tenants: TenantTable,
}

/// The local table `tenant`, which need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TenantTable {
    /// Whether there is one that we may read.
    pub(super) is_readable: bool,
    /// The type of its key.
    pub(super) id_type: Option<String>,
}

// Both tables in one statement, as each costs a status a question and its answer; and without a join, as to plan one
// took most of a status's time.
const FIND: &str = "\
-- look up the local tables
select coalesce(found.name, format('%I.%I',
           coalesce(said.parts[cardinality(said.parts) - 1], current_schema(), 'public'),
           said.parts[cardinality(said.parts)])),
       found.name is not null,
       (select format_type(a.atttypid, -1) from pg_catalog.pg_attribute a
        where a.attrelid = to_regclass($1)::oid and a.attname = $2 and a.attnum > 0 and not a.attisdropped),
       exists (select from pg_catalog.pg_attribute a
        where a.attrelid = to_regclass($1)::oid and a.attname = $3 and a.attnum > 0 and not a.attisdropped),
       coalesce(has_table_privilege(to_regclass('tenant')::oid, 'select'), false),
       (select format_type(a.atttypid, -1) from pg_catalog.pg_attribute a
        where a.attrelid = to_regclass('tenant')::oid and a.attname = 'id' and a.attnum > 0 and not a.attisdropped)
from (select parse_ident($1) as parts) said,
     (select identity from pg_identify_object('pg_catalog.pg_class'::regclass, to_regclass($1)::oid, 0)) found (name)";

/// Looks the tables up; whether they exist is for the run to say.
pub(super) async fn find(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<LocalTable, DbError> {
    let params = [
        param::text(mapping.local_table.as_str()),
        param::text(mapping.tenant_column.as_str()),
        param::text(mapping.active_column.as_str()),
    ];
    let row = tx.query_one(FIND, &params).await?;
    Ok(LocalTable {
        name: row.get(0),
        exists: row.get(1),
        tenant_type: row.get(2),
        has_active: row.get(3),
        tenants: TenantTable {
            is_readable: row.get(4),
            id_type: row.get(5),
        },
    })
}

/// The condition that picks the tenant's rows of the local table, for a row named `l`.
pub(super) fn of_tenant(table: &LocalTable, mapping: &Mapping, tenant: &TenantId) -> String {
    match table.tenant_type {
        Some(_) => format!(
            "l.{} = {}",
            quote::identifier(&mapping.tenant_column),
            quote::literal(tenant.as_str())
        ),
        None => "true".to_owned(),
    }
}
