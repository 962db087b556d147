//! Sums the hashes of keys by bucket, in the same scan that sums the row versions.
//!
//! If only remote rows have changed since the last run, the new versions are read. What they do not show is which local
//! meters the remote no longer has. The sums of the buckets show it (`find_missing_rows`). If few rows are new, the
//! scan also lists their places, so that they are read without another scan.
//!
//! The sums cost half of what the versions cost, because reading the rows takes most of the time.

use tokio_postgres::SimpleQueryRow;

use crate::db::count_writes::WriteCounts;
use crate::db::{DbError, Local, Remote, Tx, both, quote};
use crate::engine::RunContext;
use crate::store::watermarks::Watermark;

use super::bucket_sum_cursor::{
    self, BucketSumCursor, BucketSumQuery, CHUNKS_AT_A_TIME, FetchedBuckets, RowHashTotal,
};
use super::buckets::Bucketing;
use super::compare_sums;
use super::hashed_key::HashedKey;
use super::row_hash::{HashMode, RowSide};
use super::totals::TotalsComparison;
use super::version_hash::{self, VersionTotal, row_version};
use super::{find_differing_buckets, is_remembered_as_gone};

/// How many places of new rows are listed at most. Each is sent to this process and back, in about 12 bytes.
const MOST_PLACES: i64 = 10_000;

/// About how many local rows are in the buckets with several missing rows, if all rows that were deleted are missing.
/// The remote is asked for all of them. More buckets would have fewer of these rows, but take longer to sum.
const ROWS_TO_ASK_FOR: i64 = 300;

/// The totals of the sums by bucket, which an open cursor holds on each side.
#[derive(Debug)]
pub(super) struct KeyBuckets {
    buckets: Bucketing,
    there: RowHashTotal,
    here: RowHashTotal,
    /// SQL condition: whether the remote row `r` is new since the watermark.
    is_new: String,
}

/// The buckets in which the keys of both sides differ.
#[derive(Debug)]
pub(in crate::engine) struct KeyDifferences {
    buckets: Bucketing,
    /// These buckets, in ascending order.
    pub(in crate::engine) differing: Vec<KeyDifference>,
    /// How many rows the tenant has on the remote.
    pub(in crate::engine) remote_rows: i64,
    /// How many rows with a key the tenant has in the local table, without those remembered as gone.
    pub(in crate::engine) local_rows: i64,
}

/// A bucket in which the keys of both sides differ.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct KeyDifference {
    /// The number of the bucket.
    pub(in crate::engine) n: u32,
    /// The exclusive or of the hashes of those keys that only one side has.
    pub(in crate::engine) hash: i64,
    /// The exclusive or of these keys if they are integers, and else 0.
    pub(in crate::engine) key: i64,
}

/// Sums the versions and the keys of both sides. `writes` is how often rows of the remote table were written since
/// the watermark `known`. Returns `None`, with no cursor open, if they cannot be summed.
pub(super) async fn sum(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    known: &Watermark,
    writes: WriteCounts,
) -> Result<Option<([VersionTotal; 2], KeyBuckets)>, DbError> {
    let hasher = find_differing_buckets::hasher(run.job, HashMode::USUAL);
    let rows = known.totals.local.0;
    // Of `d` missing rows, about `d * d / (2 * b)` of `b` buckets have two. Such a bucket has `rows / b` rows.
    let spread = (rows / (2 * ROWS_TO_ASK_FOR)).isqrt().max(1);
    let most = match writes.written > rows / 2 {
        // The writes are those of other tenants, or so many that all rows are read.
        true => 0,
        false => writes.deleted.max(0).saturating_mul(spread),
    };
    let buckets = Bucketing::for_differences(most, rows, hasher);
    let new = version_hash::is_new("r", known.horizon);
    let lists_places = writes.written <= MOST_PLACES;
    let there = there(run, buckets, lists_places.then_some(&new));
    let here = here(run, buckets);
    let (there, here) = tokio::join!(
        bucket_sum_cursor::open_with_versions(remote, &there),
        bucket_sum_cursor::open_with_versions(run.local, &here)
    );
    match (there?, here?) {
        (Some((there, versions_there, row)), Some((here, versions_here, _))) => {
            let places = places(&row).filter(|_| lists_places);
            let keys = KeyBuckets {
                buckets,
                there,
                here,
                is_new: places.unwrap_or(new),
            };
            Ok(Some(([versions_there, versions_here], keys)))
        }
        (Some(_), None) => bucket_sum_cursor::close(remote).await.map(|()| None),
        (None, Some(_)) => bucket_sum_cursor::close(run.local).await.map(|()| None),
        (None, None) => Ok(None),
    }
}

