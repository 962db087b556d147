//! Finds which rows can differ between the sides, without fetching the rows.
//!
//! Each server first sums the hashes of all its rows (`totals`). If the sums differ, rows are divided into buckets by
//! their key (`buckets`), and each server sums the hashes of its rows by bucket (`bucket_sum_cursor`). The sums are
//! fetched in steps. Each step fetches only the parts that differed in the step before:
//! - the sum of all rows;
//! - the sums of chunks of buckets;
//! - the sums of the buckets in a chunk;
//! - the hashes of the rows in a bucket (`find_differing_rows`).
//!
//! The rows that differ are then read and compared value by value, so nothing is changed because of a hash alone.
//!
//! Two kinds of hashes are summed:
//! - Hashes of what the rows contain (`find_differing_buckets`, `row_hash`). Their sums are compared between the two
//!   sides.
//! - Hashes of the row versions (`row_versions`). The sums of each side are compared with those that the last run
//!   stored (`store::watermarks`), at a fifth of the cost. This may prove that nothing has changed, or show which
//!   remote rows are new. In the second case, the new rows are read, and both sides are also compared by their keys
//!   alone.
//!
//! The scan that sums the row versions also computes the sums that may be needed next (`sum_with_versions`).

use crate::db::{DbError, Remote, Tx, param};

use super::{RowSelection, RowsToCompare, RunContext, SyncError, SyncResult};
use crate::model::CompareMethod;
use crate::store::watermarks;

use buckets::DifferingBuckets;
pub(super) use compare_contents::compare_contents;
pub use compare_contents::{ContentsComparison, ContentsDifference, ContentsVerdict};
pub use contents_digest::{ContentsDigests, DigestHashing, SideDigest};
use find_differing_buckets::BucketQuery;
use find_since::find_since;
pub(super) use find_since::{NewOrMissingRows, find_by_keys};
pub(super) use hashed_key::HashedKey;
pub(super) use keep_tombstones::condition as is_remembered_as_gone;
pub(super) use key_buckets::{KeyDifference, KeyDifferences};
use row_hash::HashedColumns;
pub(super) use row_hash::{HashMode, RowSide};
use row_versions::VersionVerdict;
pub(super) use row_versions::{VersionsOfBothSides, WrittenVersions};
use totals::{FromClausesOfBothSides, TotalsComparison, TotalsQuery, TotalsVerdict};
pub use verification_sql::VerificationSql;
pub(super) use written_versions::version_change;

pub(super) mod keep_tombstones;
pub(super) mod row_hash;

pub(super) mod bucket_sum_cursor;
mod buckets;
mod compare_contents;
pub mod compare_sums;
mod contents_digest;
mod find_differing_buckets;
mod find_differing_rows;
mod find_since;
mod hashed_key;
mod key_buckets;
pub(super) mod row_versions;
mod sum_with_versions;
mod totals;
pub(super) mod verification_sql;
pub(super) mod version_hash;
pub(super) mod version_sums;
mod written_versions;

/// The rows that can differ between the sides.
#[derive(Debug)]
pub(super) enum RowsThatMayDiffer {
    /// No rows: the sides do not differ. Holds the number of remote meters.
    None(i64),
    /// Only these rows can differ.
    Within(RowSelection),
    /// Only new remote rows, and local rows that the remote no longer has, can differ.
    NewOrMissing(NewOrMissingRows),
    /// It is not known which rows can differ, so all must be compared. For example, a full comparison was requested, a
    /// remote value cannot be converted to the local type, or most of the buckets differ.
    Unclear,
}

/// The result of comparing the sums of row hashes of both sides.
#[derive(Debug)]
enum DigestVerdict {
    /// Both sides hold the same rows. Holds the number of remote rows.
    Equal(i64),
    /// The sides differ, but only in these buckets.
    DifferingBuckets(DifferingBuckets),
    /// The sides differ, but the sums of the buckets do not show in which rows.
    Unclear,
    /// Nothing is known, because one side could not compute its sums. The cause is a value that cannot be converted, a
    /// missing function or a time limit.
    Unknown,
}

