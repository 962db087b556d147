//! Selects the rows of one tenant in both tables.
//!
//! [`Relations`] are the same for all tenants of a table, and [`TenantFilters`] has what differs between tenants. It is
//! cheap to make and needs no database.

use crate::db::catalog::Column;
use crate::db::{Remote, Tx, quote};
use crate::model::TenantId;

use super::{Relations, SyncError};

/// The rows of one tenant, as conditions on the two tables.
#[derive(Clone, Debug)]
pub struct TenantFilters {
    /// The tenant whose rows are selected.
    pub tenant: TenantId,
    /// The SQL condition that selects the tenant's remote rows, with the alias `r`.
    pub remote_filter: String,
    /// The SQL condition that selects the tenant's local rows, with the alias `l`. It is `true` if the local table has
    /// no tenant column, because such a table holds the rows of one tenant only.
    pub local_filter: String,
}

impl TenantFilters {
    /// Builds the conditions for a tenant.
    pub fn of(relations: &Relations, tenant: &TenantId) -> Self {
        let id = quote::literal(tenant.as_str());
        let is_tenant = |row: &str, column: &Column| {
            format!(
                "{row}.{} {} {id}",
                quote::identifier(&column.name),
                column.equals
            )
        };
        Self {
            tenant: tenant.clone(),
            remote_filter: is_tenant("r", &relations.remote_tenant),
            local_filter: match &relations.local_tenant {
                Some(column) => is_tenant("l", column),
                None => "true".to_owned(),
            },
        }
    }
}

/// Fails if the tenant id is not a valid value of the remote tenant column's type. Call this before the id is used in a
/// condition, because in a condition the same error would look like a fault of the remote. If the source is a query,
/// checks nothing, because the schema of a column's type is unknown.
pub(crate) async fn try_tenant(
    remote: &Tx<'_, Remote>,
    relations: &Relations,
    scope: &TenantFilters,
) -> Result<(), SyncError> {
    if relations.all_columns.remote_relation.is_none() {
        return Ok(());
    }
    let wanted = &relations.remote_tenant.base_type;
    let id = quote::literal(scope.tenant.as_str());
    let read = format!("-- read the tenant id\nselect {id}::{wanted}");
    match remote.batch(&read).await {
        Err(error) if error.is_about_a_row() => Err(SyncError::TenantRefused {
            tenant: scope.tenant.clone(),
            wanted: wanted.clone(),
        }),
        result => Ok(result?),
    }
}
