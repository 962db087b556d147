//! Builds the keys that identify mirrors in this program's own tables (schema `meter_sync` of the local database).

use crate::db::{DbError, Local, Tx};
use crate::store::unchanged_mirrors::MirrorKey;

use super::mirror::TenantAndMirror;
use crate::tenants::look_up_local_table;

/// Returns the keys of the mirrors `known`, in the same order. A key is the tenant's id and the full name of the local
/// table.
pub(super) async fn keys<'m>(
    tx: &Tx<'_, Local>,
    known: impl IntoIterator<Item = &'m TenantAndMirror>,
) -> Result<Vec<MirrorKey>, DbError> {
    let known: Vec<&TenantAndMirror> = known.into_iter().collect();
    let tables = known
        .iter()
        .map(|known| known.mirror.mapping().local_table.as_str());
    let tables = look_up_local_table::names(tx, tables).await?;
    let keys = known
        .into_iter()
        .zip(tables)
        .map(|(known, local_table)| MirrorKey {
            tenant: known.id.as_str().to_owned(),
            local_table,
        });
    Ok(keys.collect())
}