/// Finds which rows can differ between the sides. Also returns how they were compared.
pub(super) async fn find(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    versions: Option<&VersionsOfBothSides<'_>>,
) -> Result<(RowsThatMayDiffer, CompareMethod), SyncError> {
    let everything = (RowsThatMayDiffer::Unclear, CompareMethod::Everything);
    let suspects = match &run.job.compare {
        RowsToCompare::Everything => return Ok(everything),
        RowsToCompare::Also(selection) => Some(selection),
        RowsToCompare::Differences if has_few_rows_with_a_new_column(run).await? => {
            return Ok(everything);
        }
        RowsToCompare::Differences => None,
    };
    let (difference, compared) = find_usual(remote, run, versions).await?;
    let Some(suspects) = suspects else {
        return Ok((difference, compared));
    };
    Ok(match difference {
        RowsThatMayDiffer::None(rows) => (
            RowsThatMayDiffer::Within(RowSelection::nothing(rows).or(suspects)),
            CompareMethod::Contents,
        ),
        RowsThatMayDiffer::Within(selection) => (
            RowsThatMayDiffer::Within(selection.or(suspects)),
            CompareMethod::Contents,
        ),
        RowsThatMayDiffer::NewOrMissing(_) | RowsThatMayDiffer::Unclear => everything,
    })
}

/// A local table with at most this many rows is small: even a slow network connection carries them within seconds.
const FEW_ROWS: i64 = 10_000;

/// Whether a column is synced for the first time and the local table has few rows. Most rows then differ in this
/// column, and reading all of them costs less than first finding those that differ, above all if the source is a slow
/// view.
async fn has_few_rows_with_a_new_column(run: &RunContext<'_>) -> Result<bool, DbError> {
    let relations = run.relations;
    let report = run.job.column_report.get();
    if !report.is_some_and(|report| report.has_new) {
        return Ok(false);
    }
    if relations.estimated_rows >= 0 {
        return Ok(relations.estimated_rows <= FEW_ROWS);
    }
    let table = [param::oid(relations.local_oid)];
    let bytes: i64 = run.local.query_one(SIZE, &table).await?.get(0);
    Ok(bytes <= FEW_ROWS * SMALL_ROW)
}

/// The least bytes that a row is assumed to take in a table file. If the number of rows of a table is not known, its
/// size divided by this is used as an upper limit of that number.
const SMALL_ROW: i64 = 64;

/// Looks up how many bytes the table with the OID `$1` and its partitions take.
const SIZE: &str = "\
-- look how large the table is
select pg_catalog.sum(pg_catalog.pg_relation_size(t.oid))::bigint
from (select $1::oid as oid
      union select p.relid::oid from pg_catalog.pg_partition_tree($1::oid::regclass) p) t";

/// Finds which rows can differ: by row versions where these show it, otherwise by hashes. Also returns how they were
/// compared.
async fn find_usual(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    versions: Option<&VersionsOfBothSides<'_>>,
) -> Result<(RowsThatMayDiffer, CompareMethod), SyncError> {
    match versions.and_then(VersionsOfBothSides::compare_with_watermark) {
        Some(VersionVerdict::Same(rows)) => Ok(equal(rows)),
        Some(VersionVerdict::Since(transaction)) => {
            find_since(remote, run, versions, transaction).await
        }
        None => find_by_contents(remote, run, versions).await,
    }
}

fn equal(rows: i64) -> (RowsThatMayDiffer, CompareMethod) {
    (RowsThatMayDiffer::None(rows), CompareMethod::Differences)
}