/// The index of the column with the places in the first row of the remote cursor.
const PLACES: usize = bucket_sum_cursor::AFTER_SUMS + VersionTotal::COLUMNS;

/// SQL condition: whether the row `r` is at one of the listed places; `None` if they were too many to be listed.
fn places(row: &SimpleQueryRow) -> Option<String> {
    let places = quote::literal(row.try_get(PLACES).ok()??);
    Some(format!(
        "r.ctid operator(pg_catalog.=) any ({places}::pg_catalog.tid[])"
    ))
}

/// Sums the remote rows. If `new` is given, also lists the places of those that meet this condition.
fn there(run: &RunContext<'_>, buckets: Bucketing, new: Option<&String>) -> BucketSumQuery {
    let (from, filter) = (&run.relations.remote_from, &run.scope.remote_filter);
    let place = new.map_or_else(String::new, |new| {
        format!(", case when {new} then r.ctid end as place")
    });
    let key = HashedKey::new(run);
    let integer = key.integer(RowSide::Remote);
    let rows = format!(
        "select {} as hash, {} as key, {} as version{place} from {from} r where {filter}",
        key.hash(RowSide::Remote),
        integer.as_deref().unwrap_or("0"),
        row_version("r")
    );
    let mut query = by_bucket(run, buckets, &rows, new.is_some());
    query.also.push(match new {
        Some(_) => format!(
            "(select case when pg_catalog.count(*) <= {MOST_PLACES} then coalesce(pg_catalog.array_agg(p.place), '{{}}')::text end \
             from buckets b cross join lateral pg_catalog.unnest(b.places) p (place))"
        ),
        None => "null::text".to_owned(),
    });
    query
}

/// Sums the local rows. Only the versions of rows without a key and of those remembered as gone are summed.
fn here(run: &RunContext<'_>, buckets: Bucketing) -> BucketSumQuery {
    let relations = run.relations;
    let key = HashedKey::new(run);
    let rows = format!(
        "select case when {} and not {} then {} end as hash, {} as key, {} as version from {} l where {}",
        relations.has_key("l"),
        is_remembered_as_gone(run),
        key.hash(RowSide::Local),
        key.integer(RowSide::Local).as_deref().unwrap_or("0"),
        row_version("l"),
        relations.local,
        run.scope.local_filter
    );
    by_bucket(run, buckets, &rows, false)
}

/// Groups rows by the hashes of their keys. Those without a hash are in the bucket with the number -1.
fn by_bucket(
    run: &RunContext<'_>,
    buckets: Bucketing,
    rows: &str,
    lists_places: bool,
) -> BucketSumQuery {
    let hasher = find_differing_buckets::hasher(run.job, HashMode::USUAL);
    let has_keys = HashedKey::new(run).integer(RowSide::Local).is_some();
    let key = match has_keys {
        true => ", pg_catalog.bit_xor(k.key) as key",
        false => "",
    };
    let places = match lists_places {
        true => ", pg_catalog.array_agg(k.place) filter (where k.place is not null) as places",
        false => "",
    };
    let buckets = format!(
        "select b.*, b.entry # {} as sum
    from (select coalesce({}, -1) as n, pg_catalog.count(*) as rows, coalesce(pg_catalog.bit_xor(k.hash), 0) as entry,
                 pg_catalog.bit_xor(k.version) as versions{key}{places}
          from ({rows} offset 0) k group by 1) b",
        hasher.pair("b.n", "b.rows"),
        buckets.number_of_hash("k.hash"),
    );
    let (sum, rows) = (
        "pg_catalog.bit_xor(b.versions)",
        "coalesce(pg_catalog.sum(b.rows), 0)::bigint",
    );
    BucketSumQuery {
        buckets,
        has_keys,
        also: VersionTotal::columns(sum, rows).to_vec(),
    }
}

