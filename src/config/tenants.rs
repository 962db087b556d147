//! Which tenants' meters a process keeps in sync, and how many at once.

use crate::model::TenantId;

/// The placeholder in the name of the local table that stands for the tenant's id.
pub const TENANT_PLACEHOLDER: &str = "{tenant}";

/// How many runs of different tenants one process carries out at the same time, if no setting says so.
pub const DEFAULT_WORKERS: u32 = 4;

/// Which tenants' meters this process keeps in sync. Each of them is one mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// One tenant. `None` means that each run reads it from the single row of the local `tenant` table.
    One(Option<TenantId>),
    /// These tenants, each named once.
    Listed(Vec<TenantId>),
    /// Every row of the local `tenant` table, which is read again while the process runs.
    All,
    /// The ids in the first column of this query on the local database, which is run again while the process runs.
    Query(String),
}

impl Tenants {
    /// Whether the process keeps one mirror, in the way in which no tenant has to be named.
    pub fn is_one(&self) -> bool {
        match self {
            Self::One(_) => true,
            Self::Listed(_) | Self::All | Self::Query(_) => false,
        }
    }
}

impl super::Mapping {
    /// The mapping of one tenant of several.
    pub fn for_tenant(&self, tenant: &TenantId) -> Result<Self, String> {
        Ok(Self {
            tenant: Some(tenant.clone()),
            ..self.clone()
        })
    }
}
