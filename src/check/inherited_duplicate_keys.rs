//! Checks for duplicate keys in tables that inherit from the local table. The unique indexes of the local table do not
//! cover the rows of these tables.

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::db::{Local, param};
use crate::engine::{self, Relations, SyncError, TenantFilters};

/// Checks that no two rows of the local table, including tables that inherit from it, have the same key. `None` if no
/// table inherits from it.
pub(super) async fn finding(
    local: &mut ConnectionWithReport<Local>,
    relations: &Relations,
    scope: &TenantFilters,
) -> Option<Finding> {
    let looked = look(local, relations, scope).await.transpose()?;
    Some(Finding::of("keys of inheriting tables", looked))
}

const INHERITED: &str = "\
-- look for tables that inherit
select exists (
    select from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhparent
    where i.inhparent = $1 and c.relkind = 'r')";

async fn look(
    local: &mut ConnectionWithReport<Local>,
    relations: &Relations,
    scope: &TenantFilters,
) -> Result<Option<Verdict>, SyncError> {
    let tx = local.begin_read_only().await?;
    let params = [param::oid(relations.local_oid)];
    let is_inherited: bool = tx.query_one(INHERITED, &params).await?.get(0);
    if !is_inherited {
        return Ok(None);
    }
    tx.use_role_path().await?;
    engine::refuse_duplicate_local_keys(&tx, relations, scope, "").await?;
    Ok(Some(Verdict::Ok("no key is held twice".to_owned())))
}
