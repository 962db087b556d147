//! Reads the sums of the row hashes of one side through a cursor in the transaction of that side.
//!
//! One statement reads all rows and sums their hashes. The cursor then holds the total, the sums of all chunks of
//! buckets, and the sums of the buckets in each chunk. Only the parts that are fetched are sent.

use tokio_postgres::SimpleQueryRow;

use crate::db::{DbError, Side, Tx};

use super::compare_sums::{self, CHUNK, NumberedSums};
use super::row_hash::{Hasher, PROBE};
use super::version_hash::VersionTotal;

/// Opens a cursor on each side, both at the same time. If one of them cannot be opened, closes the other and returns
/// `None`.
pub(super) async fn open_both<'t, 'c, 'u, 'd, R: Side, L: Side>(
    there: impl Future<Output = Result<Option<BucketSumCursor<'t, 'c, R>>, DbError>>,
    here: impl Future<Output = Result<Option<BucketSumCursor<'u, 'd, L>>, DbError>>,
) -> Result<Option<(BucketSumCursor<'t, 'c, R>, BucketSumCursor<'u, 'd, L>)>, DbError>
where
    'c: 't,
    'd: 'u,
{
    let (there, here) = tokio::join!(there, here);
    match (there?, here?) {
        (Some(there), Some(here)) => return Ok(Some((there, here))),
        (Some(there), None) => there.close().await?,
        (None, Some(here)) => here.close().await?,
        (None, None) => {}
    }
    Ok(None)
}

pub(in crate::engine) const SAVEPOINT: &str = "meter_sync_digest";
/// Settings that make the server group rows by hashing instead of sorting. Without them, the planner may expect one
/// group for each row and choose to sort, which costs more than all the hashing. The memory is enough for the largest
/// number of buckets.
pub(in crate::engine) const GROUP_BY_HASH: &str =
    "set local enable_sort = off; set local work_mem = '16MB'";
/// Lets the planner sort again after [`GROUP_BY_HASH`].
pub(in crate::engine) const DEFAULT_GROUPING: &str = "set local enable_sort to default";

/// Runs `work` with the settings [`GROUP_BY_HASH`]. If it cannot be computed ([`DbError::is_not_computable`]), undoes
/// it and returns `None`. The settings are sent together with the savepoint, so they take no round trip of their own.
pub(in crate::engine) fn grouped_by_hash<S: Side, T>(
    tx: &Tx<'_, S>,
    work: impl Future<Output = Result<T, DbError>>,
) -> impl Future<Output = Result<Option<T>, DbError>> {
    // Boxed before another future wraps it, as in `Tx::attempt`.
    let work = Box::pin(work);
    async move {
        tx.batch(&format!(
            "-- begin to compare the rows\nsavepoint {SAVEPOINT}; {GROUP_BY_HASH}"
        ))
        .await?;
        let found = match work.await {
            Err(error) if error.is_not_computable() => {
                tx.back_to(SAVEPOINT).await?;
                return Ok(None);
            }
            worked => worked?,
        };
        tx.batch(&format!(
            "-- end comparing the rows\n{DEFAULT_GROUPING}; release savepoint {SAVEPOINT}"
        ))
        .await?;
        Ok(Some(found))
    }
}

/// The number of rows of one side, and the sum of their hashes.
#[derive(Clone, Debug)]
pub(super) struct RowHashTotal {
    pub(super) rows: i64,
    pub(super) sum: i64,
    /// The hashes of [`PROBE`]. They are equal on both sides if both servers compute hashes in the same way.
    pub(super) probe: String,
}

impl RowHashTotal {
    fn of(row: &SimpleQueryRow) -> Option<Self> {
        Some(Self {
            rows: row.get(0)?.parse().ok()?,
            sum: row.get(1)?.parse().ok()?,
            probe: row.get(2)?.to_owned(),
        })
    }

    /// Whether both sides have the same rows, if both servers compute hashes in the same way.
    pub(super) fn is_of_same_rows(&self, other: &Self) -> bool {
        (self.rows, self.sum) == (other.rows, other.sum)
    }
}

