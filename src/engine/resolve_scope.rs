//! Resolves the scope of a run: the two tables, and the rows of its tenant in them.

use crate::db::{Local, Remote, Tx};

use super::relations::refuse_wrong_table::refuse_occupied;
use super::relations::{Relations, locks, look};
use super::tenant_filters::{Scope, try_tenant};
use super::{Job, SyncError};

/// Finds the relations and the scope of a run, refuses what cannot be synced safely, and sets the search path of the
/// role.
pub(super) async fn resolve(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &Job<'_>,
) -> Result<(Relations, Scope), SyncError> {
    locks::hold_local_table(local, &job.mapping.local_table).await?;
    let (relations, here) = look(remote, local, job.mapping, job.run_id).await?;
    let scope = Scope::of(&relations, job.tenant);
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
