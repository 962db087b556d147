//! Compares the rows of many tenants by hashes of their contents. Used where row versions cannot show whether both
//! sides are equal.
//!
//! On the local side, the same statement reads the row versions, so that they belong to the compared contents. Versions
//! that were read earlier might not, because a run may have changed the rows in between.

use tokio_postgres::SimpleQueryRow;
use uuid::Uuid;

use crate::db::catalog::Column;
use crate::db::{DbError, Local, Remote, Tx, both, quote};
use crate::engine::digest::bucket_sum_cursor::{DEFAULT_GROUPING, GROUP_BY_HASH, SAVEPOINT};
use crate::engine::digest::keep_tombstones;
use crate::engine::digest::row_hash::{HashFunction, HashMode, Hasher, PROBE, RowSide};
use crate::engine::{Relations, SyncError};
use crate::model::TenantId;

use super::tenant_sum_cursor::{TenantSum, TenantSumCursor};
use super::{array, compare_tenant_versions};
use crate::store::watermarks::VersionSum;

/// The result of comparing the contents of one tenant's rows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ContentsVerdict {
    /// Whether both sides hold the same rows.
    pub(super) is_equal: bool,
    /// The row versions of the compared local rows; `None` if they cannot show later whether the rows have changed.
    pub(super) local_versions: Option<VersionSum>,
}

/// The sums of the row hashes and of the row versions of each tenant, on the local side.
struct LocalTenantSums {
    sums: Vec<Option<TenantSum>>,
    /// The row versions of each tenant, for [`ContentsVerdict::local_versions`].
    versions: Vec<Option<VersionSum>>,
    /// The local result of [`PROBE`], which shows how a server hashes.
    probe: String,
}

/// Returns for each tenant whether both sides hold the same rows. If a server cannot compute the hashes, no tenant
/// counts as equal. `column` is the local tenant column.
pub(super) async fn look(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    relations: &Relations,
    column: &Column,
    tenants: &[TenantId],
) -> Result<Vec<ContentsVerdict>, SyncError> {
    let ids = array(tenants, "pg_catalog.text");
    let versions = relations.version_basis.as_ref().map(|_basis| {
        compare_tenant_versions::by_tenant(&relations.local, "l", column, tenants, &ids)
    });
    let mut mode = HashMode::USUAL;
    loop {
        let hasher = Hasher {
            // Fresh, so that rows whose hashes collide by chance do not collide again.
            seed: Uuid::new_v4().as_u64_pair().0,
            bits: u64::BITS,
            mode,
        };
        let hash = |side| hasher.hash(relations, side, |_| true);
        let (there, here) = (hash(RowSide::Remote), hash(RowSide::Local));
        let there = TenantSumQuery {
            table: &relations.remote_from,
            row: "r",
            column: &relations.remote_tenant,
            hash: &there,
            condition: "",
            ids: &ids,
        };
        let there = there.by_tenant();
        let here = local_by_tenant(relations, column, &here, &ids);
        let looked = both(
            TenantSumCursor::open(remote, &there),
            local_sums(local, &here, versions.as_deref(), tenants.len()),
        );
        match looked.await? {
            (Some(there), Some(here)) if there.probe == here.probe => {
                return Ok(here.verdicts(&there.agree(&here.sums).await?));
            }
            (Some(there), Some(_)) if mode.function == HashFunction::Server => {
                there.abandon().await?;
                mode.function = HashFunction::Portable;
            }
            (Some(there), Some(here)) => {
                return Ok(here.verdicts(&there.agree(&here.sums).await?));
            }
            (there, _) => {
                if let Some(there) = there {
                    there.abandon().await?;
                }
                if !mode.casts || !relations.has_one_text_a_key {
                    return Ok(vec![ContentsVerdict::default(); tenants.len()]);
                }
                mode.casts = false;
            }
        }
    }
}

/// SQL condition: whether the local row `l` can have a counterpart on the remote. A row with NULL in its key has none,
/// and neither has an inactive row with a tombstone (its meter is gone from the remote). `is_gone` is the SQL condition
/// that the row has a tombstone.
pub(super) fn can_match(relations: &Relations, is_gone: &str) -> String {
    format!(
        "{} and not (l.{} is not true and {is_gone})",
        relations.has_key("l"),
        quote::identifier(&relations.active),
    )
}

/// SQL condition: whether the local row `l` has a tombstone. `tenant` is SQL of the tenant's id.
pub(super) fn has_tombstone(relations: &Relations, tenant: &str) -> String {
    format!(
        "exists (
        select from meter_sync.meter_sync_gone g
        where g.tenant = {tenant} and g.local_table = {} and g.key_hash = {})",
        quote::literal(&relations.local),
        keep_tombstones::key_hash(relations)
    )
}

/// SQL for the sums of the local rows by tenant, in the form of [`TenantSumQuery::by_tenant`].
fn local_by_tenant(relations: &Relations, column: &Column, hash: &str, ids: &str) -> String {
    if relations.distribution.is_some() {
        return distributed_by_tenant(relations, column, hash, ids);
    }
    let can_match = can_match(relations, &has_tombstone(relations, "u.id"));
    let query = TenantSumQuery {
        table: &relations.local,
        row: "l",
        column,
        hash,
        condition: &format!(" and {can_match}"),
        ids,
    };
    query.by_tenant()
}