impl KeyBuckets {
    /// SQL condition: whether the remote row `r` is new since the watermark.
    pub(super) fn is_new(&self) -> &str {
        &self.is_new
    }

    /// Compares the totals of both sides.
    pub(super) fn compare(&self) -> TotalsComparison {
        let (there, here) = (&self.there, &self.here);
        if there.probe != here.probe {
            return TotalsComparison::HashedDifferently;
        }
        match there.is_of_same_rows(here) {
            true => TotalsComparison::Equal(there.rows),
            false => TotalsComparison::Differing,
        }
    }

    /// Fetches the buckets that differ, and closes the cursors.
    pub(super) async fn differences(
        &self,
        remote: &Tx<'_, Remote>,
        local: &Tx<'_, Local>,
    ) -> Result<KeyDifferences, DbError> {
        let mut there = BucketSumCursor::opened(remote, self.there.clone());
        let mut here = BucketSumCursor::opened(local, self.here.clone());
        let (chunks_there, chunks_here) = both(there.chunks(), here.chunks()).await?;
        let mut differing = Vec::new();
        let chunks = compare_sums::unequal(&chunks_there, &chunks_here);
        let mut parts = chunks.chunks(CHUNKS_AT_A_TIME).peekable();
        while let Some(chunks) = parts.next() {
            let fetched = both(there.buckets(chunks), here.buckets(chunks));
            let (there, here) = match parts.peek() {
                Some(_) => fetched.await?,
                // The cursors are closed in the same round trip that fetches the last part.
                None => {
                    let (fetched, closed) = tokio::join!(fetched, close(remote, local));
                    let fetched = fetched?;
                    closed?;
                    fetched
                }
            };
            differing.extend(differences(&there, &here));
        }
        if chunks.is_empty() {
            close(remote, local).await?;
        }
        Ok(KeyDifferences {
            buckets: self.buckets,
            differing,
            remote_rows: self.there.rows,
            local_rows: self.here.rows,
        })
    }
}

/// Returns the buckets that differ.
fn differences(there: &FetchedBuckets, here: &FetchedBuckets) -> Vec<KeyDifference> {
    let keys = compare_sums::differences(&there.keys, &here.keys);
    let key = |n| {
        let found = keys.binary_search_by_key(&n, |(n, _)| *n).ok()?;
        keys.get(found).map(|(_, key)| *key)
    };
    let hashes = compare_sums::differences(&there.sums, &here.sums);
    let of = |(n, hash)| KeyDifference {
        n,
        hash,
        key: key(n).unwrap_or_default(),
    };
    hashes.into_iter().map(of).collect()
}

/// Closes the cursors of both sides.
pub(super) async fn close(remote: &Tx<'_, Remote>, local: &Tx<'_, Local>) -> Result<(), DbError> {
    both(
        bucket_sum_cursor::close(remote),
        bucket_sum_cursor::close(local),
    )
    .await?;
    Ok(())
}

impl KeyDifferences {
    /// Returns an `integer` expression in SQL for the number of the bucket of a key, whose hash is given as SQL.
    pub(in crate::engine) fn bucket(&self, hash: &str) -> String {
        self.buckets.number_of_hash(hash)
    }

    /// SQL condition: whether the bucket whose number is given as SQL is one of those that differ.
    pub(in crate::engine) fn is_differing(&self, number: &str) -> String {
        let numbers: Vec<u32> = self.differing.iter().map(|bucket| bucket.n).collect();
        self.is_in(&numbers, number)
    }

    /// SQL condition: whether the bucket whose number is given as SQL is one of `numbers`.
    pub(in crate::engine) fn is_in(&self, numbers: &[u32], number: &str) -> String {
        self.buckets.is_in(numbers)(number)
    }
}
