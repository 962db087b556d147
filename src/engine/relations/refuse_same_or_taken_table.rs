//! Refuses a sync of the wrong table: remote and local are the same table, or the local table holds another tenant's
//! meters.

use crate::db::catalog::{self, Relation};
use crate::db::{Local, Remote, Tx, param};
use crate::model::RunId;

use super::explain_missing_names::missing;
use crate::engine::{SyncError, SyncJob, TableHolder};

/// Looks up the local table. Fails if it does not exist or is not a table.
pub(in crate::engine) async fn local_table(
    local: &Tx<'_, Local>,
    name: &str,
) -> Result<Relation, SyncError> {
    let Some(table) = catalog::find(local, name).await? else {
        return Err(missing(local, name).await?);
    };
    if !table.is_table {
        return Err(SyncError::LocalSchema(format!(
            "relation {name} is not a table"
        )));
    }
    Ok(table)
}

/// Returns whether both transactions are in the same database, even if their connection settings differ. The local
/// transaction takes an advisory lock, and the remote transaction looks for it.
pub(in crate::engine) async fn is_one_database(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    run_id: RunId,
) -> Result<bool, SyncError> {
    // The second half of a UUIDv7 is random.
    let (_, low) = run_id.as_uuid().as_u64_pair();
    let mark = i64::from_ne_bytes(low.to_ne_bytes());
    local.execute(MARK, &[param::bigint(mark)]).await?;
    let seen = remote
        .query_one(LOOK_FOR_MARK, &[param::bigint(mark)])
        .await?;
    Ok(seen.get(0))
}

const MARK: &str = "\
-- mark the local database
select pg_advisory_xact_lock($1)";

const LOOK_FOR_MARK: &str = "\
-- look for the local database's mark
select exists (
    select from pg_catalog.pg_locks k
    join pg_catalog.pg_database d on d.oid = k.database
    where k.locktype = 'advisory' and k.objsubid = 1 and d.datname = current_database()
      and k.classid::bigint = ($1 >> 32) & 4294967295 and k.objid::bigint = $1 & 4294967295
)";

/// Refuses a local table without a tenant column in two cases:
///
/// - It was last synced for another tenant, and no person has allowed the change.
/// - It is being synced for another tenant right now. Nobody can allow this.
pub(in crate::engine) fn refuse_occupied(
    here: &Relation,
    job: &SyncJob<'_>,
) -> Result<(), SyncError> {
    let table = here.shown();
    match &job.table_holder {
        TableHolder::Running => Err(SyncError::TableBusy(table)),
        TableHolder::Tenant(found) if !job.allow_tenant_change => Err(SyncError::TenantMismatch {
            table,
            found: found.clone(),
            wanted: job.tenant.clone(),
        }),
        TableHolder::Tenant(_) | TableHolder::Nobody => Ok(()),
    }
}