/// Like [`local_by_tenant`], for a table that Citus distributes. Groups the rows before they are joined with the ids,
/// so that each server sums its own rows and sends only sums to the coordinator. For other tables this would be slower,
/// if the tenants have few of the rows.
fn distributed_by_tenant(relations: &Relations, column: &Column, hash: &str, ids: &str) -> String {
    let table = &relations.local;
    let name = quote::identifier(&column.name);
    let (equals, type_) = (&column.equals, &column.base_type);
    let (has_key, active) = (relations.has_key("l"), quote::identifier(&relations.active));
    let key_hash = keep_tombstones::key_hash(relations);
    format!(
        "select u.n, coalesce(g.rows, 0) as rows, coalesce(g.sum, 0) as sum
    from pg_catalog.unnest({ids}) with ordinality u (id, n)
    left join (
        select l.{name} as tenant, pg_catalog.count(*) as rows, pg_catalog.bit_xor({hash}) as sum
        from {table} l
        left join (
            select i.id::{type_} as tenant, k.key_hash from pg_catalog.unnest({ids}) i (id)
            join meter_sync.meter_sync_gone k on k.tenant = i.id and k.local_table = {}
        ) t on l.{active} is not true and l.{name} {equals} t.tenant and t.key_hash = {key_hash}
        where l.{name} {equals} any (select i.id::{type_} from pg_catalog.unnest({ids}) i (id))
          and {has_key} and t.key_hash is null
        group by 1
    ) g on g.tenant {equals} u.id::{type_}",
        quote::literal(table)
    )
}

impl LocalTenantSums {
    fn verdicts(&self, agree: &[bool]) -> Vec<ContentsVerdict> {
        let verdicts = agree.iter().zip(&self.versions);
        verdicts
            .map(|(is_equal, local_versions)| ContentsVerdict {
                is_equal: *is_equal,
                local_versions: *local_versions,
            })
            .collect()
    }
}

/// Runs `sums`, which sums the hashes of the local rows by tenant. Also sums their row versions if `versions`, a query
/// of these sums, is given. `tenants` is the number of tenants. Returns `None` if the sums cannot be computed.
async fn local_sums(
    local: &Tx<'_, Local>,
    sums: &str,
    versions: Option<&str>,
    tenants: usize,
) -> Result<Option<LocalTenantSums>, DbError> {
    let no_versions = "select null::bigint as n, null::bigint as rows, null::bigint as sum";
    let versions = versions.unwrap_or(no_versions);
    let sql = format!(
        "{GROUP_BY_HASH};
select s.n, s.rows, s.sum, {PROBE}, v.rows, v.sum from ({sums}) s left join ({versions}) v on v.n operator(pg_catalog.=) s.n;
{DEFAULT_GROUPING}"
    );
    let doing = "sweep the local rows";
    let answered = local.undo_simple_if(SAVEPOINT, DbError::is_not_computable, doing, &sql);
    let Ok(rows) = answered.await? else {
        return Ok(None);
    };
    let probe = rows.first().and_then(|row| row.get(3)).unwrap_or_default();
    let (mut sums, mut versions) = (vec![None; tenants], vec![None; tenants]);
    for row in &rows {
        let Some((index, sum)) = sum_of(row) else {
            continue;
        };
        if let (Some(known), Some(versions)) = (sums.get_mut(index), versions.get_mut(index)) {
            *known = Some(sum);
            *versions = number(row, 4).zip(number(row, 5));
        }
    }
    Ok(Some(LocalTenantSums {
        sums,
        versions,
        probe: probe.to_owned(),
    }))
}

/// The parts of a query that sums the hashes of rows by tenant, on one side.
pub(super) struct TenantSumQuery<'a> {
    /// The table, view or query, as SQL for use after `from`.
    pub(super) table: &'a str,
    /// The alias of `table`, by which the other parts name its columns.
    pub(super) row: &'a str,
    /// The tenant column.
    pub(super) column: &'a Column,
    /// The SQL expression of a row's hash.
    pub(super) hash: &'a str,
    /// More conditions on the rows, each with `and` before it. They can use `u.id`, the tenant's id.
    pub(super) condition: &'a str,
    /// The ids of the tenants, as an SQL expression of an array of texts.
    pub(super) ids: &'a str,
}

impl TenantSumQuery<'_> {
    /// SQL for the sums by tenant, with the columns `n` (the tenant's number among `ids`, from 1), `rows` and `sum`.
    /// The result also has tenants without meters.
    pub(super) fn by_tenant(&self) -> String {
        let TenantSumQuery {
            table,
            row,
            column,
            hash,
            condition,
            ids,
        } = self;
        let name = quote::identifier(&column.name);
        let (equals, type_) = (&column.equals, &column.base_type);
        format!(
            "select u.n, pg_catalog.count({row}.{name}) as rows,
           coalesce(pg_catalog.bit_xor(case when {row}.{name} is not null then {hash} end), 0) as sum
    from pg_catalog.unnest({ids}) with ordinality u (id, n)
    left join {table} {row} on {row}.{name} {equals} u.id::{type_}{condition}
    group by u.n"
        )
    }
}

/// Reads the index of a tenant and its sum from a row of [`TenantSumQuery::by_tenant`]. `None` if a column is not a
/// number.
fn sum_of(row: &SimpleQueryRow) -> Option<(usize, TenantSum)> {
    let index = usize::try_from(number(row, 0)? - 1).ok()?;
    let sum = TenantSum {
        rows: number(row, 1)?,
        hashes: number(row, 2)?,
    };
    Some((index, sum))
}

fn number(row: &SimpleQueryRow, n: usize) -> Option<i64> {
    row.get(n)?.parse().ok()
}
