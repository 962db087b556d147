//! Sums hashes of rows or keys in the same scan that sums the row versions, so that they need no scan of their own.

use crate::engine::{RowsToCompare, RunContext};
use crate::store::watermarks::StoredWatermark;

use super::row_hash::{HashMode, HashedColumns, RowSide};
use super::totals::Total;
use super::{find_differing_buckets, is_remembered_as_gone};

/// Which hashes to sum in the scan that sums the versions:
///
/// - the keys, if there is a watermark: if only the remote rows have changed, these sums may show that no meter is gone.
///   They cost little, as long as no key needs a cast;
/// - the whole rows, if the watermark cannot be used, usually because a server was restarted.
pub(super) fn columns_summed(
    run: &RunContext<'_>,
    stored: Option<&StoredWatermark>,
) -> Option<HashedColumns> {
    let is_watermark_known = match (&run.job.compare, stored) {
        (RowsToCompare::Everything, _) | (_, None) => return None,
        (_, Some(stored)) => stored.watermark.is_some(),
    };
    match is_watermark_known {
        true => run
            .relations
            .has_key_of_same_types()
            .then_some(HashedColumns::Keys),
        false => Some(HashedColumns::Rows),
    }
}

/// SQL for the columns of the [`Total`] of one side, as part of the statement that sums its versions.
pub(super) fn total(run: &RunContext<'_>, what: HashedColumns, row: RowSide) -> String {
    let hasher = find_differing_buckets::hasher(run.job, HashMode::USUAL);
    let hash = match what {
        HashedColumns::Rows => what.hash(hasher, run.relations, row),
        HashedColumns::Keys => hasher.key(run.relations, row),
    };
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
