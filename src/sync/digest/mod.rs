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

use crate::db::{Local, Remote, Tx};

use super::{Compare, Extent, Job, Shape, SyncError, Synced};

use buckets::Differing;
use compare::What;
pub(super) use gone::condition as is_remembered_as_gone;
use versions::Told;
pub(super) use versions::Versions;

mod buckets;
mod compare;
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
    /// Nothing.
    Unclear,
}

/// Finds where the sides can differ.
pub(super) async fn find(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    versions: Option<&Versions<'_>>,
) -> Result<Difference, SyncError> {
    if job.compare == Compare::Everything {
        return Ok(Difference::Unclear);
    }
    let (what, since) = match versions.and_then(Versions::tell) {
        Some(Told::Same(rows)) => return Ok(Difference::None(rows)),
        Some(Told::Since(transaction)) => (What::Keys, Some(transaction)),
        None => (What::Rows, None),
    };
    let rows = versions.map_or(shape.estimated_rows, Versions::local_rows);
    let extent = match compare::compare(remote, local, shape, job, (what, rows)).await? {
        Found::Equal(rows) if since.is_none() => return Ok(Difference::None(rows)),
        Found::Equal(rows) => Some(Extent::nothing(rows)),
        Found::Differing(differing) => rows::narrow(remote, local, shape, job, &differing).await?,
        Found::Unclear => None,
    };
    let Some(extent) = extent else {
        return Ok(Difference::Unclear);
    };
    Ok(Difference::Within(match since {
        Some(transaction) => Extent {
            remote: format!("({} or {})", extent.remote, versions::is_new(transaction)),
            ..extent
        },
        None => extent,
    }))
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
    // Where rows were set aside, or do not hold what was written to them, the sides are not equal.
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
    loaded: i64,
) -> Result<(), SyncError> {
    if let Some(versions) = versions {
        versions.remember_load(local, shape, job, loaded).await?;
    }
    Ok(())
}
