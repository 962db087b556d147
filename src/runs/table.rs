//! The local table that a run writes to, and with the tenant the scope of a run.
//!
//! One database may hold several mirrored tables, for one tenant or for several. Lock, log and slots
//! are kept apart by scope: what goes on in one table says nothing of another.

use crate::config::Mapping;
use crate::db::catalog::Relation;
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
    /// The type of the tenant column; without the column the table holds one tenant's meters.
    pub(super) tenant_type: Option<String>,
}

const FIND: &str = "\
-- look up the local table's name
select coalesce(found.name, format('%I.%I',
           coalesce(said.parts[cardinality(said.parts) - 1], current_schema(), 'public'),
           said.parts[cardinality(said.parts)])),
       found.tenant_type
from (select parse_ident($1) as parts) said
left join (
    select format('%I.%I', n.nspname, c.relname) as name, format_type(a.atttypid, -1) as tenant_type
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    left join pg_catalog.pg_attribute a
        on a.attrelid = c.oid and a.attname = $2 and a.attnum > 0 and not a.attisdropped
    where c.oid = to_regclass($1)::oid
) found on true";

/// Looks the table up; whether it exists is for the run to say.
pub(super) async fn find(tx: &Tx<'_, Local>, mapping: &Mapping) -> Result<LocalTable, DbError> {
    let params = [
        param::text(mapping.local_table.as_str()),
        param::text(mapping.tenant_column.as_str()),
    ];
    let row = tx.query_one(FIND, &params).await?;
    Ok(LocalTable {
        name: row.get(0),
        tenant_type: row.get(1),
    })
}

/// The condition that picks the tenant's rows of the local table, for a row named `l`.
pub(super) fn of_tenant(table: &Relation, mapping: &Mapping, tenant: &TenantId) -> String {
    match table.column(&mapping.tenant_column) {
        Some(column) => format!(
            "l.{} = {}",
            quote::identifier(&column.name),
            quote::literal(tenant.as_str())
        ),
        None => "true".to_owned(),
    }
}
