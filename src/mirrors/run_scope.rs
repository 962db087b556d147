//! The scope of a run: a tenant's meters in a local table.
//!
//! Each scope has its own locks, log rows and slots, so a run in one table does not affect another table.

use crate::model::TenantId;
use crate::store::log::LogKey;

use super::local_table::LocalTable;
use super::tenant::Tenant;

/// What one run syncs: a tenant's meters in a local table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunScope {
    pub(super) tenant: Tenant,
    pub(super) table: LocalTable,
}

impl RunScope {
    /// Returns the scope as one text, from which the keys of its locks are computed.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.table.name, self.tenant.id)
    }

    /// Returns the part of the log with the runs of this scope.
    pub(super) fn log(&self) -> LogKey<'_> {
        self.table.log(Some(&self.tenant.id))
    }
}

/// A local table, and the tenant if it is known.
#[derive(Clone, Debug)]
pub(super) struct LogScope {
    pub(super) table: LocalTable,
    pub(super) tenant: Option<Tenant>,
}

impl LogScope {
    /// Returns the id of the tenant if it is known.
    pub(super) fn tenant_id(&self) -> Option<&TenantId> {
        self.tenant.as_ref().map(|tenant| &tenant.id)
    }

    /// Returns the part of the log with the runs of this scope. If the tenant is not known, that part has the runs of
    /// all tenants of the table.
    pub(super) fn log(&self) -> LogKey<'_> {
        self.table.log(self.tenant_id())
    }

    /// Returns what a run would sync; `None` if the tenant is not known.
    pub(super) fn scope(self) -> Option<RunScope> {
        let table = self.table;
        self.tenant.map(|tenant| RunScope { tenant, table })
    }
}
