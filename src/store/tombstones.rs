//! The table `meter_sync_gone`: tombstones, which are hashes of the keys of meters that are inactive locally because the
//! remote no longer has them.

use super::mirror_params;
use crate::db::{DbError, Local, Tx, quote};
use crate::model::TenantId;

const IS_KNOWN: &str = "\
-- look for gone meters
select exists (select from meter_sync.meter_sync_gone where tenant = $1 and local_table = $2)";

/// Whether the mirror has tombstones.
pub async fn are_known(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
) -> Result<bool, DbError> {
    let params = mirror_params(tenant.as_str(), local_table);
    Ok(tx.query_one(IS_KNOWN, &params).await?.get(0))
}

/// SQL that selects the tombstones of the mirror.
pub fn select(tenant: &TenantId, local_table: &str) -> String {
    let of = of(tenant, local_table);
    format!("select g.key_hash from meter_sync.meter_sync_gone g where {of}")
}

/// Deletes the tombstones of meters that are back, and adds those of meters that are gone. Both are SQL that selects
/// hashes of keys.
pub async fn update(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    back: &str,
    gone: &str,
) -> Result<(), DbError> {
    // The array makes the server compute the hashes once, whatever the planner expects of a table without statistics.
    tx.batch(&format!(
        "-- forget meters that are back
delete from meter_sync.meter_sync_gone g
where {} and g.key_hash = any (array(
    {back}));
-- remember gone meters
insert into meter_sync.meter_sync_gone (tenant, local_table, key_hash)
select {}, {}, n.key_hash from ({gone}) n (key_hash)
on conflict do nothing",
        of(tenant, local_table),
        quote::literal(tenant.as_str()),
        quote::literal(local_table),
    ))
    .await
}

fn of(tenant: &TenantId, local_table: &str) -> String {
    format!(
        "g.tenant = {} and g.local_table = {}",
        quote::literal(tenant.as_str()),
        quote::literal(local_table)
    )
}
