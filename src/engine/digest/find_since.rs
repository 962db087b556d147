//! Finds which rows can differ if only the remote has changed since the last run: the remote rows that are new by their
//! versions, and the rows whose key only one side has.

use crate::db::{Remote, Tx};
use crate::engine::{RowSelection, RunContext, SyncError};
use crate::model::CompareMethod;

use super::find_differing_buckets::{self, BucketQuery};
use super::key_buckets::KeyDifferences;
use super::row_hash::{HashMode, HashedColumns};
use super::row_versions::VersionsOfBothSides;
use super::totals::{FromClausesOfBothSides, TotalsComparison};
use super::{DigestVerdict, RowsThatMayDiffer, find_differing_rows, local_rows, version_hash};

/// How to find the remote rows that are new since the last run, and those that are missing since then.
#[derive(Debug)]
pub(in crate::engine) struct NewOrMissingRows {
    /// All new rows were written by this transaction or a later one.
    pub(in crate::engine) since: i64,
    /// SQL condition: whether the remote row `r` is new.
    pub(in crate::engine) is_new: String,
    /// The buckets in which rows are new or missing.
    pub(in crate::engine) keys: KeyDifferences,
}

/// Finds which rows can differ if only the remote has changed, since the transaction `since`: the new remote rows, and
/// the rows whose key only one side has.
pub(super) async fn find_since(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    versions: Option<&VersionsOfBothSides<'_>>,
    since: i64,
) -> Result<(RowsThatMayDiffer, CompareMethod), SyncError> {
    let keys = versions.and_then(VersionsOfBothSides::keys);
    let compared = match keys {
        Some(keys) => Some(keys.compare()),
        None => versions.and_then(|versions| versions.totals_of(HashedColumns::Keys)),
    };
    let is_new = keys.map_or_else(
        || version_hash::is_new("r", since),
        |keys| keys.is_new().to_owned(),
    );
    let mode = match (compared, keys) {
        (Some(TotalsComparison::Equal(rows)), _) => {
            let selection = RowSelection {
                remote: is_new,
                has_same_keys: true,
                ..RowSelection::nothing(rows)
            };
            return Ok((
                RowsThatMayDiffer::Within(selection),
                CompareMethod::Differences,
            ));
        }
        (Some(TotalsComparison::Differing), Some(keys)) => {
            let keys = keys.differences(remote, run.local).await?;
            let found = NewOrMissingRows {
                since,
                is_new,
                keys,
            };
            return Ok((
                RowsThatMayDiffer::NewOrMissing(found),
                CompareMethod::Differences,
            ));
        }
        (Some(TotalsComparison::HashedDifferently), _) => HashMode::PORTABLE,
        (Some(TotalsComparison::Differing) | None, _) => HashMode::USUAL,
    };
    let selection = find_by_keys(remote, run, local_rows(run, versions), since, mode).await?;
    Ok(match selection {
        Some(selection) => (
            RowsThatMayDiffer::Within(selection),
            CompareMethod::Differences,
        ),
        None => (RowsThatMayDiffer::Unclear, CompareMethod::Everything),
    })
}

/// Selects the rows whose key only one side has, and the remote rows that were written by the transaction `since` or a
/// later one. `count` is the approximate number of local rows. Returns `None` if all rows must be read.
pub(in crate::engine) async fn find_by_keys(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    count: i64,
    since: i64,
    mode: HashMode,
) -> Result<Option<RowSelection>, SyncError> {
    let query = BucketQuery {
        what: HashedColumns::Keys,
        rows: &FromClausesOfBothSides::of(run).await?,
        count,
        mode,
    };
    let selection = match find_differing_buckets::compare(remote, run, &query).await? {
        DigestVerdict::Equal(rows) => Some(RowSelection {
            has_same_keys: true,
            ..RowSelection::nothing(rows)
        }),
        DigestVerdict::DifferingBuckets(differing) => {
            find_differing_rows::narrow(remote, run, &differing).await?
        }
        DigestVerdict::Unclear | DigestVerdict::Unknown => None,
    };
    Ok(selection.map(|selection| RowSelection {
        remote: format!(
            "({} or {})",
            selection.remote,
            version_hash::is_new("r", since)
        ),
        ..selection
    }))
}
