//! A sweep over mirrors of which each has a local table of its own: compares row versions with the watermarks.
//!
//! The remote is asked once for all tenants, as if they shared a table. The local tables are read a number at a time, each
//! number in one transaction and with one statement that sums the versions of all of them. A transaction holds locks on the
//! tables that it reads and on their indexes, and the server has room for a limited number of locks (`max_locks_per_transaction`
//! times the number of connections).
//!
//! A table gets no verdict, so that its mirror gets a run, in these cases:
//!
//! - the table is missing, the role may not read it, or a run would refuse it;
//! - its row versions prove nothing (see `digest::versions`), or it has no watermark. Its run stores one.
//!
//! Contents are not compared here.

use tokio_postgres::SimpleQueryRow;

use super::tenant_sum_cursor::{Sum, TenantSumCursor};
use super::{SweptMirror, array, settled_columns, versions};
use crate::config::Mapping;
use crate::db::catalog::{self, Column};
use crate::db::{DbError, Local, Remote, Tx};
use crate::engine::digest::sum_cursor::{SAVEPOINT, none_if_not_computable};
use crate::engine::digest::versions::row_version;
use crate::engine::relations::{self, RemoteSide};
use crate::engine::{Relations, Scope, SyncError, read};
use crate::model::TenantId;
use crate::store::watermarks::{self, VersionSum, WatermarkKeys};

/// How many local tables one transaction reads. With a few indexes each, they take a tenth of the locks of a server with
/// default settings.
pub const TABLES_AT_ONCE: usize = 100;

/// A sweep over mirrors with local tables of their own.
pub struct OwnTables<'c> {
    remote: Tx<'c, Remote>,
    there: RemoteSide,
    /// The remote column that holds the tenant's id.
    tenant_column: Column,
}

/// A local table whose versions can be compared.
struct ComparedTable {
    /// The place of its mirror.
    place: usize,
    relations: Relations,
    /// The SQL condition for the mirror's rows `l`.
    filter: String,
}

impl<'c> OwnTables<'c> {
    /// Looks up the remote table in a snapshot. `mapping` may be of any of the mirrors.
    pub async fn begin(remote: Tx<'c, Remote>, mapping: &Mapping) -> Result<Self, SyncError> {
        let there = RemoteSide::find(&remote, mapping).await?;
        Ok(Self {
            tenant_column: there.tenant(mapping)?,
            there,
            remote,
        })
    }

