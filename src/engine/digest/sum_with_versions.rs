//! Sums the row versions of both sides, and in the same scan what may be needed next:
//!
//! - the keys, by bucket, if the remote table was written to since the watermark: they show which meters are gone
//!   (`key_buckets`). They cost half of what the versions cost, so they are not summed for nothing;
//! - one total of the keys, if it is not known whether the table was written to: it shows whether any meter is gone;
//! - the contents of all rows, if the watermark cannot be used, usually because a server was restarted.

use crate::db::count_writes::WriteCounts;
use crate::db::{DbError, Remote, Tx, both};
use crate::engine::{RowsToCompare, RunContext};
use crate::store::watermarks::{StoredWatermark, Watermark};

use super::key_buckets::{self, KeyBuckets};
use super::row_hash::{HashFunction, HashMode, HashedColumns, RowSide};
use super::totals::{Total, TotalsComparison};
use super::version_hash::VersionTotal;
use super::version_sums::total_with;
use super::{find_differing_buckets, is_remembered_as_gone};

/// The versions of both sides, and what was summed with them.
pub(super) struct SummedVersions {
    pub(super) there: VersionTotal,
    pub(super) here: VersionTotal,
    /// What the totals of keys or of contents show; `None` if they were not summed.
    pub(super) totals: Option<(HashedColumns, TotalsComparison)>,
    /// The keys by bucket, with an open cursor on each side; `None` if they were not summed.
    pub(super) keys: Option<KeyBuckets>,
}

/// Sums the versions. `stored` is the watermark of the last run. Returns `None` if they cannot be summed.
pub(super) async fn sum(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    stored: Option<&StoredWatermark>,
) -> Result<Option<SummedVersions>, DbError> {
    let stored = stored.filter(|_| matches!(run.job.compare, RowsToCompare::Differences));
    let known = stored.and_then(|stored| stored.watermark.as_ref());
    let may_sum_keys = run.relations.has_key_of_same_types();
    if let Some(known) = known.filter(|_| may_sum_keys)
        && let Some(writes) = writes_since(run, known)
        && let Some(([there, here], keys)) = key_buckets::sum(remote, run, known, writes).await?
    {
        return Ok(Some(SummedVersions {
            there,
            here,
            totals: None,
            keys: Some(keys),
        }));
    }
    let also = match (known, run.relations.remote_writes) {
        (None, _) => stored.map(|_| HashedColumns::Rows),
        (Some(known), Some(_)) if known.remote_writes.is_some() => None,
        (Some(_), _) => may_sum_keys.then_some(HashedColumns::Keys),
    };
    let (relations, scope) = (run.relations, run.scope);
    let total = |row| also.map(|what| total(run, what, row));
    let there = format!("{} r where {}", relations.remote_from, scope.remote_filter);
    let here = format!("{} l where {}", relations.local, scope.local_filter);
    let (there, here) = both(
        total_with(remote, "r", there, total(RowSide::Remote)),
        total_with(run.local, "l", here, total(RowSide::Local)),
    )
    .await?;
    let (Some((there, total_there)), Some((here, total_here))) = (there, here) else {
        return Ok(None);
    };
    let totals = total_there.zip(total_here);
    let compared = totals.map(|(there, here)| there.compare(&here, HashFunction::Server));
    Ok(Some(SummedVersions {
        there,
        here,
        totals: also.zip(compared),
        keys: None,
    }))
}

/// How often rows of the remote table, of any tenant, were written since the watermark; `None` if none were, or if it is
/// not known.
fn writes_since(run: &RunContext<'_>, known: &Watermark) -> Option<WriteCounts> {
    let (now, known) = (run.relations.remote_writes?, known.remote_writes?);
    let writes = WriteCounts {
        written: now.written - known.written,
        deleted: now.deleted - known.deleted,
    };
    (writes.written > 0).then_some(writes)
}

/// SQL for the columns of the [`Total`] of these columns of one side.
fn total(run: &RunContext<'_>, what: HashedColumns, row: RowSide) -> String {
    let hasher = find_differing_buckets::hasher(run.job, HashMode::USUAL);
    let hash = what.hash(hasher, run.relations, row);
    let condition = match row {
        RowSide::Remote => None,
        RowSide::Local => Some(format!(
            "{} and not {}",
            run.relations.has_key("l"),
            is_remembered_as_gone(run)
        )),
    };
    Total::columns(&[hash], condition.as_deref())
}
