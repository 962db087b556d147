//! Sweeps over mirrors that each have a local table of their own, to find those that need no run.
//!
//! The remote is asked once for all tenants, as if they shared a table. The local tables are read in batches, each in
//! one transaction, where one statement sums the rows of many tables. The batches are limited because a transaction
//! holds locks on the tables that it reads and on their indexes, and the server has room for a limited number of locks
//! (<https://www.postgresql.org/docs/current/runtime-config-locks.html>).
//!
//! Row versions are compared with the watermarks, the versions stored when both sides were last equal. Where they
//! cannot show whether both sides are equal, hashes of the rows' contents are compared. If one value cannot be hashed,
//! all mirrors whose tables are summed by the same statement get a run.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, PoisonError};

use tokio::sync::OnceCell;
use uuid::Uuid;

use super::compare_tenant_contents::TenantSumQuery;
use super::tenant_sum_cursor::{GROUP, TenantSum, TenantSumCursor};
use super::{SweepResult, SweptMirror, array, compare_tenant_versions};
use crate::config::Mapping;
use crate::db::catalog::Column;
use crate::db::{Local, Remote, Side, Tx};
use crate::engine::digest::row_hash::{HashFunction, HashMode, Hasher, PROBE, RowSide};
use crate::engine::relations::RemoteSource;
use crate::engine::{SyncError, detect_replaced_remote, digest, read};
use crate::model::TenantId;
use crate::store::watermarks::{self, NewWatermark, PerSide, VersionSum, WatermarkKey};
use find_sweepable_tables::SweepableTable;

mod find_sweepable_tables;
mod sum_local_tables;

/// How many local tables one transaction reads. With a few indexes each, they take a tenth of the locks of a server
/// with default settings.
pub const TABLES_AT_ONCE: usize = 100;

/// How many batches of local tables are read at the same time.
pub const BATCHES_AT_ONCE: usize = 2;

/// The most shapes of tables whose contents one sweep compares. Tables have the same shape if the same SQL expression
/// hashes their remote rows. Each shape needs a scan of the remote source; tables of further shapes get runs instead.
const MOST_SHAPES: usize = 8;

/// A sweep over mirrors with local tables of their own. Call [`TablePerTenantSweep::begin`] first, then
/// [`TablePerTenantSweep::look`] for each batch of mirrors, and [`TablePerTenantSweep::compare`] last. No remote
/// transaction is open while it reads the local tables.
pub struct TablePerTenantSweep {
    there: RemoteSource,
    /// The remote column that holds the tenant's id.
    tenant_column: Column,
    /// The remote result of [`PROBE`], which shows how a server hashes.
    remote_probe: Option<String>,
    /// How rows are hashed; not set until contents are compared.
    hasher: OnceCell<Hasher>,
    /// The SQL expressions that hash remote rows. Tables with the same columns share one.
    remote_hashes: Mutex<Vec<String>>,
}

/// What a sweep found in the local table of a mirror.
#[derive(Clone, Debug)]
pub enum LocalTableFinding {
    /// Nothing that can show that the mirror is unchanged, so the mirror gets a run.
    Nothing,
    /// The row versions of the table are those of its watermark, stored when both sides were last equal. Holds the
    /// remote versions of the watermark. If the remote still has these, both sides are equal.
    Unchanged(VersionSum),
    /// There is no watermark for the table, so its rows were hashed.
    Hashed(HashedTable),
}

/// The sum of the row hashes of a local table, and what is needed to compare it with the remote.
#[derive(Clone, Debug)]
pub struct HashedTable {
    contents: TenantSum,
    /// The index in [`TablePerTenantSweep::remote_hashes`] of the SQL expression that hashes the remote rows.
    remote_hash: usize,
    /// The key and the local row versions of the watermark to store if both sides are equal. `None` if row versions
    /// cannot show whether the table has changed.
    watermark: Option<(WatermarkKey, VersionSum)>,
}

impl TablePerTenantSweep {
    /// Begins a sweep: looks up the remote source, and ends the remote transaction. `mapping` may be the settings of
    /// any of the mirrors.
    pub async fn begin(remote: Tx<'_, Remote>, mapping: &Mapping) -> Result<Self, SyncError> {
        let remote_probe = probe(&remote).await?;
        let there = RemoteSource::find(&remote, mapping).await?;
        remote.commit().await?;
        Ok(Self {
            tenant_column: there.tenant(mapping)?,
            there,
            remote_probe,
            hasher: OnceCell::new(),
            remote_hashes: Mutex::default(),
        })
    }

