//! Sums the hashes of the row versions of one side (see `row_versions`).

use crate::db::{DbError, Side, Tx};

use super::bucket_sum_cursor::SAVEPOINT;
use super::totals::Total;
use super::version_hash::{VersionTotal, row_version};

/// Sums the versions of the rows of `from`, with the alias `row`, that match the filter. Returns `None` if they cannot
/// be summed.
pub(in crate::engine) async fn total<S: Side>(
    tx: &Tx<'_, S>,
    row: &str,
    from: &str,
    filter: &str,
) -> Result<Option<VersionTotal>, DbError> {
    let from = format!("{from} {row} where {filter}");
    let found = total_with(tx, row, from, None).await?;
    Ok(found.map(|(total, _)| total))
}

/// Like [`total`], for the rows that `from` selects. If `also` has the columns of a [`Total`], that total is read in
/// the same scan, unless it cannot be computed.
pub(super) fn total_with<S: Side>(
    tx: &Tx<'_, S>,
    row: &str,
    from: String,
    also: Option<String>,
) -> impl Future<Output = Result<Option<(VersionTotal, Option<Total>)>, DbError>> {
    let sum = format!("pg_catalog.bit_xor({})", row_version(row));
    let columns = VersionTotal::columns(&sum, "pg_catalog.count(*)").join(", ");
    // Boxed, as in `Tx::attempt`.
    Box::pin(async move {
        let sum = async |columns: &str| {
            let sql = format!("select {columns}\nfrom {from}");
            let doing = "sum up the versions";
            let found = tx.undo_simple_if(SAVEPOINT, DbError::is_not_computable, doing, &sql);
            Ok::<_, DbError>(found.await?.unwrap_or_default())
        };
        let mut found = match also {
            Some(also) => sum(&format!("{columns}, {also}")).await?,
            None => Vec::new(),
        };
        if found.is_empty() {
            found = sum(&columns).await?;
        }
        Ok(found.first().and_then(|row| {
            let total = VersionTotal::read(row, 0)?;
            Some((total, Total::read(row, VersionTotal::COLUMNS)))
        }))
    })
}

/// Returns the oldest transaction that was still running on the server when the statement's snapshot was taken. `None`
/// if the server's answer cannot be read.
pub(in crate::engine) async fn horizon<S: Side>(tx: &Tx<'_, S>) -> Result<Option<i64>, DbError> {
    let row = tx.simple(HORIZON).await?;
    Ok(row.first().and_then(|row| row.get(0)?.parse().ok()))
}

const HORIZON: &str = "\
-- look which transactions were running
select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())";
