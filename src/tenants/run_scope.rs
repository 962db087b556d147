//! The scope of a run: a tenant's meters in a local table.
//!
//! Each scope has its own locks, log rows and slots, so a run in one table does not affect another table.

use crate::model::TenantId;
use crate::store::log::LogFilter;

use super::Tenant;
use super::look_up_local_table::LocalTable;

/// What one run syncs: a tenant's meters in a local table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunScope {
    pub(crate) tenant: Tenant,
    pub(crate) table: LocalTable,
}

impl RunScope {
    /// Returns tenant and table as one text, from which the keys of the advisory locks are computed.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.table.name, self.tenant.id)
    }

    /// Returns the key that selects the runs of this tenant and table in the run log.
    pub(crate) fn log(&self) -> LogFilter<'_> {
        self.table.log(Some(&self.tenant.id))
    }
}

/// The local table whose runs are looked for in the log, and the tenant if it is known.
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

    /// Returns the key that selects the runs of this tenant and table in the run log. If the tenant is not known,
    /// selects the runs of all tenants of the table.
    pub(crate) fn log(&self) -> LogFilter<'_> {
        self.table.log(self.tenant_id())
    }

    /// Returns the tenant and table for a run; `None` if the tenant is not known.
    pub(crate) fn scope(self) -> Option<RunScope> {
        let table = self.table;
        self.tenant.map(|tenant| RunScope { tenant, table })
    }
}