    /// Reads the local tables of these mirrors, at most [`TABLES_AT_ONCE`] in one call. Returns what it found for each
    /// mirror. Several calls may run at the same time, each in a transaction of its own.
    pub async fn look(
        &self,
        local: &Tx<'_, Local>,
        mirrors: &[SweptMirror<'_>],
    ) -> Result<Vec<LocalTableFinding>, SyncError> {
        let mut findings = vec![LocalTableFinding::Nothing; mirrors.len()];
        let tables = find_sweepable_tables::look_up(&self.there, local, mirrors).await?;
        let unproven = look_at_versions(local, &tables, &mut findings).await?;
        // A few runs cost less than a comparison of the contents of all rows, and they store watermarks. A run of a
        // table whose versions never prove anything stores no watermark.
        let is_without = |table: &&SweepableTable<'_>| table.relations.version_basis.is_none();
        if unproven.len() > GROUP || unproven.iter().any(is_without) {
            self.look_at_contents(local, &unproven, &mut findings)
                .await?;
        }
        Ok(findings)
    }

    async fn look_at_contents(
        &self,
        local: &Tx<'_, Local>,
        tables: &[&SweepableTable<'_>],
        findings: &mut [LocalTableFinding],
    ) -> Result<(), SyncError> {
        let hasher = self.hasher(local).await?;
        let sums = sum_local_tables::of_contents(local, tables, hasher).await?;
        for (table, sums) in tables.iter().zip(sums) {
            let (Some(sums), Some(finding)) = (sums, findings.get_mut(table.index)) else {
                continue;
            };
            let hash = hasher.hash(&table.relations, RowSide::Remote, |_| true);
            let (rows, hashes) = sums.contents;
            *finding = LocalTableFinding::Hashed(HashedTable {
                contents: TenantSum { rows, hashes },
                remote_hash: self.place_of(hash),
                watermark: watermark_key(table).map(|key| (key, sums.versions)),
            });
        }
        Ok(())
    }

    /// Chooses how rows are hashed, once for all tables: by the servers' own hash functions if these give the same
    /// results on both servers.
    async fn hasher(&self, local: &Tx<'_, Local>) -> Result<Hasher, SyncError> {
        let choose = async || {
            let mut mode = HashMode::USUAL;
            if self.remote_probe != probe(local).await? {
                mode.function = HashFunction::Portable;
            }
            Ok(Hasher {
                // Fresh, so that rows whose hashes collide by chance do not collide again.
                seed: Uuid::new_v4().as_u64_pair().0,
                bits: u64::BITS,
                mode,
            })
        };
        self.hasher.get_or_try_init(choose).await.copied()
    }

    /// The place of an expression in `remote_hashes`. It is added if it is new.
    fn place_of(&self, hash: String) -> usize {
        let mut hashes = self
            .remote_hashes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = hashes.iter().position(|known| *known == hash);
        known.unwrap_or_else(|| {
            hashes.push(hash);
            hashes.len() - 1
        })
    }

    /// Compares the remote rows of each tenant with `findings`, which [`TablePerTenantSweep::look`] returned for the
    /// local tables. Ends the remote transaction. If the remote source has changed since the sweep began, no tenant
    /// counts as equal.
    pub async fn compare(
        mut self,
        remote: Tx<'_, Remote>,
        mapping: &Mapping,
        tenants: &[TenantId],
        findings: &[LocalTableFinding],
    ) -> Result<SweepResult, SyncError> {
        let before = mem::replace(&mut self.there, RemoteSource::find(&remote, mapping).await?);
        let nothing = vec![LocalTableFinding::Nothing; tenants.len()];
        let findings = match before == self.there {
            true => findings,
            false => &nothing,
        };
        let mut result = SweepResult {
            is_equal: Vec::with_capacity(tenants.len()),
            remote_bytes: 0,
            watermarks: Vec::new(),
            remote: None,
            horizon: None,
        };
        let expected: Vec<Option<TenantSum>> = findings.iter().map(expected).collect();
        let held = self.remote_versions(&remote, tenants, &expected).await?;
        for (expected, held) in expected.iter().zip(&held) {
            result.is_equal.push(expected.is_some() && expected == held);
        }
        for (index, versions) in self.equal_contents(&remote, tenants, findings).await? {
            if let Some(is_equal) = result.is_equal.get_mut(index) {
                *is_equal = true;
            }
            let held = held.get(index).copied().flatten();
            if let (Some((key, local)), Some(held)) = (versions, held) {
                let remote = (held.rows, held.hashes);
                let totals = PerSide { remote, local };
                let new = NewWatermark { key, totals };
                result.watermarks.push((index, new));
            }
        }
        if !result.watermarks.is_empty() {
            result.horizon = digest::version_sums::horizon(&remote).await?;
            let oid = self.there.oid.filter(|_| self.there.is_plain);
            result.remote =
                detect_replaced_remote::identity(&remote, oid, &mapping.source, None).await?;
        }
        result.remote_bytes = remote.bytes_read();
        read::commit_unless_rewritten::commit_unless_rewritten(remote).await?;
        Ok(result)
    }

    /// Returns the sum of the remote row versions of each tenant. All are `None` if row versions cannot be used or
    /// summed. Sums that are as `expected` are not fetched one by one.
    async fn remote_versions(
        &self,
        remote: &Tx<'_, Remote>,
        tenants: &[TenantId],
        expected: &[Option<TenantSum>],
    ) -> Result<Vec<Option<TenantSum>>, SyncError> {
        let nothing = vec![None; tenants.len()];
        if self.there.file.is_none() {
            return Ok(nothing);
        }
        let ids = array(tenants, "pg_catalog.text");
        let sums = compare_tenant_versions::by_tenant(
            &self.there.from,
            "r",
            &self.tenant_column,
            tenants,
            &ids,
        );
        Ok(match TenantSumCursor::open(remote, &sums).await? {
            Some(cursor) => cursor.sums(expected).await?,
            None => nothing,
        })
    }

    /// Compares the contents of the tables that were hashed. Returns the indexes of the tables that are equal to the
    /// remote, each with what to store in its watermark.
    async fn equal_contents(
        &self,
        remote: &Tx<'_, Remote>,
        tenants: &[TenantId],
        findings: &[LocalTableFinding],
    ) -> Result<Vec<(usize, Option<(WatermarkKey, VersionSum)>)>, SyncError> {
        let mut groups: BTreeMap<usize, Vec<(usize, &HashedTable)>> = BTreeMap::new();
        for (index, finding) in findings.iter().enumerate() {
            if let LocalTableFinding::Hashed(table) = finding {
                let group = groups.entry(table.remote_hash).or_default();
                group.push((index, table));
            }
        }
        // Each group reads all rows of its tenants at the remote. Tables of the rarer shapes get runs instead.
        let hashes = self.remote_hashes.lock();
        let hashes = hashes.unwrap_or_else(PoisonError::into_inner).clone();
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, tables)| Reverse(tables.len()));
        let mut equal = Vec::new();
        for (hash, tables) in groups.into_iter().take(MOST_SHAPES) {
            let ids = tables.iter().filter_map(|(index, _)| tenants.get(*index));
            let ids: Vec<TenantId> = ids.cloned().collect();
            let sums = TenantSumQuery {
                table: &self.there.from,
                row: "r",
                column: &self.tenant_column,
                hash: hashes.get(hash).map_or("0", String::as_str),
                condition: "",
                ids: &array(&ids, "pg_catalog.text"),
            };
            if !self.there.is_plain {
                remote.use_role_path().await?;
            }
            let Some(cursor) = TenantSumCursor::open(remote, &sums.by_tenant()).await? else {
                continue;
            };
            let expected = tables.iter().map(|(_, table)| Some(table.contents));
            let agree = cursor.agree(&expected.collect::<Vec<_>>()).await?;
            let tables = tables.into_iter().zip(agree).filter(|(_, agrees)| *agrees);
            equal.extend(tables.map(|((index, table), _)| (index, table.watermark.clone())));
        }
        Ok(equal)
    }
}