/// The SQL from which the sums of row hashes of one side are computed.
pub(super) struct BucketSumQuery {
    /// A query that returns a row for each bucket:
    ///
    /// - `n`: the number of the bucket. Negative numbers are only for rows that are not compared.
    /// - `rows`: how many rows are in the bucket.
    /// - `sum`: a sum of their hashes that also depends on `rows`, because two equal rows cancel each other out in an
    ///   exclusive or.
    /// - `entry`: the sum that is returned for this bucket.
    /// - `key`: the exclusive or of the keys, if they are integers and are to be returned for this bucket, too.
    pub(super) buckets: String,
    /// Whether `buckets` has the column `key`.
    pub(super) has_keys: bool,
    /// Further columns of the total, computed from the rows `b` of `buckets`.
    pub(super) also: Vec<String>,
}

impl BucketSumQuery {
    /// Sums the rows of the SQL `rows`, to follow the keyword `from`. The other arguments are the expressions for the
    /// number of a row's bucket, and for its hash.
    pub(super) fn new(bucket: &str, hash: &str, rows: &str, hasher: Hasher) -> Self {
        let sum = format!("b.hashes # {}", hasher.pair("b.n", "b.rows"));
        // Without `offset 0` the planner would expect as many buckets as there are keys, and make a hash table that is
        // many times too large.
        let buckets = format!(
            "select b.n, b.rows, {sum} as sum, {sum} as entry
    from (select k.n, pg_catalog.count(*) as rows, pg_catalog.bit_xor(k.hash) as hashes
          from (select {bucket} as n, {hash} as hash from {rows} offset 0) k group by 1) b"
        );
        Self {
            buckets,
            has_keys: false,
            also: Vec::new(),
        }
    }
}

/// An open cursor over the sums of the row hashes of one side.
pub(super) struct BucketSumCursor<'t, 'c, S> {
    pub(super) tx: &'t Tx<'c, S>,
    pub(super) total: RowHashTotal,
    /// The numbers of the chunks, in the order in which the cursor returns them.
    order: Vec<u32>,
    /// How many chunks the cursor has already fetched or skipped.
    passed: usize,
}

/// The sums of buckets that were fetched.
pub(super) struct FetchedBuckets {
    pub(super) sums: NumberedSums,
    /// The exclusive or of the keys of each bucket, if the query has them.
    pub(super) keys: NumberedSums,
}

/// The index of the column with the sums in the rows that the cursor returns.
const SUMS: usize = 3;
/// The index of the column with the keys.
const KEYS: usize = SUMS + 1;

/// How many chunks are fetched in one request. The sums of their buckets take 200 kilobytes of text.
pub(super) const CHUNKS_AT_A_TIME: usize = 128;

impl<'t, 'c, S: Side> BucketSumCursor<'t, 'c, S> {
    /// Sums the row hashes by bucket, opens a cursor over the sums and fetches the total. Returns `None`, with no
    /// cursor open, if the sums cannot be computed ([`DbError::is_not_computable`]), or if the total cannot be read.
    pub(super) async fn open(
        tx: &'t Tx<'c, S>,
        summed: &BucketSumQuery,
    ) -> Result<Option<Self>, DbError> {
        let total = |rows: Vec<SimpleQueryRow>| rows.first().and_then(RowHashTotal::of);
        let sql = statement(summed);
        let opened = tx.open_cursor(SAVEPOINT, "compare the meters", &sql, total);
        Ok(opened.await?.map(|total| Self::opened(tx, total)))
    }

    /// Takes over a cursor that is open, and of which only the total was fetched.
    pub(super) fn opened(tx: &'t Tx<'c, S>, total: RowHashTotal) -> Self {
        Self {
            tx,
            total,
            order: Vec::new(),
            passed: 0,
        }
    }

    /// Fetches the sum of each chunk, a group of buckets.
    pub(super) async fn chunks(&mut self) -> Result<NumberedSums, DbError> {
        let sql = "-- compare the chunks\nfetch 1 from meter_sync_digest";
        let rows = self.tx.simple(sql).await?;
        let chunks = compare_sums::parse(rows.iter().filter_map(|row| row.get(SUMS)));
        self.order = chunks.iter().map(|(n, _)| *n).collect();
        Ok(chunks)
    }

