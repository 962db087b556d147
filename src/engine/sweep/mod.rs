//! Finds out, with a few statements on each side, which of many tenants need no run because both sides are equal.
//!
//! First, the sums of row versions are compared with the watermarks, the sums stored when both sides were last equal
//! (`compare_tenant_versions`). For the tenants without a usable watermark, hashes of the rows' contents are compared
//! (`compare_tenant_contents`). If there are only a few such tenants, they get runs instead, which cost less. Tenants
//! whose contents are equal get a watermark, so that row versions are enough the next time.
//!
//! Row versions are first summed over all tenants together. Only if that sum differs, each server sums its rows by
//! tenant, in one pass. Contents are always summed by tenant. The remote keeps its sums behind a cursor
//! (`tenant_sum_cursor`). The sum over all tenants is fetched first. If it differs, the sums of groups of tenants are
//! fetched, and then the sums of the tenants in the groups that differ. So almost nothing is sent if nothing changed.
//!
//! If each tenant has a local table of its own, `table_per_tenant` does the same, but reads the local tables in
//! batches.
//!
//! The sum over the rows of a tenant is the exclusive or of their hashes. A change stays unseen with a probability of
//! 2^-64.

use uuid::Uuid;

use crate::config::Mapping;
use crate::db::{Local, Remote, Tx, quote};
use crate::model::{RunId, TenantId};

use super::{Relations, SyncError, detect_replaced_remote, digest, read, relations};
use crate::store::remote_identities::{self, RemoteIdentity};
use crate::store::unchanged_mirrors::MirrorKey;
use crate::store::watermarks::{self, NewWatermark, PerSide, VersionSum, WatermarkKey};
use compare_tenant_versions::UnprovenTenant;
pub use table_per_tenant::{
    BATCHES_AT_ONCE, LocalTableFinding, TABLES_AT_ONCE, TablePerTenantSweep,
};
use tenant_sum_cursor::GROUP;

mod compare_tenant_contents;
mod compare_tenant_versions;
mod find_unchanged_columns;
mod table_per_tenant;
mod tenant_sum_cursor;

/// A mirror, one tenant's meters in one local table, that a sweep checks.
#[derive(Clone, Debug)]
pub struct SweptMirror<'a> {
    /// The settings of the mirror, with its tenant and local table.
    pub mapping: &'a Mapping,
    /// The tenant's id, as the remote and the watermarks spell it.
    pub tenant: &'a TenantId,
    /// The mirror's key in the tables of schema `meter_sync`. Only the tables of watermarks and tombstones have another
    /// key.
    pub key: &'a MirrorKey,
}

/// What a sweep has found.
#[derive(Clone, Debug)]
pub struct SweepResult {
    /// For each mirror, whether it needs no run, because both sides are equal, and the synced columns are those that
    /// the last run recorded.
    pub is_equal: Vec<bool>,
    /// How many bytes the remote sent.
    pub remote_bytes: i64,
    /// The watermarks of the tenants whose contents were found equal, each with the index of its mirror. Stored by
    /// [`SweepResult::remember`].
    watermarks: Vec<(usize, NewWatermark)>,
    /// The remote database that was read; `None` if `watermarks` is empty, or if the remote does not tell.
    remote: Option<RemoteIdentity>,
    /// The oldest transaction that was running on the remote when its snapshot was taken. `None` if the server's answer
    /// cannot be read; then no watermark is stored.
    horizon: Option<i64>,
}

impl SweepResult {
    /// Stores watermarks for the tenants whose contents were found equal, so that the next sweep compares row versions.
    /// If one of them cannot be stored, for instance because a run has locked it, stores none, and the next sweep
    /// compares contents again. Returns an error only if the local transaction cannot go on.
    ///
    /// Some of the mirrors that would get a watermark may have been last synced from another remote. Such a mirror gets
    /// no watermark and no longer counts as equal, so that it gets a run, which tells that the remote has changed.
    pub async fn remember(&mut self, local: &Tx<'_, Local>) -> Result<(), SyncError> {
        let Some(horizon) = self.horizon.filter(|_| !self.watermarks.is_empty()) else {
            return Ok(());
        };
        self.leave_out_other_remotes(local).await?;
        let new = self.watermarks.iter().map(|(_, new)| new.clone());
        let watermarks: Vec<NewWatermark> = new.collect();
        let keys: Vec<WatermarkKey> = watermarks.iter().map(|new| new.key.clone()).collect();
        let store = async {
            let stored = async {
                watermarks::keep_all(local, &watermarks, horizon, None).await?;
                match &self.remote {
                    Some(remote) => remote_identities::keep_if_unknown(local, &keys, remote).await,
                    None => Ok(()),
                }
            };
            match stored.await {
                Ok(()) => Ok(Ok(())),
                Err(error) if local.is_answer_due() => Err(error),
                Err(error) => Ok(Err(error)),
            }
        };
        if let Err(error) = local.attempt("meter_sync_watermarks", store).await? {
            tracing::debug!(%error, "could not store the watermarks of the tenants that are equal");
        }
        Ok(())
    }

