//! Finds which rows of the buckets differ, so that their neighbours need not travel.
//!
//! Both sides list their rows in these buckets, each by a tag of its key and the hash of what it holds; what
//! one lists and the other does not is in rows of that tag. A row with the key of another is found with it, so
//! keys that the remote gives twice come together.

use std::pin::pin;

use crate::db::{DbError, Local, Remote, Side, Tx, both};
use crate::sync::{Extent, Job, Shape, SyncError};

use super::buckets::Differing;
use super::compare;
use super::cursor::{GROUP_AS_USUAL, GROUP_BY_HASH, SAVEPOINT, or_nothing};
use super::image::Row;
use super::sums::{self, Sums};

/// Of so few buckets the rows are read at once, since asking twice takes longer: over a long line, which is taken
/// for a thin one, by the round trip; over a short one by the work of looking through the table once more.
const FEW_BUCKETS: usize = 16;
const FEW_BUCKETS_NEAR: usize = 1024;
/// The most rows that are listed: their entries take some megabytes.
const MOST_LISTED: i64 = 200_000;

/// The rows that differ, or all in the buckets where that is the shorter way; `None` where all rows are to be
/// read.
pub(super) async fn narrow(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    differing: &Differing,
) -> Result<Option<Extent>, SyncError> {
    let Some(extent) = differing.extent(shape) else {
        return Ok(None);
    };
    let few = match remote.is_near() {
        true => FEW_BUCKETS_NEAR,
        false => FEW_BUCKETS,
    };
    if differing.numbers.len() <= few || differing.rows() > MOST_LISTED {
        return Ok(Some(extent));
    }
    let sql = |row| statement(shape, job, differing, (&extent, row));
    let (there, here) = (sql(Row::Remote), sql(Row::Local));
    let (there, here) = both(list(remote, &there), list(local, &here)).await?;
    let (Some(there), Some(here)) = (there, here) else {
        return Ok(Some(extent));
    };
    let tags = sums::unmatched(&there, &here);
    let tags: Vec<String> = tags
        .iter()
        .map(|tag| tag.cast_signed().to_string())
        .collect();
    let tags = tags.join(",");
    Ok(Some(differing.pick(|row| {
        let tag = differing.buckets.tag(shape, row);
        format!(
            "{tag} operator(pg_catalog.=) any (select pg_catalog.unnest('{{{tags}}}'::integer[]))"
        )
    })))
}

/// Into how many groups the entries are put, so that they come in pieces of some kilobytes.
const GROUPS: u32 = 256;

fn statement(
    shape: &Shape,
    job: &Job<'_>,
    differing: &Differing,
    (extent, row): (&Extent, Row),
) -> String {
    let (from, filter, within) = match row {
        Row::Remote => (
            format!("{} r", shape.remote_from),
            &shape.remote_filter,
            &extent.remote,
        ),
        Row::Local => (
            format!("{} l", shape.local),
            &shape.local_filter,
            &extent.local,
        ),
    };
    let tag = differing.buckets.tag(shape, row);
    let hasher = compare::hasher(job, differing.buckets.mode());
    let hash = differing.what.hash(hasher, shape, row);
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

/// The entries that a statement lists, in order; `None` if a value cannot be what it is to be, with that
/// undone.
async fn list<S: Side>(tx: &Tx<'_, S>, sql: &str) -> Result<Option<Sums>, DbError> {
    tx.batch(&format!(
        "-- begin to compare the rows\nsavepoint {SAVEPOINT}; {GROUP_BY_HASH}"
    ))
    .await?;
    let Some(listed) = or_nothing(tx, entries(tx, sql).await).await? else {
        return Ok(None);
    };
    tx.batch(&format!(
        "-- end comparing the rows\n{GROUP_AS_USUAL}; release savepoint {SAVEPOINT}"
    ))
    .await?;
    Ok(listed)
}

async fn entries<S: Side>(tx: &Tx<'_, S>, sql: &str) -> Result<Option<Sums>, DbError> {
    let mut pieces = pin!(tx.copy_out(sql).await?);
    let mut entries = Sums::new();
    let mut digits = 0;
    while let Some(piece) = tx.next(&mut pieces, "compare the rows").await? {
        let text = str::from_utf8(&piece).unwrap_or_default().trim_end();
        digits += text.len();
        entries.extend(sums::read([text]));
    }
    entries.sort_unstable();
    // An entry that could not be read would pass for one that no side has.
    let are_whole = entries.len() * sums::ENTRY_DIGITS == digits;
    Ok(are_whole.then_some(entries))
}