    /// Fetches the sums of the buckets in these chunks. The numbers of the chunks must be in ascending order and higher
    /// than those of earlier calls.
    pub(super) async fn buckets(&mut self, chunks: &[u32]) -> Result<FetchedBuckets, DbError> {
        let mut sql = "-- compare the buckets\n".to_owned();
        for (index, chunk) in self.order.iter().enumerate().skip(self.passed) {
            if chunks.binary_search(chunk).is_err() {
                continue;
            }
            if index > self.passed {
                sql += &format!("move {} from meter_sync_digest; ", index - self.passed);
            }
            sql += "fetch 1 from meter_sync_digest; ";
            self.passed = index + 1;
        }
        let rows = self.tx.simple(&sql).await?;
        let column = |n| compare_sums::parse(rows.iter().filter_map(|row| row.get(n)));
        Ok(FetchedBuckets {
            sums: column(SUMS),
            keys: column(KEYS),
        })
    }

    /// Closes the cursor, and releases its savepoint without a rollback.
    pub(super) async fn close(self) -> Result<(), DbError> {
        close(self.tx).await
    }
}

/// Closes the cursor that is open in the transaction, and releases its savepoint without a rollback.
pub(super) async fn close<S: Side>(tx: &Tx<'_, S>) -> Result<(), DbError> {
    let sql = format!(
        "-- close the digest\nclose meter_sync_digest; {DEFAULT_GROUPING}; release savepoint {SAVEPOINT}"
    );
    tx.batch(&sql).await
}

/// The index of the first further column in the first row of the cursor.
pub(super) const AFTER_SUMS: usize = KEYS + 1;

/// Like [`BucketSumCursor::open`], for a query whose further columns begin with those of a [`VersionTotal`]. Also
/// returns the whole first row. The cursor is later taken over by [`BucketSumCursor::opened`].
pub(super) async fn open_with_versions<S: Side>(
    tx: &Tx<'_, S>,
    summed: &BucketSumQuery,
) -> Result<Option<(RowHashTotal, VersionTotal, SimpleQueryRow)>, DbError> {
    let total = |rows: Vec<SimpleQueryRow>| {
        let first = rows.into_iter().next()?;
        let versions = VersionTotal::read(&first, AFTER_SUMS)?;
        Some((RowHashTotal::of(&first)?, versions, first))
    };
    tx.open_cursor(SAVEPOINT, "sum up the versions", &statement(summed), total)
        .await
}

fn statement(query: &BucketSumQuery) -> String {
    let BucketSumQuery {
        buckets,
        has_keys,
        also,
    } = query;
    let keys = match has_keys {
        true => "pg_catalog.string_agg(pg_catalog.int4send(n) || pg_catalog.int8send(key), '')",
        false => "null::bytea",
    };
    let total: String = also.iter().map(|column| format!(", {column}")).collect();
    let nulls = ", null".repeat(also.len());
    format!(
        "{GROUP_BY_HASH};
declare meter_sync_digest no scroll cursor for
with buckets as materialized (
    {buckets}
), chunks as materialized (
    select n / {CHUNK} as n, pg_catalog.bit_xor(sum) as sum,
           pg_catalog.string_agg(pg_catalog.int4send(n) || pg_catalog.int8send(entry), '') as sums, {keys} as keys
    from buckets where n >= 0 group by 1
)
select coalesce(pg_catalog.sum(b.rows) filter (where b.n >= 0), 0)::bigint,
       coalesce(pg_catalog.bit_xor(b.sum) filter (where b.n >= 0), 0), {PROBE}, null::bytea, null::bytea{total}
from buckets b
union all
select null, null, null, pg_catalog.string_agg(pg_catalog.int4send(n) || pg_catalog.int8send(sum), '' order by n), null{nulls}
from chunks
union all
select null, null, null, sums, keys{nulls} from (select sums, keys from chunks order by n) c;
fetch 1 from meter_sync_digest"
    )
}
