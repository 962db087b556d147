//! Finds which rows can differ without fetching them.
//!
//! Rows fall into buckets by their key (`buckets`), and each server sums its own rows by bucket
//! (`cursor`). What is fetched of the sums follows the difference: those of all rows; if they are not
//! as expected, those of chunks of buckets, then those of the buckets in the chunks that differ, then the
//! hashes of the rows in these buckets (`rows`). The rows that differ are then read and compared value by
//! value, so a difference found here is never believed unseen.
//!
//! There are two things to sum. What the rows hold (`compare`, hashed as `image` says) compares one
//! side with the other. Which versions of rows there are (`versions`) compares each side with itself at
//! the last run (`memory`), at a fifth of the cost, and tells which rows are new, where that is proof; of the
//! others then only the keys are compared.

use crate::db::{DbError, Local, Remote, Tx, param};

use super::{Compare, Compared, Extent, Job, Shape, SyncError, Synced};

use buckets::Differing;
use compare::What;
pub use contents::Contents;
pub(super) use contents::compare_contents;
pub(super) use gone::condition as is_remembered_as_gone;
use versions::Told;
pub(super) use versions::Versions;

mod buckets;
mod compare;
mod contents;
mod cursor;
mod gone;
mod image;
mod memory;
mod rows;
pub mod sums;
mod versions;

/// Where the sides can differ.
#[derive(Debug)]
pub(super) enum Difference {
    /// Nowhere: both hold the same meters, and this many.
    None(i64),
    /// In some rows; the others are equal.
    Within(Extent),
    /// All is to be compared: that was asked for, or a remote value has no local counterpart, or most of
    /// the buckets differ.
    Unclear,
}

/// What the sums tell.
#[derive(Debug)]
enum Found {
    /// Both sides hold the same, in this many rows.
    Equal(i64),
    /// They differ in these buckets at most.
    Differing(Differing),
    /// They differ, and not in buckets that could be told.
    Unclear,
    /// Nothing: a value, a missing function or a time limit kept a side from summing.
    Unknown,
}

/// Finds where the sides can differ, and says how.
pub(super) async fn find(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    versions: Option<&Versions<'_>>,
) -> Result<(Difference, Compared), SyncError> {
    let everything = (Difference::Unclear, Compared::Everything);
    let suspects = match &job.compare {
        Compare::Everything => return Ok(everything),
        Compare::Also(extent) => Some(extent),
        Compare::Differences if has_few_rows_with_a_new_column(local, shape, job).await? => {
            return Ok(everything);
        }
        Compare::Differences => None,
    };
    let (difference, compared) = find_usual(remote, local, shape, job, versions).await?;
    let Some(suspects) = suspects else {
        return Ok((difference, compared));
    };
    Ok(match difference {
        Difference::None(rows) => (
            Difference::Within(Extent::nothing(rows).or(suspects)),
            Compared::Contents,
        ),
        Difference::Within(extent) => (Difference::Within(extent.or(suspects)), Compared::Contents),
        Difference::Unclear => everything,
    })
}

/// As many rows cross a thin line in seconds.
const FEW_ROWS: i64 = 10_000;

/// Most rows get a value in a column that is synced for the first time. Where they are few, reading them at once costs
/// less than looking first at which they are, above all where the source is a slow view.
async fn has_few_rows_with_a_new_column(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<bool, DbError> {
    let report = job.column_report.get();
    if !report.is_some_and(|report| report.has_new) {
        return Ok(false);
    }
    if shape.estimated_rows >= 0 {
        return Ok(shape.estimated_rows <= FEW_ROWS);
    }
    let table = [param::oid(shape.local_oid)];
    let bytes: i64 = local.query_one(SIZE, &table).await?.get(0);
    Ok(bytes <= FEW_ROWS * SMALL_ROW)
}

/// How many bytes a small row takes: where rows were never counted, there are fewer than this makes of the size.
const SMALL_ROW: i64 = 64;

/// How many bytes a table and its partitions hold.
const SIZE: &str = "\
-- look how large the table is
select pg_catalog.sum(pg_catalog.pg_relation_size(t.oid))::bigint
from (select $1::oid as oid
      union select p.relid::oid from pg_catalog.pg_partition_tree($1::oid::regclass) p) t";

/// Finds where the sides can differ by what costs least.
async fn find_usual(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    versions: Option<&Versions<'_>>,
) -> Result<(Difference, Compared), SyncError> {
    let equal = |rows| Ok((Difference::None(rows), Compared::Differences));
    let (what, since) = match versions.and_then(Versions::tell) {
        Some(Told::Same(rows)) => return equal(rows),
        Some(Told::Since(transaction)) => (What::Keys, Some(transaction)),
        None => (What::Rows, None),
    };
    let rows = versions.map_or(shape.estimated_rows, Versions::local_rows);
    let extent = match compare::compare(remote, local, shape, job, (what, rows)).await? {
        Found::Equal(rows) if since.is_none() => return equal(rows),
        Found::Equal(rows) => Some(Extent::nothing(rows)),
        Found::Differing(differing) => rows::narrow(remote, local, shape, job, &differing).await?,
        Found::Unclear | Found::Unknown => None,
    };
    Ok(match (extent, since) {
        (None, _) => (Difference::Unclear, Compared::Everything),
        (Some(extent), None) => (Difference::Within(extent), Compared::Contents),
        (Some(extent), Some(transaction)) => {
            let remote = format!("({} or {})", extent.remote, versions::is_new(transaction));
            (
                Difference::Within(Extent { remote, ..extent }),
                Compared::Differences,
            )
        }
    })
}

/// Remembers what was settled; `is_planned` tells whether there was something to compare.
pub(super) async fn remember(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    versions: Option<Versions<'_>>,
    (is_planned, synced): (bool, &Synced),
) -> Result<(), SyncError> {
    if is_planned {
        gone::remember(local, shape, job).await?;
    }
    // Where rows were rejected, or do not hold what was written to them, the sides are not equal.
    let are_equal = synced.rejected.is_empty() && synced.altered.is_empty();
    match versions {
        Some(versions) if are_equal => {
            let written = synced.counts.changes();
            versions.remember(local, shape, job, written).await?;
        }
        _ => memory::forget(local, shape, job).await?,
    }
    Ok(())
}

/// Remembers a first load.
pub(super) async fn remember_load(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    versions: Option<Versions<'_>>,
    loaded: &Synced,
) -> Result<(), SyncError> {
    match versions {
        Some(versions) if loaded.rejected.is_empty() => {
            let rows = loaded.counts.inserted;
            versions.remember_load(local, shape, job, rows).await?;
        }
        _ => memory::forget(local, shape, job).await?,
    }
    Ok(())
}