    /// Lets the mirrors that were last synced from another remote count as changed, without a watermark.
    async fn leave_out_other_remotes(&mut self, local: &Tx<'_, Local>) -> Result<(), SyncError> {
        let Some(remote) = &self.remote else {
            return Ok(());
        };
        let keys = self.watermarks.iter().map(|(_, new)| new.key.clone());
        let keys: Vec<WatermarkKey> = keys.collect();
        let others = remote_identities::synced_from_another(local, &keys, remote).await?;
        for place in others.into_iter().rev() {
            let (index, _) = self.watermarks.swap_remove(place);
            if let Some(is_equal) = self.is_equal.get_mut(index) {
                *is_equal = false;
            }
        }
        Ok(())
    }
}

/// Finds the mirrors that need no run, because both sides are equal. All mirrors share the tables of `mapping`, whose
/// tenant is not used.
///
/// Runs may take place at the same time. A tenant whose run ends during the sweep may look changed.
pub async fn sweep(
    remote: Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    mapping: &Mapping,
    mirrors: &[SweptMirror<'_>],
) -> Result<SweepResult, SyncError> {
    let tenants: Vec<TenantId> = mirrors.iter().map(|one| one.tenant.clone()).collect();
    let mark = RunId::from(Uuid::new_v4());
    relations::lock_relations::hold_local_table(local, &mapping.local_table).await?;
    let (relations, _) = relations::look_up(&remote, local, mapping, mark).await?;
    let found = look(&remote, local, &relations, &tenants).await?;
    let settled = find_unchanged_columns::of_mirrors(local, mirrors, |_| Some(&relations)).await?;
    let is_equal = found.is_equal.iter().zip(settled);
    let watermark = |(index, tenant, totals)| {
        let key = WatermarkKey {
            tenant,
            local_table: relations.local.clone(),
            basis: relations.version_basis.clone()?,
        };
        Some((index, NewWatermark { key, totals }))
    };
    let watermarks: Vec<_> = found.proven.into_iter().filter_map(watermark).collect();
    let (mut horizon, mut identity) = (None, None);
    if !watermarks.is_empty() {
        horizon = digest::version_sums::horizon(&remote).await?;
        let oid = relations.all_columns.remote_relation;
        let oid = oid.filter(|_| relations.is_remote_plain);
        identity = detect_replaced_remote::identity(&remote, oid, &mapping.source, None).await?;
    }
    let remote_bytes = remote.bytes_read();
    read::commit_unless_rewritten::commit_unless_rewritten(remote).await?;
    Ok(SweepResult {
        is_equal: is_equal
            .map(|(is_equal, is_settled)| *is_equal && is_settled)
            .collect(),
        remote_bytes,
        watermarks,
        remote: identity,
        horizon,
    })
}

/// What the comparison of row versions and contents has found.
struct SweepFindings {
    /// For each tenant, whether both sides are equal.
    is_equal: Vec<bool>,
    /// The tenants whose contents were found equal, with their indexes, and the row versions of the compared rows.
    proven: Vec<(usize, TenantId, PerSide<VersionSum>)>,
}

async fn look(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    relations: &Relations,
    tenants: &[TenantId],
) -> Result<SweepFindings, SyncError> {
    let mut found = SweepFindings {
        is_equal: vec![false; tenants.len()],
        proven: Vec::new(),
    };
    // A table without a tenant column holds the meters of one tenant. Only a run finds out which tenant that is.
    let Some(column) = &relations.local_tenant else {
        return Ok(found);
    };
    let unproven =
        match compare_tenant_versions::look(remote, local, relations, column, tenants).await? {
            Some(looked) => {
                found.is_equal = looked.is_equal;
                // A few runs cost less than a comparison of the contents of all rows.
                if looked.unproven.len() <= GROUP {
                    return Ok(found);
                }
                looked.unproven
            }
            None => (0..tenants.len()).map(UnprovenTenant::unread).collect(),
        };
    if !relations.is_remote_plain {
        remote.use_role_path().await?;
    }
    local.use_role_path().await?;
    let ids = unproven.iter().filter_map(|one| tenants.get(one.index));
    let ids: Vec<TenantId> = ids.cloned().collect();
    let looked = compare_tenant_contents::look(remote, local, relations, column, &ids).await?;
    local.pin_path().await?;
    let equal = unproven.into_iter().zip(ids).zip(looked);
    for ((one, id), verdict) in equal.filter(|(_, verdict)| verdict.is_equal) {
        if let Some(known) = found.is_equal.get_mut(one.index) {
            *known = true;
        }
        let versions = one.remote_versions.zip(verdict.local_versions);
        let versions = versions.map(|(remote, local)| PerSide { remote, local });
        let proven = versions.map(|versions| (one.index, id, versions));
        found.proven.extend(proven);
    }
    Ok(found)
}

/// The tenants' ids as an SQL array literal. `of_type` is the type of its elements.
fn array(tenants: &[TenantId], of_type: &str) -> String {
    let quoted = |id: &TenantId| id.as_str().replace('\\', r"\\").replace('"', r#"\""#);
    let ids: Vec<String> = tenants
        .iter()
        .map(|id| format!("\"{}\"", quoted(id)))
        .collect();
    let array = format!("{{{}}}", ids.join(","));
    format!("{}::{of_type}[]", quote::literal(&array))
}
