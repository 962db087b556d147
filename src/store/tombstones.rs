//! The table `meter_sync_gone`: the tombstones of each mirror. A tombstone is the hash of the key of a meter that is
//! inactive locally because the remote no longer has it.

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

/// Returns SQL that selects the mirror's tombstones: the hashes of the meters' keys.
pub fn select(tenant: &TenantId, local_table: &str) -> String {
    let of = of(tenant, local_table);
    format!("select g.key_hash from meter_sync.meter_sync_gone g where {of}")
}

/// Deletes the tombstones of meters that are back on the remote, and adds tombstones for meters that are gone from it.
/// `back` and `gone` are SQL that selects the hashes of their keys. Does nothing if the server cannot compute these
/// hashes. It then cannot compute the sums of row hashes either, which need the tombstones.
pub async fn update(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    back: &str,
    gone: &str,
) -> Result<(), DbError> {
    // Both tables may have many rows and no statistics. A nested loop, which the planner would choose for few rows, would
    // compare each with each.
    let sql = format!(
        "set local enable_nestloop = off;
delete from meter_sync.meter_sync_gone g
where {} and g.key_hash in (
    {back});
insert into meter_sync.meter_sync_gone (tenant, local_table, key_hash)
select {}, {}, n.key_hash from ({gone}) n (key_hash)
on conflict do nothing;
set local enable_nestloop to default",
        of(tenant, local_table),
        quote::literal(tenant.as_str()),
        quote::literal(local_table),
    );
    let doing = "remember gone meters and forget those that are back";
    let updated = tx.undo_simple_if("tombstones", DbError::lacks_a_function, doing, &sql);
    updated.await.map(drop)
}

fn of(tenant: &TenantId, local_table: &str) -> String {
    format!(
        "g.tenant = {} and g.local_table = {}",
        quote::literal(tenant.as_str()),
        quote::literal(local_table)
    )
}
