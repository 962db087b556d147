//! Finds the buckets (groups of rows) in which the sides differ. Each server sums hashes of its own rows, or only of
//! their keys, for each bucket. Both servers work at the same time.
//!
//! Two different rows count as equal if their hashes collide, with a probability of about 2^-64 per row. Each run uses
//! another seed, so rows that collide once do not collide again. In addition, contents are compared by two hashes from
//! time to time (`compare_contents`).

use crate::db::{DbError, Local, Remote, Tx, both};
use crate::engine::{Relations, RunContext, SyncError, SyncJob};

use super::bucket_sum_cursor::{self, BucketSumCursor, BucketSumQuery, CHUNKS_AT_A_TIME};
use super::buckets::{Bucketing, DifferingBuckets};
use super::row_hash::{HashFunction, HashMode, HashedColumns, Hasher, RowSide};
use super::totals::FromClausesOfBothSides;
use super::{DigestVerdict, compare_sums};

/// What to compare by buckets, and how.
pub(super) struct BucketQuery<'a> {
    /// The columns to compare.
    pub(super) what: HashedColumns,
    pub(super) rows: &'a FromClausesOfBothSides,
    /// The approximate number of local rows, which decides how many buckets are used.
    pub(super) count: i64,
    /// The way to hash that is tried first.
    pub(super) mode: HashMode,
}

/// Finds the buckets in which the rows differ between the sides.
pub(super) async fn compare(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    query: &BucketQuery<'_>,
) -> Result<DigestVerdict, SyncError> {
    let relations = run.relations;
    let (what, mut mode) = (query.what, query.mode);
    loop {
        let hasher = hasher(run.job, mode);
        let buckets = Bucketing::of(query.count, hasher);
        let summed = |row, rows| {
            let bucket = buckets.number(relations, row);
            let hash = what.hash(hasher, relations, row);
            BucketSumQuery::new(&bucket, &hash, rows, hasher)
        };
        let there = summed(RowSide::Remote, &query.rows.there);
        let here = summed(RowSide::Local, &query.rows.here);
        let opened = bucket_sum_cursor::open_both(
            BucketSumCursor::open(remote, &there),
            BucketSumCursor::open(run.local, &here),
        );
        match opened.await? {
            Some((there, here))
                if mode.function == HashFunction::Server
                    && there.total.probe != here.total.probe =>
            {
                mode.function = HashFunction::Portable;
                both(there.close(), here.close()).await?;
            }
            Some((there, here)) => {
                return Ok(differing(buckets, what, relations, there, here).await?);
            }
            None if mode.casts && relations.has_one_text_a_key => mode.casts = false,
            None => return Ok(DigestVerdict::Unknown),
        }
    }
}

/// Returns the hasher for the run of this job. Its seed is the random half of the run's ID.
pub(super) fn hasher(job: &SyncJob<'_>, mode: HashMode) -> Hasher {
    Hasher {
        // The second half of a UUIDv7 is random.
        seed: job.run_id.as_uuid().as_u64_pair().1,
        bits: job.hash_bits,
        mode,
    }
}

async fn differing(
    buckets: Bucketing,
    what: HashedColumns,
    relations: &Relations,
    mut there: BucketSumCursor<'_, '_, Remote>,
    mut here: BucketSumCursor<'_, '_, Local>,
) -> Result<DigestVerdict, DbError> {
    let remote_rows = there.total.rows;
    if there.total.is_of_same_rows(&here.total) {
        both(there.close(), here.close()).await?;
        return Ok(DigestVerdict::Equal(remote_rows));
    }
    let (chunks_there, chunks_here) = both(there.chunks(), here.chunks()).await?;
    let mut numbers = Vec::new();
    for chunks in compare_sums::unequal(&chunks_there, &chunks_here).chunks(CHUNKS_AT_A_TIME) {
        let (there, here) = both(there.buckets(chunks), here.buckets(chunks)).await?;
        numbers.extend(compare_sums::unequal(&there.sums, &here.sums));
    }
    both(there.close(), here.close()).await?;
    // If equal keys may be spelt differently, one meter may lie in different buckets on the two sides. If the totals
    // differ but no bucket does, the differences of several buckets have cancelled each other out.
    if !relations.has_exact_key || numbers.is_empty() {
        return Ok(DigestVerdict::Unclear);
    }
    Ok(DigestVerdict::DifferingBuckets(DifferingBuckets {
        what,
        buckets,
        numbers,
        remote_rows,
    }))
}
