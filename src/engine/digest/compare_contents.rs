//! Compares the contents of all rows of both sides by digests. Unlike in a sync, row versions of earlier runs are not
//! used. Inactive local rows with a tombstone (known to be gone from the remote) are left out.
//!
//! The total of a side is three numbers: how many rows it has, the sum of their hashes, and the sum of the hashes of
//! these hashes. The caller chooses the seeds of both at random for each comparison. A difference stays unseen with a
//! probability of about 2^-64, which is that of a changed row to keep its hash. The second sum costs little and makes
//! it much less likely, about 2^-128, that the hashes of several differing rows cancel each other out. Only if the
//! numbers differ, the buckets and rows that differ are looked for, as in a sync.

use crate::db::{DbError, Remote, Tx};
use crate::engine::{RowsToCompare, RunContext, SyncError};

use super::find_differing_buckets::{self, BucketQuery};
use super::row_hash::{HashMode, HashedColumns, Hasher};
use super::totals::{self, FromClausesOfBothSides, TotalsQuery, TotalsVerdict};
use super::{DigestVerdict, find_differing_rows};

/// The result of a comparison of contents.
#[derive(Clone, Debug)]
pub enum ContentsComparison {
    /// Both sides hold the same rows.
    Equal,
    /// The sides differ. Holds the rows that a sync must compare value by value.
    Differing(RowsToCompare),
    /// The digests differed, but the search for the differing rows then found both sides equal.
    Unsettled,
    /// The sides cannot be compared, usually because a remote value cannot be converted to the type of the local
    /// column.
    Incomparable,
    /// The sides differ, but it could not be found out where, usually because of a time limit.
    Unfound,
}

/// Compares the rows of both sides by their number and two sums, and if they differ, finds the rows that do. The seeds
/// are those of the hashes of the rows, and of the hashes of these hashes.
pub(in crate::engine) async fn compare_contents(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    [seed, second_seed]: [u64; 2],
) -> Result<ContentsComparison, SyncError> {
    let relations = run.relations;
    let sides = &FromClausesOfBothSides::of(run).await?;
    let bits = run.job.hash_bits;
    let query = TotalsQuery {
        doing: "compare the contents",
        rows: sides,
        hash: |mode, row| HashedColumns::Rows.hash(Hasher { seed, bits, mode }, relations, row),
        second_seed: Some(second_seed),
        is_unknown_after: DbError::is_about_a_row,
    };
    let (mode, count) = match totals::compare(remote, run, &query, HashMode::USUAL).await? {
        TotalsVerdict::Equal(_) => return Ok(ContentsComparison::Equal),
        TotalsVerdict::Differing { mode, rows } => (mode, rows),
        TotalsVerdict::Unknown => return Ok(ContentsComparison::Incomparable),
    };
    let query = BucketQuery {
        what: HashedColumns::Rows,
        rows: sides,
        count,
        mode,
    };
    Ok(
        match find_differing_buckets::compare(remote, run, &query).await? {
            DigestVerdict::Equal(_) => ContentsComparison::Unsettled,
            DigestVerdict::DifferingBuckets(differing) => {
                let selection = find_differing_rows::narrow(remote, run, &differing).await?;
                ContentsComparison::Differing(
                    selection.map_or(RowsToCompare::Everything, RowsToCompare::Also),
                )
            }
            DigestVerdict::Unclear => ContentsComparison::Differing(RowsToCompare::Everything),
            DigestVerdict::Unknown => ContentsComparison::Unfound,
        },
    )
}
