//! Finds which rows can differ without fetching them.
//!
//! Rows fall into buckets by their key (`buckets`), and each server sums its own rows by bucket
//! (`cursor`). What is fetched of the sums follows the difference: those of all rows; if they are not
//! as expected, those of chunks of buckets, then those of the buckets in the chunks that differ, then the
//! hashes of the rows in these buckets (`rows`). The rows that differ are then read and compared value by
//! value, so a difference found here is never believed unseen.
//!
//! There are two things to sum. What the rows hold (`content`, hashed as `image` says) compares one
//! side with the other. Which versions of rows there are (`versions`) compares each side with itself at
//! the last run (`memory`), at a fifth of the cost, where that is proof.

use crate::db::{Local, Remote, Tx};

use super::{Compare, Extent, Job, Shape, SyncError, Synced};

use buckets::Differing;

pub(super) use versions::Versions;

mod buckets;
mod content;
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
    /// Both sides hold the same meters, and this many.
    Equal(i64),
    /// They differ in these buckets at most.
    Differing(Differing),
    /// Nothing.
    Unclear,
}

/// Finds where the sides can differ, and what there is to remember of it once it is settled.
pub(super) async fn find(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<(Difference, Option<Versions>), SyncError> {
    let mut versions = Versions::read(remote, local, shape, job).await?;
    let told = versions.as_mut().and_then(Versions::tell);
    let found = match (job.compare, told) {
        (Compare::Everything, _) => Found::Unclear,
        (Compare::Differences, Some(found)) => found,
        (Compare::Differences, None) => {
            let counted = versions.as_ref().map(Versions::local_rows);
            let rows = counted.unwrap_or(shape.estimated_rows);
            content::compare(remote, local, shape, job, rows).await?
        }
    };
    let difference = match found {
        Found::Equal(rows) => Difference::None(rows),
        Found::Differing(differing) => {
            let extent = rows::narrow(remote, local, shape, job, &differing).await?;
            extent.map_or(Difference::Unclear, Difference::Within)
        }
        Found::Unclear => Difference::Unclear,
    };
    Ok((difference, versions))
}

/// Remembers what was settled: within the extent if there was something to compare.
pub(super) async fn remember(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    versions: Option<Versions>,
    (extent, synced): (Option<&Extent>, &Synced),
) -> Result<(), SyncError> {
    let are_known = versions.as_ref().is_some_and(Versions::is_known);
    let is_by_content = job.compare == Compare::Everything || !are_known;
    if let Some(extent) = extent.filter(|_| is_by_content) {
        gone::remember(local, shape, job, extent).await?;
    }
    // Where rows were set aside, or do not hold what was written to them, the sides are not equal.
    let are_equal = synced.rejected.is_empty() && synced.altered.is_empty();
    match versions {
        Some(mut versions) if are_equal => {
            let written = synced.counts.changes();
            versions.remember(local, shape, job, written).await?;
        }
        _ => memory::forget(local, shape, job).await?,
    }
    Ok(())
}