/// Finds which rows can differ if row versions do not show it. The totals are compared first, and buckets only if they
/// differ.
async fn find_by_contents(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    versions: Option<&VersionsOfBothSides<'_>>,
) -> Result<(RowsThatMayDiffer, CompareMethod), SyncError> {
    let what = HashedColumns::Rows;
    let known = versions.and_then(|versions| versions.totals_of(what));
    if let Some(TotalsComparison::Equal(rows)) = known {
        return Ok(equal(rows));
    }
    let sides = &FromClausesOfBothSides::of(run).await?;
    let is_known_to_differ = known == Some(TotalsComparison::Differing)
        || versions.is_some_and(VersionsOfBothSides::is_without_watermark);
    let totals = match is_known_to_differ {
        true => TotalsVerdict::Differing {
            mode: HashMode::USUAL,
            rows: local_rows(run, versions),
        },
        false => compare_totals(remote, run, sides).await?,
    };
    let everything = (RowsThatMayDiffer::Unclear, CompareMethod::Everything);
    let (mode, count) = match totals {
        TotalsVerdict::Equal(rows) => return Ok(equal(rows)),
        TotalsVerdict::Differing { mode, rows } => (mode, rows),
        TotalsVerdict::Unknown => return Ok(everything),
    };
    let query = BucketQuery {
        what,
        rows: sides,
        count,
        mode,
    };
    let selection = match find_differing_buckets::compare(remote, run, &query).await? {
        DigestVerdict::Equal(rows) => return Ok(equal(rows)),
        DigestVerdict::DifferingBuckets(differing) => {
            find_differing_rows::narrow(remote, run, &differing).await?
        }
        DigestVerdict::Unclear | DigestVerdict::Unknown => None,
    };
    Ok(selection.map_or(everything, |selection| {
        (
            RowsThatMayDiffer::Within(selection),
            CompareMethod::Contents,
        )
    }))
}

/// Compares the sums of the hashes of all rows.
async fn compare_totals(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    sides: &FromClausesOfBothSides,
) -> Result<TotalsVerdict, DbError> {
    let query = TotalsQuery {
        doing: "sum up the contents",
        rows: sides,
        hash: |mode, row| {
            let hasher = find_differing_buckets::hasher(run.job, mode);
            HashedColumns::Rows.hash(hasher, run.relations, row)
        },
        second_seed: None,
        is_unknown_after: DbError::is_not_computable,
    };
    totals::compare(remote, run, &query, HashMode::USUAL).await
}

/// How many meters of the tenant the local table has, or an estimate.
fn local_rows(run: &RunContext<'_>, versions: Option<&VersionsOfBothSides<'_>>) -> i64 {
    versions.map_or(
        run.relations.estimated_rows,
        VersionsOfBothSides::local_rows,
    )
}

/// Stores what the next run needs: the watermark (the row versions at which both sides were equal) and, if the run made
/// a plan (`is_planned`), tombstones (keys of meters gone from the remote). Deletes the watermark if the sides are not
/// equal after this run, or if `versions` is `None`. `written` has the versions that the
/// run wrote; `None` if they are still to be looked up.
pub(super) async fn remember(
    run: &RunContext<'_>,
    versions: Option<VersionsOfBothSides<'_>>,
    is_planned: bool,
    synced: &SyncResult,
    written: Option<WrittenVersions>,
) -> Result<(), SyncError> {
    if is_planned {
        keep_tombstones::remember(run).await?;
    }
    // The sides are not equal if rows were rejected, or if the local table changed values as they were written.
    let are_equal = synced.rejected.is_empty() && synced.altered.is_empty();
    match versions {
        Some(versions) if are_equal => {
            let changes = synced.counts.changes();
            let written = match written {
                None if changes > 0 && run.relations.stores_rows_unchanged => {
                    Some(written_versions::look_up(run).await?)
                }
                written => written,
            };
            versions.remember(run, changes, written).await?;
        }
        _ => watermarks::forget(run.local, run.job.tenant, &run.relations.local).await?,
    }
    Ok(())
}

/// Stores the watermark (the row versions at which both sides were equal) after the first load of a tenant's meters.
/// Deletes it if rows were rejected, or if `versions` is `None`.
pub(super) async fn remember_load(
    run: &RunContext<'_>,
    versions: Option<VersionsOfBothSides<'_>>,
    loaded: &SyncResult,
) -> Result<(), SyncError> {
    match versions {
        Some(versions) if loaded.rejected.is_empty() => {
            let rows = loaded.counts.inserted;
            versions.remember_load(run, rows).await?;
        }
        _ => watermarks::forget(run.local, run.job.tenant, &run.relations.local).await?,
    }
    Ok(())
}