    /// Reads the local tables of these mirrors, of which there may be [`TABLES_AT_ONCE`], and their watermarks. Returns for
    /// each mirror the versions that the remote has if both sides are equal; `None` if nothing is known of them.
    pub async fn expected(
        &self,
        local: &Tx<'_, Local>,
        mirrors: &[SweptMirror<'_>],
    ) -> Result<Vec<Option<VersionSum>>, SyncError> {
        let mut expected = vec![None; mirrors.len()];
        let mut tables = self.tables(local, mirrors).await?;
        let relations = |place| {
            let table = tables.iter().find(|table| table.place == place);
            table.map(|table| &table.relations)
        };
        let settled = settled_columns::of_mirrors(local, mirrors, relations).await?;
        tables.retain(|table| settled.get(table.place) == Some(&true));
        let known = watermarks::of_tables(local, &keys(&tables, mirrors)).await?;
        let known = tables.iter().zip(known);
        let known: Vec<_> = known
            .filter_map(|(table, known)| Some((table, known?)))
            .collect();
        let held = local_versions(local, known.iter().map(|(table, _)| *table)).await?;
        for ((table, known), held) in known.into_iter().zip(held) {
            if held == Some(known.local)
                && let Some(expected) = expected.get_mut(table.place)
            {
                *expected = Some(known.remote);
            }
        }
        Ok(expected)
    }

    /// Compares what the remote holds of these tenants with what is expected. Returns for each tenant whether both sides
    /// are equal, and how many bytes the remote sent. Ends the remote transaction.
    pub async fn compare(
        self,
        tenants: &[TenantId],
        expected: &[Option<VersionSum>],
    ) -> Result<(Vec<bool>, i64), SyncError> {
        let ids = array(tenants, "pg_catalog.text");
        let from = (self.there.from.as_str(), "r");
        let sums = versions::by_tenant(from, &self.tenant_column, tenants, &ids);
        let sum = |(rows, hashes): VersionSum| Sum { rows, hashes };
        let expected: Vec<Option<Sum>> = expected.iter().map(|one| one.map(sum)).collect();
        let is_equal = match TenantSumCursor::open(&self.remote, &sums).await? {
            Some(cursor) => cursor.agree(&expected).await?,
            None => vec![false; tenants.len()],
        };
        let bytes = self.remote.bytes_read();
        read::rewritten_tables::commit_unless_rewritten(self.remote).await?;
        Ok((is_equal, bytes))
    }

    /// Locks the local tables that can be read, and looks them up in the catalogs. Returns those that a run would take and
    /// whose versions can be compared.
    async fn tables(
        &self,
        local: &Tx<'_, Local>,
        mirrors: &[SweptMirror<'_>],
    ) -> Result<Vec<ComparedTable>, SyncError> {
        let mut places: Vec<usize> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let all: Vec<String> = mirrors
            .iter()
            .map(|one| one.mapping.local_table.clone())
            .collect();
        for place in catalog::readable_tables(local, &all).await? {
            names.extend(all.get(place).cloned());
            places.push(place);
        }
        relations::locks::hold_local_tables(local, &names).await?;
        let found = catalog::find_all(local, &names).await?;
        let oids: Vec<u32> = found.iter().flatten().map(|table| table.oid).collect();
        let mut unique = catalog::unique_indexes_of(local, &oids).await?;
        let mut tables = Vec::new();
        for (place, found) in places.into_iter().zip(found) {
            let (Some(here), Some(mirror)) = (found, mirrors.get(place)) else {
                continue;
            };
            // A run finds out whether both are the same table.
            if self.there.oid == Some(here.oid) {
                continue;
            }
            let unique = unique.remove(&here.oid).unwrap_or_default();
            let Ok(relations) = relations::relate(&self.there, &here, &unique, mirror.mapping)
            else {
                continue;
            };
            if relations.versions.is_some() {
                tables.push(ComparedTable {
                    place,
                    filter: Scope::of(&relations, mirror.tenant).local_filter,
                    relations,
                });
            }
        }
        Ok(tables)
    }
}

fn keys(tables: &[ComparedTable], mirrors: &[SweptMirror<'_>]) -> WatermarkKeys {
    let mut keys = WatermarkKeys::default();
    for table in tables {
        let mirror = mirrors.get(table.place);
        let tenant = mirror.map(|mirror| mirror.tenant.as_str().to_owned());
        keys.tenants.push(tenant.unwrap_or_default());
        keys.local_tables.push(table.relations.local.clone());
        let basis = table.relations.versions.clone();
        keys.bases.push(basis.unwrap_or_default());
    }
    keys
}

/// Sums the versions of the rows of each table, in their order. All are `None` if they cannot be computed.
async fn local_versions<'t>(
    local: &Tx<'_, Local>,
    tables: impl Iterator<Item = &'t ComparedTable>,
) -> Result<Vec<Option<VersionSum>>, DbError> {
    let version = row_version("l");
    let sums: Vec<String> = tables
        .enumerate()
        .map(|(n, ComparedTable { relations, filter, .. })| {
            format!(
                "select {n}, pg_catalog.count(*), coalesce(pg_catalog.bit_xor({version}), 0) from {} l where {filter}",
                relations.local
            )
        })
        .collect();
    let mut held = vec![None; sums.len()];
    if sums.is_empty() {
        return Ok(held);
    }
    let sql = format!(
        "-- sum up the versions of tables\nsavepoint {SAVEPOINT};\n{};\nrelease savepoint {SAVEPOINT}",
        sums.join("\nunion all ")
    );
    let answered = local.simple(&sql).await;
    for row in none_if_not_computable(local, answered)
        .await?
        .iter()
        .flatten()
    {
        let place = number(row, 0).and_then(|n| usize::try_from(n).ok());
        if let Some(held) = place.and_then(|place| held.get_mut(place)) {
            *held = number(row, 1).zip(number(row, 2));
        }
    }
    Ok(held)
}

fn number(row: &SimpleQueryRow, n: usize) -> Option<i64> {
    row.get(n)?.parse().ok()
}
