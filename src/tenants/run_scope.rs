//! The scope of a run: a tenant's meters in a local table.
//!
//! Each scope has its own locks, log rows and slots, so a run in one table does not affect another table.

use crate::model::TenantId;
use crate::store::log::LogKey;

use super::Tenant;
use super::local_table::LocalTable;

/// What one run syncs: a tenant's meters in a local table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunScope {
    pub(crate) tenant: Tenant,
    pub(crate) table: LocalTable,
}

impl RunScope {
    /// Returns the scope as one text, from which the keys of its locks are computed.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.table.name, self.tenant.id)
    }

    /// Returns the part of the log with the runs of this scope.
    pub(crate) fn log(&self) -> LogKey<'_> {
        self.table.log(Some(&self.tenant.id))
    }
}

/// A local table, and the tenant if it is known.
#[derive(Clone, Debug)]
pub(crate) struct LogScope {
    pub(crate) table: LocalTable,
    pub(crate) tenant: Option<Tenant>,
}

impl LogScope {
    /// Returns the id of the tenant if it is known.
    pub(crate) fn tenant_id(&self) -> Option<&TenantId> {
        self.tenant.as_ref().map(|tenant| &tenant.id)
    }

    /// Returns the part of the log with the runs of this scope. If the tenant is not known, that part has the runs of
    /// all tenants of the table.
    pub(crate) fn log(&self) -> LogKey<'_> {
        self.table.log(self.tenant_id())
    }

    /// Returns what a run would sync; `None` if the tenant is not known.
    pub(crate) fn scope(self) -> Option<RunScope> {
        let table = self.table;
        self.tenant.map(|tenant| RunScope { tenant, table })
    }
}
