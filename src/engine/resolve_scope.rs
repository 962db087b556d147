//! Resolves the scope of a run: the two tables, and the rows of its tenant in them.

use crate::db::catalog::Relation;
use crate::db::{Local, Remote, Tx};

use super::relations::{Relations, lock_relations, look_up};
use super::tenant_filters::{TenantFilters, try_tenant};
use super::{SyncError, SyncJob};

/// Looks up the two tables of a run, and makes the conditions that select the tenant's rows. Also returns the catalog
/// entry of the local table. Locks the local table against being altered. Fails if the settings do not fit the tables.
///
/// Afterwards, the local transaction has the role's own search path, which user-defined code may rely on.
pub(super) async fn resolve(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &SyncJob<'_>,
) -> Result<(Relations, TenantFilters, Relation), SyncError> {
    lock_relations::hold_local_table(local, &job.mapping.local_table).await?;
    let (relations, here) = look_up(remote, local, job.mapping, job.run_id).await?;
    let scope = TenantFilters::of(&relations, job.tenant);
    local.use_role_path().await?;
    Ok((relations, scope, here))
}

/// Prepares the remote transaction for reading the rows of the tenant. Fails if the remote tenant column does not accept
/// the tenant's id.
///
/// Afterwards, the transaction has the role's own search path, which user-defined code may rely on. If the source is a
/// plain table, no such code runs, and the transaction keeps the search path `pg_catalog, pg_temp`.
///
/// Sends all its statements at once. A caller may send the first statements on the rows at the same time, after these.
pub(super) async fn prepare_to_read(
    remote: &Tx<'_, Remote>,
    relations: &Relations,
    scope: &TenantFilters,
) -> Result<(), SyncError> {
    let use_path = async {
        match relations.is_remote_plain {
            true => Ok(()),
            false => remote.use_role_path().await,
        }
    };
    let (accepted, used) = tokio::join!(try_tenant(remote, relations, scope), use_path);
    accepted?;
    Ok(used?)
}
