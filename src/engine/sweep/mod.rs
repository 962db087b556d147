//! Finds out which of many tenants need no run, with a few statements on each side.
//!
//! If row versions prove something (`versions`), their sums are compared with the watermarks. For tenants about which
//! they prove nothing, the contents of the rows are summed (`contents`) and compared with the other side. If versions
//! prove nothing about only a few tenants, these get runs instead, which cost less. Tenants whose contents are found
//! equal get a watermark, so that versions are enough the next time.
//!
//! Versions are first summed over all tenants together, without grouping. Only if that sum differs, or if contents are
//! summed, each server sums its rows by tenant, in one pass. The remote keeps its sums behind a cursor
//! (`tenant_sum_cursor`). The sum over all tenants is fetched first. If it differs, the sums of groups of tenants are
//! fetched, and then the sums of the tenants in the groups that differ. So almost nothing is sent if nothing changed.
//!
//! If each tenant has a local table of its own, `own_tables` does the same, but reads the local tables in batches.
//!
//! The sum over the rows of a tenant is the exclusive or of their hashes. A change stays unseen with a probability of
//! 2^-64.

use uuid::Uuid;

use crate::config::Mapping;
use crate::db::{Local, Remote, Tx, quote};
use crate::model::{RunId, TenantId};

use super::{Relations, SyncError, digest, read, relations};
use crate::store::unchanged_mirrors::MirrorKey;
use crate::store::watermarks::{self, NewWatermark, PerSide, VersionSum, WatermarkKey};
pub use own_tables::{BATCHES_AT_ONCE, LocalFinding, OwnTables, TABLES_AT_ONCE};
use tenant_sum_cursor::GROUP;
use versions::UnprovenTenant;

mod contents;
mod own_tables;
mod settled_columns;
mod tenant_sum_cursor;
mod versions;

/// A mirror that a sweep looks at.
#[derive(Clone, Debug)]
pub struct SweptMirror<'a> {
    /// The settings of the mirror, with its tenant and local table.
    pub mapping: &'a Mapping,
    /// The tenant's id, in the spelling of the remote and of the watermarks.
    pub tenant: &'a TenantId,
    /// Identifies the mirror in the tables of schema `meter_sync`, except in those of watermarks and tombstones.
    pub key: &'a MirrorKey,
}

/// The result of a sweep.
#[derive(Clone, Debug)]
pub struct SweepResult {
    /// For each mirror, whether it needs no run: both sides are known to be equal, and the synced columns are those
    /// that the last run recorded.
    pub is_equal: Vec<bool>,
    /// How many bytes the remote sent.
    pub remote_bytes: i64,
    /// The two tables and their synced columns, which `is_equal` is about.
    pub relations: Relations,
    /// What [`SweepResult::remember`] stores: the tenants whose contents were found equal, and the versions of the
    /// rows that were compared.
    proven: Vec<(TenantId, PerSide<VersionSum>)>,
    /// The oldest transaction that was running when the remote snapshot was taken. `None` if nothing has to be stored.
    horizon: Option<i64>,
}

impl SweepResult {
    /// Stores watermarks for the tenants whose contents were found equal, so that the next sweep compares versions.
    /// If a watermark cannot be stored, for instance because a run has locked it, none is stored, and the next sweep
    /// compares contents again. Returns an error only if the local transaction cannot go on.
    pub async fn remember(&self, local: &Tx<'_, Local>) -> Result<(), SyncError> {
        let (Some(basis), Some(horizon)) = (&self.relations.versions, self.horizon) else {
            return Ok(());
        };
        let proven = self.proven.iter().map(|(tenant, totals)| NewWatermark {
            key: WatermarkKey {
                tenant: tenant.clone(),
                local_table: self.relations.local.clone(),
                basis: basis.clone(),
            },
            totals: totals.clone(),
        });
        remember(local, &proven.collect::<Vec<_>>(), horizon).await
    }
}

/// Stores watermarks of tenants whose contents were found equal. If one cannot be stored, stores none.
async fn remember(
    local: &Tx<'_, Local>,
    watermarks: &[NewWatermark],
    horizon: i64,
) -> Result<(), SyncError> {
    if watermarks.is_empty() {
        return Ok(());
    }
    let store = async {
        match watermarks::keep_all(local, watermarks, horizon).await {
            Ok(()) => Ok(Ok(())),
            Err(error) if local.is_silent() => Err(error),
            Err(error) => Ok(Err(error)),
        }
    };
    if let Err(error) = local.attempt("meter_sync_watermarks", store).await? {
        tracing::debug!(%error, "could not store the watermarks of the tenants that are equal");
    }
    Ok(())
}

/// Finds the mirrors that need no run, because both sides are equal. All mirrors share the tables of `mapping`. The
/// tenant in `mapping` does not matter.
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
    relations::locks::hold_local_table(local, &mapping.local_table).await?;
    let (relations, _) = relations::look(&remote, local, mapping, mark).await?;
    let found = look(&remote, local, &relations, &tenants).await?;
    let settled = settled_columns::of_mirrors(local, mirrors, |_| Some(&relations)).await?;
    let is_equal = found.is_equal.iter().zip(settled);
    let horizon = match found.proven.is_empty() {
        true => None,
        false => digest::versions::horizon(&remote).await?,
    };
    let remote_bytes = remote.bytes_read();
    read::commit_unless_rewritten::commit_unless_rewritten(remote).await?;
    Ok(SweepResult {
        is_equal: is_equal
            .map(|(is_equal, is_settled)| *is_equal && is_settled)
            .collect(),
        remote_bytes,
        relations,
        proven: found.proven,
        horizon,
    })
}

/// What the comparison of versions and contents found.
struct Found {
    /// See [`SweepResult::is_equal`].
    is_equal: Vec<bool>,
    /// See [`SweepResult::proven`].
    proven: Vec<(TenantId, PerSide<VersionSum>)>,
}

async fn look(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    relations: &Relations,
    tenants: &[TenantId],
) -> Result<Found, SyncError> {
    let mut found = Found {
        is_equal: vec![false; tenants.len()],
        proven: Vec::new(),
    };
    // A table without a tenant column holds the meters of one tenant. Only a run finds out which tenant that is.
    let Some(column) = &relations.local_tenant else {
        return Ok(found);
    };
    let unproven = match versions::look(remote, local, (relations, column), tenants).await? {
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
    let ids = unproven.iter().filter_map(|one| tenants.get(one.place));
    let ids: Vec<TenantId> = ids.cloned().collect();
    let looked = contents::look(remote, local, (relations, column), &ids).await?;
    local.pin_path().await?;
    let equal = unproven.into_iter().zip(ids).zip(looked);
    for ((one, id), verdict) in equal.filter(|(_, verdict)| verdict.is_equal) {
        if let Some(known) = found.is_equal.get_mut(one.place) {
            *known = true;
        }
        let versions = one.remote_versions.zip(verdict.local_versions);
        let versions = versions.map(|(remote, local)| PerSide { remote, local });
        found.proven.extend(versions.map(|versions| (id, versions)));
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