fn expected(finding: &LocalTableFinding) -> Option<TenantSum> {
    match finding {
        LocalTableFinding::Unchanged((rows, hashes)) => Some(TenantSum {
            rows: *rows,
            hashes: *hashes,
        }),
        LocalTableFinding::Nothing | LocalTableFinding::Hashed(_) => None,
    }
}

/// Compares the row versions of tables with their watermarks. Sets the finding of a table with unchanged versions to
/// [`LocalTableFinding::Unchanged`]. Returns the tables without a watermark.
async fn look_at_versions<'t, 'm>(
    local: &Tx<'_, Local>,
    tables: &'t [SweepableTable<'m>],
    findings: &mut [LocalTableFinding],
) -> Result<Vec<&'t SweepableTable<'m>>, SyncError> {
    let keys: Vec<Option<WatermarkKey>> = tables.iter().map(watermark_key).collect();
    let known = watermarks::of_tables(local, &keys).await?;
    let (mut proven, mut unproven) = (Vec::new(), Vec::new());
    for (table, known) in tables.iter().zip(known) {
        match known {
            Some(known) => proven.push((table, known)),
            None => unproven.push(table),
        }
    }
    let watched: Vec<&SweepableTable<'_>> = proven.iter().map(|(table, _)| *table).collect();
    let held = sum_local_tables::of_versions(local, &watched).await?;
    for ((table, known), held) in proven.into_iter().zip(held) {
        if held == Some(known.local)
            && let Some(finding) = findings.get_mut(table.index)
        {
            *finding = LocalTableFinding::Unchanged(known.remote);
        }
    }
    Ok(unproven)
}

/// Returns the key of the table's watermark; `None` if row versions cannot show whether the table has changed.
fn watermark_key(table: &SweepableTable<'_>) -> Option<WatermarkKey> {
    Some(WatermarkKey {
        tenant: table.mirror.tenant.clone(),
        local_table: table.relations.local.clone(),
        basis: table.relations.version_basis.clone()?,
    })
}

async fn probe<S: Side>(tx: &Tx<'_, S>) -> Result<Option<String>, SyncError> {
    let sql = format!("-- look how the server hashes\nselect {PROBE}");
    let rows = tx.simple(&sql).await?;
    Ok(rows.first().and_then(|row| row.get(0)).map(str::to_owned))
}
