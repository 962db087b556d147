//! Sums the rows of many local tables with one statement.

use tokio_postgres::SimpleQueryRow;

use super::find_sweepable_tables::SweepableTable;
use crate::db::{DbError, Local, Tx, quote};
use crate::engine::digest::bucket_sum_cursor::SAVEPOINT;
use crate::engine::digest::keep_tombstones;
use crate::engine::digest::row_hash::{Hasher, RowSide};
use crate::engine::digest::version_hash::row_version;
use crate::engine::sweep::compare_tenant_contents;
use crate::store::watermarks::VersionSum;

/// The sums over the row contents and the row versions of one table.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalTableSums {
    /// The number of local rows that can have a remote counterpart ([`compare_tenant_contents::can_match`]), and the
    /// sum of the hashes of these local rows.
    pub(super) contents: VersionSum,
    /// The number of all rows, and the sum of their versions.
    pub(super) versions: VersionSum,
}

/// Returns the sum of the row versions of each table, in the order of `tables`. If the server cannot compute one of
/// them, all are `None`.
pub(super) async fn of_versions(
    local: &Tx<'_, Local>,
    tables: &[&SweepableTable<'_>],
) -> Result<Vec<Option<VersionSum>>, DbError> {
    let version = row_version("l");
    let sums = format!("pg_catalog.count(*), coalesce(pg_catalog.bit_xor({version}), 0)");
    let of_table = |table: &SweepableTable<'_>| format!("{sums} {}", rows_of(table));
    let read = |row: &SimpleQueryRow| number(row, 1).zip(number(row, 2));
    sum(local, tables, of_table, read).await
}

/// Returns the sums of the row hashes and row versions of each table, in the order of `tables`. One statement reads
/// both, so that they belong to the same rows. If the server cannot compute one of the sums, all are `None`.
pub(super) async fn of_contents(
    local: &Tx<'_, Local>,
    tables: &[&SweepableTable<'_>],
    hasher: Hasher,
) -> Result<Vec<Option<LocalTableSums>>, DbError> {
    let version = row_version("l");
    let of_table = |table: &SweepableTable<'_>| {
        let hash = hasher.hash(&table.relations, RowSide::Local, |_| true);
        let (relations, tenant) = (&table.relations, table.mirror.tenant);
        // Citus refuses the first form in a `union all` of distributed tables. The second one is slow for very many
        // tombstones.
        let is_gone = match relations.distribution {
            None => {
                compare_tenant_contents::has_tombstone(relations, &quote::literal(tenant.as_str()))
            }
            Some(_) => keep_tombstones::has_tombstone(relations, tenant),
        };
        let can_match = compare_tenant_contents::can_match(relations, &is_gone);
        format!(
            "pg_catalog.count(*) filter (where {can_match}),
    coalesce(pg_catalog.bit_xor({hash}) filter (where {can_match}), 0),
    pg_catalog.count(*), coalesce(pg_catalog.bit_xor({version}), 0) {}",
            rows_of(table)
        )
    };
    let read = |row: &SimpleQueryRow| {
        Some(LocalTableSums {
            contents: number(row, 1).zip(number(row, 2))?,
            versions: number(row, 3).zip(number(row, 4))?,
        })
    };
    local.use_role_path().await?;
    let sums = sum(local, tables, of_table, read).await?;
    local.pin_path().await?;
    Ok(sums)
}

fn rows_of(table: &SweepableTable<'_>) -> String {
    format!("from {} l where {}", table.relations.local, table.filter)
}

/// Runs one statement that returns a row for each table, and returns what `read` reads from each row. Column 0 of a row
/// is the index of the table. `of_table` returns the SQL of the other columns and the `from` clause. If the server
/// cannot compute the statement, all results are `None`.
async fn sum<T: Clone>(
    local: &Tx<'_, Local>,
    tables: &[&SweepableTable<'_>],
    of_table: impl Fn(&SweepableTable<'_>) -> String,
    read: impl Fn(&SimpleQueryRow) -> Option<T>,
) -> Result<Vec<Option<T>>, DbError> {
    let mut sums = vec![None; tables.len()];
    if tables.is_empty() {
        return Ok(sums);
    }
    let tables = tables.iter().enumerate();
    let selects: Vec<String> = tables
        .map(|(n, table)| format!("select {n}, {}", of_table(table)))
        .collect();
    let sql = selects.join("\nunion all ");
    let doing = "sum up the rows of tables";
    let rows = local.undo_simple_if(SAVEPOINT, DbError::is_not_computable, doing, &sql);
    for row in rows.await?.iter().flatten() {
        let index = number(row, 0).and_then(|n| usize::try_from(n).ok());
        if let Some(known) = index.and_then(|index| sums.get_mut(index)) {
            *known = read(row);
        }
    }
    Ok(sums)
}

fn number(row: &SimpleQueryRow, n: usize) -> Option<i64> {
    row.get(n)?.parse().ok()
}
