//! Resolves the scope of a run: the two tables, and the rows of its tenant in them.

use crate::db::{Local, Remote, Tx};

use super::relations::refuse_same_or_taken_table::refuse_occupied;
use super::relations::{Relations, lock_relations, look_up};
use super::tenant_filters::{TenantFilters, try_tenant};
use super::{SyncError, SyncJob};

/// Looks up the two tables of a run, and makes the conditions that select the tenant's rows. Locks the local table
/// against being altered. Fails if the settings do not fit the tables, or if the local table holds another tenant's
/// meters.
///
/// Afterwards, both transactions have their role's own search path, which user-defined code may rely on. If the source
/// is a plain table, no such code runs, and the remote transaction keeps the search path `pg_catalog, pg_temp`.
pub(super) async fn resolve(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &SyncJob<'_>,
) -> Result<(Relations, TenantFilters), SyncError> {
    lock_relations::hold_local_table(local, &job.mapping.local_table).await?;
    let (relations, here) = look_up(remote, local, job.mapping, job.run_id).await?;
    let scope = TenantFilters::of(&relations, job.tenant);
    try_tenant(remote, &relations, &scope).await?;
    if !relations.is_remote_plain {
        remote.use_role_path().await?;
    }
    local.use_role_path().await?;
    if relations.local_tenant.is_none() {
        refuse_occupied(&here, job)?;
    }
    Ok((relations, scope))
}
