//! Refuses what would sync the wrong rows: one table under two names, a tenant id that the remote reads in
//! another way, a local table that holds another tenant's meters.

use crate::db::catalog::{self, Relation};
use crate::db::{Local, Remote, Tx, param, quote};
use crate::meter::{RunId, TenantId};

use super::missing::missing;
use super::{Job, Occupant, SyncError};

/// The local table, which must be one.
pub(super) async fn local_table(local: &Tx<'_, Local>, name: &str) -> Result<Relation, SyncError> {
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

/// Whether the remote's tenant column takes the tenant's id, said before it is used in a condition:
/// there the same error would look like one of the remote's.
pub(super) async fn try_tenant(
    remote: &Tx<'_, Remote>,
    wanted: &str,
    tenant: &TenantId,
) -> Result<(), SyncError> {
    let id = quote::literal(tenant.as_str());
    let read = format!("-- read the tenant id\nselect {id}::{wanted}");
    match remote.batch(&read).await {
        Err(error) if error.is_about_a_row() => Err(SyncError::TenantRefused {
            tenant: tenant.clone(),
            wanted: wanted.to_owned(),
        }),
        result => Ok(result?),
    }
}

/// Whether both transactions are in one and the same database, by whatever names: a lock that one
/// of them takes is one that the other sees.
pub(super) async fn is_one_database(
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

/// A local table without a tenant column holds the meters of one tenant: the one it was last
/// synced for, and no other at the same time.
pub(super) fn refuse_occupied(here: &Relation, job: &Job<'_>) -> Result<(), SyncError> {
    let table = here.shown();
    match &job.occupant {
        Occupant::Running => Err(SyncError::TableBusy(table)),
        Occupant::Tenant(found) if !job.allow_tenant_change => Err(SyncError::TenantMismatch {
            table,
            found: found.clone(),
            wanted: job.tenant.clone(),
        }),
        Occupant::Tenant(_) | Occupant::Nobody => Ok(()),
    }
}
