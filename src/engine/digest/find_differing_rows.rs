//! Finds which rows differ in the buckets (groups of rows) whose sums of hashes differ, so that the other rows of these
//! buckets need not be read.
//!
//! Each side lists the rows in these buckets. An entry of the list is a tag, which is made from the row's key, and a
//! hash of the row's contents. If one side lists an entry that the other does not, the rows with this tag differ. Rows
//! with the same key have the same tag, so all remote rows of a duplicate key are found.

use std::pin::pin;

use crate::db::{DbError, Remote, Side, Tx, both};
use crate::engine::{RowSelection, RunContext, SyncError};
use crate::model::saturating_i64;

use super::bucket_sum_cursor::grouped_by_hash;
use super::buckets::DifferingBuckets;
use super::compare_sums::{self, NumberedSums};
use super::find_differing_buckets;
use super::row_hash::RowSide;

/// If the remote is distant and at most this many buckets differ, all rows of these buckets are read. Otherwise, the
/// rows that differ are first found from a list of hashes, which takes another round trip. The number is small, because
/// a distant remote is assumed to have a low bandwidth, which reading whole buckets would use up.
const FEW_BUCKETS: usize = 16;
/// The same limit as [`FEW_BUCKETS`], for a near remote. It is larger, because with enough bandwidth reading whole
/// buckets costs less than another scan of the table.
const FEW_BUCKETS_NEAR: usize = 1024;
/// If the differing buckets have more rows than this, all these rows are read. A list of their hashes, to find the rows
/// that differ first, would take some megabytes.
const MOST_LISTED: i64 = 200_000;

/// Finds the rows that differ within the differing buckets. Returns a selection of:
/// - the rows that differ;
/// - all rows in these buckets, if looking for those that differ would take longer or fails.
///
/// Returns `None` if all rows of the table must be read.
pub(super) async fn narrow(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    differing: &DifferingBuckets,
) -> Result<Option<RowSelection>, SyncError> {
    let Some(selection) = differing.selection(run.relations) else {
        return Ok(None);
    };
    let few = match remote.is_near() {
        true => FEW_BUCKETS_NEAR,
        false => FEW_BUCKETS,
    };
    if differing.numbers.len() <= few || differing.rows() > MOST_LISTED {
        return Ok(Some(selection));
    }
    let Some(tags) = list_differing(remote, run, differing, &selection).await? else {
        return Ok(Some(selection));
    };
    let tags: Vec<String> = tags
        .iter()
        .map(|tag| tag.cast_signed().to_string())
        .collect();
    let tags = tags.join(",");
    Ok(Some(differing.pick(|row| {
        let tag = differing.buckets.tag(run.relations, row);
        format!(
            "{tag} operator(pg_catalog.=) any (select pg_catalog.unnest('{{{tags}}}'::integer[]))"
        )
    })))
}

/// Counts the meters that differ within the differing buckets. Returns `None` if they are too many, or if a server
/// cannot list them. Two meters count as one if their keys have the same tag by chance.
pub(super) async fn count(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    differing: &DifferingBuckets,
) -> Result<Option<i64>, SyncError> {
    let selection = differing.selection(run.relations);
    let Some(selection) = selection.filter(|_| differing.rows() <= MOST_LISTED) else {
        return Ok(None);
    };
    let tags = list_differing(remote, run, differing, &selection).await?;
    Ok(tags.map(|tags| saturating_i64(tags.len())))
}

/// Lists the tags of the rows that differ among those that `selection` selects. Returns `None` if a server cannot list
/// them.
async fn list_differing(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    differing: &DifferingBuckets,
    selection: &RowSelection,
) -> Result<Option<Vec<u32>>, SyncError> {
    let sql = |row| statement(run, differing, selection, row);
    let (there, here) = (sql(RowSide::Remote), sql(RowSide::Local));
    let (there, here) = both(list(remote, &there), list(run.local, &here)).await?;
    let listed = there.zip(here);
    Ok(listed.map(|(there, here)| compare_sums::unmatched(&there, &here)))
}

/// In how many rows COPY sends the list of row hashes. Each of these rows takes some kilobytes.
const GROUPS: u32 = 256;

fn statement(
    run: &RunContext<'_>,
    differing: &DifferingBuckets,
    selection: &RowSelection,
    row: RowSide,
) -> String {
    let relations = run.relations;
    let (from, filter, within) = match row {
        RowSide::Remote => (
            format!("{} r", relations.remote_from),
            &run.scope.remote_filter,
            &selection.remote,
        ),
        RowSide::Local => (
            format!("{} l", relations.local),
            &run.scope.local_filter,
            &selection.local,
        ),
    };
    let tag = differing.buckets.tag(relations, row);
    let hasher = find_differing_buckets::hasher(run.job, differing.buckets.mode());
    let hash = differing.what.hash(hasher, relations, row);
    format!(
        "-- compare the rows
copy (
    select pg_catalog.encode(pg_catalog.string_agg(pg_catalog.int4send(t.tag) || pg_catalog.int8send(t.hash), ''), 'hex')
    from (select {tag} as tag, {hash} as hash from {from} where {filter} and {within}) t
    group by t.tag & {}
) to stdout",
        GROUPS - 1
    )
}

/// Runs a statement that lists the tags and hashes of rows, and returns them in ascending order. Returns `None` if the
/// server cannot compute them (see [`grouped_by_hash`]) or an entry cannot be read.
async fn list<S: Side>(tx: &Tx<'_, S>, sql: &str) -> Result<Option<NumberedSums>, DbError> {
    let listed = grouped_by_hash(tx, entries(tx, sql));
    Ok(listed.await?.flatten())
}

async fn entries<S: Side>(tx: &Tx<'_, S>, sql: &str) -> Result<Option<NumberedSums>, DbError> {
    let mut pieces = pin!(tx.copy_out(sql).await?);
    let mut entries = NumberedSums::new();
    let mut digits = 0;
    while let Some(piece) = tx.next(&mut pieces, "compare the rows").await? {
        let text = str::from_utf8(&piece).unwrap_or_default().trim_end();
        digits += text.len();
        entries.extend(compare_sums::parse([text]));
    }
    entries.sort_unstable();
    // An entry that could not be read would look like one that this side does not have.
    let are_whole = entries.len() * compare_sums::ENTRY_DIGITS == digits;
    Ok(are_whole.then_some(entries))
}
