//! The scope of a run: a tenant's meters in a local table. Each scope has its own lock, log and slots, so a run in one
//! table does not affect another table.

use crate::store::log::LogKey;

use super::local_table::LocalTable;
use super::tenant::Tenant;

/// What one run syncs: a tenant's meters in a local table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) tenant: Tenant,
    pub(super) table: LocalTable,
}

impl Scope {
    /// The scope as one text, from which its locks take their keys.
    pub(super) fn text(&self) -> String {
        format!("{} {}", self.table.name, self.tenant.id)
    }

    /// Its part of the log.
    pub(super) fn log(&self) -> LogKey<'_> {
        self.table.log(Some(&self.tenant.id))
    }
}
