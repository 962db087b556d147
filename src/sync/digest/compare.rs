//! Compares what the rows hold, or which keys there are: each server hashes its own rows, both at once.
//!
//! Rows whose hashes meet are the risk, of about 2^-64 a row. Each run hashes with another seed, so
//! two rows that meet once do not meet again; and now and then contents are compared by two hashes (`contents`).

use crate::db::catalog::Column;
use crate::db::{DbError, Local, Remote, Tx, both};
use crate::sync::{Job, Shape, SyncError};

use super::buckets::{Buckets, Differing};
use super::cursor::{self, CHUNKS_AT_A_TIME, Cursor, Summed};
use super::image::{HashFunction, HashMode, Hasher, Row};
use super::{Found, gone, sums};

/// What of the rows is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// All that is synced.
    Rows,
    /// Their keys.
    Keys,
}

impl What {
    /// The hash of a row.
    pub(super) fn hash(self, hasher: Hasher, shape: &Shape, row: Row) -> String {
        let is_in = |column: &Column| match self {
            Self::Rows => true,
            Self::Keys => shape.key.contains(&column.name),
        };
        hasher.hash(shape, row, is_in)
    }
}

/// Compares both sides, of which the local one has about `rows` rows.
pub(super) async fn compare(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (what, rows): (What, i64),
) -> Result<Found, SyncError> {
    let there_rows = format!("{} r where {}", shape.remote_from, shape.remote_filter);
    let here_rows = local_rows(local, shape, job).await?;
    let mut mode = HashMode::USUAL;
    loop {
        let hasher = hasher(job, mode);
        let buckets = Buckets::of(rows, hasher);
        let summed = |row, rows: &str| Summed {
            bucket: buckets.number(shape, row),
            hash: what.hash(hasher, shape, row),
            // Rows that are given twice cancel out; their number does not.
            number: hasher.pair("b.n", "b.rows"),
            rows: rows.to_owned(),
        };
        let there = summed(Row::Remote, &there_rows);
        let here = summed(Row::Local, &here_rows);
        let opened = cursor::open_both(Cursor::open(remote, &there), Cursor::open(local, &here));
        match opened.await? {
            Some((there, here))
                if mode.function == HashFunction::Server
                    && there.total.probe != here.total.probe =>
            {
                mode.function = HashFunction::Portable;
                both(there.close(), here.close()).await?;
            }
            Some((there, here)) => {
                return Ok(differing((buckets, what), shape, there, here).await?);
            }
            None if mode.casts && shape.has_one_text_a_key => mode.casts = false,
            None => return Ok(Found::Unknown),
        }
    }
}

/// How rows are hashed in the job's run.
pub(super) fn hasher(job: &Job<'_>, mode: HashMode) -> Hasher {
    Hasher {
        // The second half of a UUIDv7 is random.
        seed: job.run_id.as_uuid().as_u64_pair().1,
        bits: job.hash_bits,
        mode,
    }
}

async fn differing(
    (buckets, what): (Buckets, What),
    shape: &Shape,
    mut there: Cursor<'_, '_, Remote>,
    mut here: Cursor<'_, '_, Local>,
) -> Result<Found, DbError> {
    let remote_rows = there.total.rows;
    if there.total.is_of_same_rows(&here.total) {
        both(there.close(), here.close()).await?;
        return Ok(Found::Equal(remote_rows));
    }
    let (chunks_there, chunks_here) = both(there.chunks(), here.chunks()).await?;
    let mut numbers = Vec::new();
    for chunks in sums::unequal(&chunks_there, &chunks_here).chunks(CHUNKS_AT_A_TIME) {
        let (there, here) = both(there.buckets(chunks), here.buckets(chunks)).await?;
        numbers.extend(sums::unequal(&there, &here));
    }
    both(there.close(), here.close()).await?;
    // Keys that are equal and not the same may lie in different buckets, and be one meter. Where the totals
    // differ and no bucket does, chunks of several buckets have cancelled out.
    if !shape.has_exact_key || numbers.is_empty() {
        return Ok(Found::Unclear);
    }
    Ok(Found::Differing(Differing {
        what,
        buckets,
        numbers,
        remote_rows,
    }))
}

/// The local rows that a remote row could answer to. A row without a key is no meter that the remote
/// could name.
pub(super) async fn local_rows(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<String, DbError> {
    let (table, filter, has_key) = (&shape.local, &shape.local_filter, shape.has_key("l"));
    let rows = format!("{table} l where {filter} and {has_key}");
    Ok(match gone::is_known(local, shape, job).await? {
        true => format!("{rows} and not {}", gone::condition(shape, job)),
        false => rows,
    })
}
