//! Compares the row versions of many tenants with their watermarks, the sums of versions stored when both sides were
//! last equal (see `digest::row_versions` for what row versions can show).
//!
//! First, each server sums the versions of all tenants together. This needs no grouping and takes two thirds of the
//! time of sums by tenant. If both results equal the sums of all watermarks, nothing has changed.
//!
//! Otherwise each server sums by tenant. If the local sum of a tenant is that of its watermark, the watermark tells the
//! sum that the remote should have. For the other tenants, contents are compared. If these are equal, the sums of
//! versions become the tenant's new watermark.

use crate::db::catalog::Column;
use crate::db::index_from_ordinality::index;
use crate::db::param::{self, Param};
use crate::db::{DbError, Local, Remote, Tx, both, quote};
use crate::engine::digest::bucket_sum_cursor::grouped_by_hash;
use crate::engine::digest::version_hash::{VersionTotal, row_version};
use crate::engine::digest::version_sums;
use crate::engine::{Relations, SyncError};
use crate::model::{TenantId, saturating_i64};
use crate::store::watermarks::{self, PerSide, VersionSum};

use super::array;
use super::tenant_sum_cursor::{TenantSum, TenantSumCursor};

/// Which of many tenants the row versions show to be unchanged since both sides were last found equal.
pub(super) struct VersionsReport {
    /// For each tenant, whether both sides hold exactly the rows that they held when they were last found equal.
    pub(super) is_equal: Vec<bool>,
    /// The tenants for which the row versions cannot show whether both sides are equal.
    pub(super) unproven: Vec<UnprovenTenant>,
}

/// A tenant for which the row versions cannot show whether both sides are equal: it has no watermark, or its local rows
/// have changed since the watermark was stored.
pub(super) struct UnprovenTenant {
    /// The tenant's index among the tenants of the sweep.
    pub(super) index: usize,
    /// The number of the tenant's remote rows and the sum of their versions; `None` if they were not read.
    pub(super) remote_versions: Option<VersionSum>,
}

impl UnprovenTenant {
    /// Makes the entry of a tenant whose row versions were not read.
    pub(super) fn unread(index: usize) -> Self {
        Self {
            index,
            remote_versions: None,
        }
    }
}

/// Compares the row versions of both sides with the watermarks. Returns `None` if row versions cannot be used for these
/// tables, or cannot be summed. `column` is the local tenant column.
pub(super) async fn look(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    relations: &Relations,
    column: &Column,
    tenants: &[TenantId],
) -> Result<Option<VersionsReport>, SyncError> {
    let Some(basis) = &relations.version_basis else {
        return Ok(None);
    };
    let ids: Vec<String> = tenants.iter().map(|id| id.as_str().to_owned()).collect();
    let (known, totals) = watermarks::total(local, &relations.local, basis, &ids).await?;
    let filters = PerSide {
        remote: is_of("r", &relations.remote_tenant, tenants),
        local: is_of("l", column, tenants),
    };
    if known == saturating_i64(tenants.len())
        && are_all_unchanged(remote, local, relations, &filters, &totals).await?
    {
        return Ok(Some(VersionsReport {
            is_equal: vec![true; tenants.len()],
            unproven: Vec::new(),
        }));
    }
    let params = [
        param::texts(&ids),
        param::text(relations.local.as_str()),
        param::text(basis.as_str()),
    ];
    let ids = array(tenants, "pg_catalog.text");
    let there = by_tenant(
        &relations.remote_from,
        "r",
        &relations.remote_tenant,
        tenants,
        &ids,
    );
    let (there, expected) = both(
        TenantSumCursor::open(remote, &there),
        expected(local, relations, column, tenants, &params),
    )
    .await?;
    let (there, expected) = match (there, expected) {
        (Some(there), Some(expected)) => (there, expected),
        (Some(there), None) => {
            there.abandon().await?;
            return Ok(None);
        }
        (None, _) => return Ok(None),
    };
    let held = there.sums(&expected).await?;
    Ok(Some(report_of(&expected, &held)))
}

