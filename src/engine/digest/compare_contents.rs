//! Compares the contents of all rows of both sides by digests. Unlike in a sync, row versions of earlier runs are not
//! used to find what differs. Inactive local rows with a tombstone (known to be gone from the remote) are left out.
//!
//! The total of a side is three numbers: how many rows it has, the sum of their hashes, and the sum of the hashes of
//! these hashes. The caller chooses the seeds of both at random for each comparison. A difference stays unseen with a
//! probability of about 2^-64, which is that of a changed row to keep its hash. The second sum costs little and makes
//! it much less likely, about 2^-128, that the hashes of several differing rows cancel each other out. Only if the
//! numbers differ, the buckets and rows that differ are looked for, as in a sync.
//!
//! A difference is usually a change that was made after the last run. If row versions show that nothing has changed
//! since, the difference has no such explanation, and the last run has made an error.

use crate::db::{DbError, Remote, Tx, both};
use crate::engine::{RowsToCompare, RunContext, SyncError};
use crate::store::watermarks::PerSide;

use super::contents_digest::ContentsDigests;
use super::find_differing_buckets::{self, BucketQuery};
use super::row_hash::{HashMode, HashedColumns, Hasher};
use super::totals::{self, FromClausesOfBothSides, TotalsOfBothSides, TotalsQuery};
use super::{DigestVerdict, find_differing_rows, row_versions, version_sums};

/// The result of a comparison of contents.
#[derive(Clone, Debug)]
pub struct ContentsComparison {
    /// What the comparison found.
    pub verdict: ContentsVerdict,
    /// The digests of both sides; `None` if they cannot be computed.
    pub digests: Option<ContentsDigests>,
}

impl ContentsComparison {
    /// Whether both sides hold the same rows.
    pub fn are_equal(&self) -> bool {
        matches!(self.verdict, ContentsVerdict::Equal)
    }

    /// Whether the sides differ although row versions show no change since the last run.
    pub fn is_unexplained(&self) -> bool {
        match &self.verdict {
            ContentsVerdict::Differing(difference) => difference.is_unexplained,
            ContentsVerdict::Equal
            | ContentsVerdict::Unsettled
            | ContentsVerdict::Incomparable
            | ContentsVerdict::Unfound => false,
        }
    }
}

/// What a comparison of contents found.
#[derive(Clone, Debug)]
pub enum ContentsVerdict {
    /// Both sides hold the same rows.
    Equal,
    /// The sides differ.
    Differing(ContentsDifference),
    /// The digests differed, but the search for the differing rows then found both sides equal.
    Unsettled,
    /// The sides cannot be compared, usually because a remote value cannot be converted to the type of the local
    /// column.
    Incomparable,
    /// The sides differ, but it could not be found out where, usually because of a time limit.
    Unfound,
}

/// Where the contents of both sides differ.
#[derive(Clone, Debug)]
pub struct ContentsDifference {
    /// The rows that a sync must compare value by value.
    pub rows: RowsToCompare,
    /// How many meters differ; `None` if they are too many to be counted.
    pub meters: Option<i64>,
    /// Whether all rows of both sides have the versions at which the last run found both sides equal, so that no change
    /// since then explains the difference. If a run ends during the comparison, this may be wrong. `false` if versions
    /// prove nothing (for a view, for instance).
    pub is_unexplained: bool,
    /// The local table as the watermark names it.
    pub local_table: String,
}

/// Compares the rows of both sides by their number and two sums, and if they differ, finds the rows that do. The seeds
/// are those of the hashes of the rows, and of the hashes of these hashes.
pub(in crate::engine) async fn compare_contents(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    seeds: [u64; 2],
) -> Result<ContentsComparison, SyncError> {
    let sides = &FromClausesOfBothSides::of(run).await?;
    let Some(totals) = sum(remote, run, sides, seeds).await? else {
        return Ok(ContentsComparison {
            verdict: ContentsVerdict::Incomparable,
            digests: None,
        });
    };
    let verdict = match totals.equal_rows() {
        Some(_) => ContentsVerdict::Equal,
        None => find_difference(remote, run, sides, &totals).await?,
    };
    Ok(ContentsComparison {
        verdict,
        digests: Some(ContentsDigests::of(&totals, seeds)),
    })
}

/// Computes the totals of both sides; `None` if one side cannot compute its total because of a row.
async fn sum(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    sides: &FromClausesOfBothSides,
    [seed, second_seed]: [u64; 2],
) -> Result<Option<TotalsOfBothSides>, DbError> {
    let (relations, bits) = (run.relations, run.job.hash_bits);
    let query = TotalsQuery {
        doing: "compare the contents",
        rows: sides,
        hash: |mode, row| HashedColumns::Rows.hash(Hasher { seed, bits, mode }, relations, row),
        second_seed: Some(second_seed),
        is_unknown_after: DbError::is_about_a_row,
    };
    totals::sum(remote, run, &query, HashMode::USUAL).await
}

/// Finds the rows that differ, after the totals of the sides were found to differ.
async fn find_difference(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    sides: &FromClausesOfBothSides,
    totals: &TotalsOfBothSides,
) -> Result<ContentsVerdict, SyncError> {
    let query = BucketQuery {
        what: HashedColumns::Rows,
        rows: sides,
        count: totals.here.rows(),
        mode: totals.mode,
    };
    let (rows, meters) = match find_differing_buckets::compare(remote, run, &query).await? {
        DigestVerdict::Equal(_) => return Ok(ContentsVerdict::Unsettled),
        DigestVerdict::DifferingBuckets(differing) => {
            let selection = find_differing_rows::narrow(remote, run, &differing).await?;
            let meters = find_differing_rows::count(remote, run, &differing).await?;
            let rows = selection.map_or(RowsToCompare::Everything, RowsToCompare::Also);
            (rows, meters)
        }
        DigestVerdict::Unclear => (RowsToCompare::Everything, None),
        DigestVerdict::Unknown => return Ok(ContentsVerdict::Unfound),
    };
    Ok(ContentsVerdict::Differing(ContentsDifference {
        rows,
        meters,
        is_unexplained: have_versions_of_the_watermark(remote, run).await?,
        local_table: run.relations.local.clone(),
    }))
}

/// Whether all rows of both sides have the versions that the last run stored when both sides were equal.
async fn have_versions_of_the_watermark(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
) -> Result<bool, DbError> {
    let (relations, scope) = (run.relations, run.scope);
    let stored = row_versions::stored(run).await?;
    let Some(watermark) = stored.and_then(|stored| stored.watermark) else {
        return Ok(false);
    };
    let there = version_sums::total(remote, "r", &relations.remote_from, &scope.remote_filter);
    let here = version_sums::total(run.local, "l", &relations.local, &scope.local_filter);
    let (Some(there), Some(here)) = both(there, here).await? else {
        return Ok(false);
    };
    let now = PerSide {
        remote: there.versions,
        local: here.versions,
    };
    Ok(watermark.totals == now)
}