/// Compares the sums of versions that the remote has (`held`) with those that it should have (`expected`).
fn report_of(expected: &[Option<TenantSum>], held: &[Option<TenantSum>]) -> VersionsReport {
    let mut report = VersionsReport {
        is_equal: Vec::with_capacity(expected.len()),
        unproven: Vec::new(),
    };
    for (index, (expected, held)) in expected.iter().zip(held).enumerate() {
        report.is_equal.push(expected.is_some() && expected == held);
        if expected.is_none() {
            report.unproven.push(UnprovenTenant {
                index,
                remote_versions: held.map(|held| (held.rows, held.hashes)),
            });
        }
    }
    report
}

/// Whether the versions of all rows that match the filters add up, on each side, to the sum of the watermarks. The
/// filters are SQL conditions on the remote rows `r` and the local rows `l`.
async fn are_all_unchanged(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    relations: &Relations,
    filters: &PerSide<String>,
    watermarks: &PerSide<VersionSum>,
) -> Result<bool, DbError> {
    let (there, here) = both(
        version_sums::total(remote, "r", &relations.remote_from, &filters.remote),
        version_sums::total(local, "l", &relations.local, &filters.local),
    )
    .await?;
    let is =
        |total: Option<VersionTotal>, known| total.is_some_and(|total| total.versions == known);
    Ok(is(there, watermarks.remote) && is(here, watermarks.local))
}

/// SQL condition: whether the row belongs to one of these tenants. The ids are constants, so that a server since
/// version 14 looks up each row's id in a hash table. Row versions of older servers are not used.
fn is_of(row: &str, column: &Column, tenants: &[TenantId]) -> String {
    let name = quote::identifier(&column.name);
    let ids = array(tenants, &column.base_type);
    format!("{row}.{name} {} any ({ids})", column.equals)
}

/// SQL for the sums of row versions by tenant, in the form that [`TenantSumCursor::open`] needs. The rows are those of
/// `from`, with the alias `row`. `ids` is an SQL expression of an array of texts. Rows are grouped before they are
/// joined with the ids, which is faster than a join of all rows.
pub(super) fn by_tenant(
    from: &str,
    row: &str,
    column: &Column,
    tenants: &[TenantId],
    ids: &str,
) -> String {
    let (version, is_of) = (row_version(row), is_of(row, column, tenants));
    let name = quote::identifier(&column.name);
    let (equals, type_) = (&column.equals, &column.base_type);
    format!(
        "select u.n, coalesce(g.rows, 0) as rows, coalesce(g.sum, 0) as sum
    from pg_catalog.unnest({ids}) with ordinality u (id, n)
    left join (
        select {row}.{name} as tenant, pg_catalog.count(*) as rows, pg_catalog.bit_xor({version}) as sum
        from {from} {row} where {is_of} group by 1
    ) g on g.tenant {equals} u.id::{type_}"
    )
}

/// Returns the sum of versions that the remote should have for each tenant. This is the remote sum of the tenant's
/// watermark if the local sum still equals that of the watermark, otherwise `None`. Returns `None` for all if the local
/// versions cannot be summed. `params` are what watermarks are stored under: the tenants' ids, the local table, and the
/// hash of table files and settings.
async fn expected(
    local: &Tx<'_, Local>,
    relations: &Relations,
    column: &Column,
    tenants: &[TenantId],
    params: &[Param<'_>; 3],
) -> Result<Option<Vec<Option<TenantSum>>>, DbError> {
    let sums = by_tenant(&relations.local, "l", column, tenants, "$1");
    let sql = format!(
        "-- sweep the local versions
with sums as materialized (
    {sums}
)
select sums.n, s.remote_rows, s.remote_sum
from pg_catalog.unnest($1) with ordinality u (id, n)
join sums on sums.n = u.n
join meter_sync.meter_sync_seen s
    on s.tenant = u.id and s.local_table = $2 and s.basis = $3
   and s.local_rows = sums.rows and s.local_sum = sums.sum"
    );
    let Some(rows) = grouped_by_hash(local, local.query(&sql, params)).await? else {
        return Ok(None);
    };
    let mut expected = vec![None; tenants.len()];
    for row in &rows {
        if let Some(known) = expected.get_mut(index(row.get(0))) {
            *known = Some(TenantSum {
                rows: row.get(1),
                hashes: row.get(2),
            });
        }
    }
    Ok(Some(expected))
}
