//! The sums of one side, behind a cursor of its transaction.
//!
//! One statement sums every row once and keeps the sums of buckets, chunks and all behind a cursor; what is
//! not fetched does not travel.

use tokio_postgres::SimpleQueryRow;

use crate::db::{DbError, Side, Tx};

use super::image::PROBE;
use super::sums::{self, CHUNK, Sums};

/// Opens one on each side at once; `None`, with nothing open, if one of them cannot be.
pub(super) async fn open_both<'t, 'c, 'u, 'd, R: Side, L: Side>(
    there: impl Future<Output = Result<Option<Cursor<'t, 'c, R>>, DbError>>,
    here: impl Future<Output = Result<Option<Cursor<'u, 'd, L>>, DbError>>,
) -> Result<Option<(Cursor<'t, 'c, R>, Cursor<'u, 'd, L>)>, DbError>
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

pub(super) const SAVEPOINT: &str = "meter_sync_digest";
/// Sorting rows for the groups, which the planner would do where it takes an expression of a unique
/// column for unique, costs more than all the hashing. The memory is enough for the most buckets there are.
pub(super) const GROUP_BY_HASH: &str = "set local enable_sort = off; set local work_mem = '16MB'";
/// Ends [`GROUP_BY_HASH`].
pub(super) const GROUP_AS_USUAL: &str = "set local enable_sort to default";

/// What a digest fails on that reading the rows does not: it is undone, and there is nothing.
///
/// That is a value that cannot be what it is to be, such as a text that is no number where the local column is
/// one; a function that an older server does not have; and a statement that takes longer than one may, where
/// a COPY may take as long as a run.
pub(super) async fn or_nothing<S: Side, T>(
    tx: &Tx<'_, S>,
    answered: Result<T, DbError>,
) -> Result<Option<T>, DbError> {
    match answered {
        Err(error) if error.is_about_a_row() || error.is_too_much_to_compute() => {
            tx.back_to(SAVEPOINT).await?;
            Ok(None)
        }
        answered => answered.map(Some),
    }
}

/// The totals of a side.
#[derive(Clone, Debug)]
pub(super) struct Total {
    pub(super) rows: i64,
    pub(super) sum: i64,
    /// Equal where the servers hash alike (see [`PROBE`]).
    pub(super) probe: String,
}

impl Total {
    fn of(row: &SimpleQueryRow) -> Option<Self> {
        Some(Self {
            rows: row.get(0)?.parse().ok()?,
            sum: row.get(1)?.parse().ok()?,
            probe: row.get(2)?.to_owned(),
        })
    }

    /// Whether both hold the same, if they hash alike.
    pub(super) fn is_of_same_rows(&self, other: &Self) -> bool {
        (self.rows, self.sum) == (other.rows, other.sum)
    }
}

/// What is summed up, as SQL over the rows of a side.
pub(super) struct Summed {
    /// The number of a row's bucket.
    pub(super) bucket: String,
    /// The hash of a row.
    pub(super) hash: String,
    /// What goes into the sum of bucket `b.n` for its number of rows `b.rows`.
    pub(super) number: String,
    /// Where the rows are.
    pub(super) rows: String,
}

/// The sums of one side, behind its cursor.
pub(super) struct Cursor<'t, 'c, S> {
    pub(super) tx: &'t Tx<'c, S>,
    pub(super) total: Total,
    /// The chunks, in the order in which the cursor gives them.
    order: Vec<u32>,
    /// How many of them it has passed.
    passed: usize,
}

/// The column of the cursor that holds sums.
const SUMS: usize = 3;

/// How many chunks are fetched at a time; their sums take 200 kilobytes on the way.
pub(super) const CHUNKS_AT_A_TIME: usize = 128;

impl<'t, 'c, S: Side> Cursor<'t, 'c, S> {
    /// Sums the rows by bucket. `None` where [`or_nothing`] says so; nothing is open then.
    pub(super) async fn open(tx: &'t Tx<'c, S>, summed: &Summed) -> Result<Option<Self>, DbError> {
        let answered = tx.simple(&statement(summed)).await;
        let Some(rows) = or_nothing(tx, answered).await? else {
            return Ok(None);
        };
        let Some(total) = rows.first().and_then(Total::of) else {
            tx.back_to(SAVEPOINT).await?;
            return Ok(None);
        };
        Ok(Some(Self {
            tx,
            total,
            order: Vec::new(),
            passed: 0,
        }))
    }

    /// The sums of all chunks.
    pub(super) async fn chunks(&mut self) -> Result<Sums, DbError> {
        let sql = "-- compare the chunks\nfetch 1 from meter_sync_digest";
        let rows = self.tx.simple(sql).await?;
        let chunks = sums::read(rows.iter().filter_map(|row| row.get(SUMS)));
        self.order = chunks.iter().map(|(n, _)| *n).collect();
        Ok(chunks)
    }

    /// The sums of the buckets in some chunks; these are in order, and come after those asked for
    /// before.
    pub(super) async fn buckets(&mut self, chunks: &[u32]) -> Result<Sums, DbError> {
        let mut sql = "-- compare the buckets\n".to_owned();
        let mut is_any = false;
        for (place, chunk) in self.order.iter().enumerate().skip(self.passed) {
            if chunks.binary_search(chunk).is_err() {
                continue;
            }
            if place > self.passed {
                sql += &format!("move {} from meter_sync_digest; ", place - self.passed);
            }
            sql += "fetch 1 from meter_sync_digest; ";
            self.passed = place + 1;
            is_any = true;
        }
        if !is_any {
            return Ok(Sums::new());
        }
        let rows = self.tx.simple(&sql).await?;
        Ok(sums::read(rows.iter().filter_map(|row| row.get(SUMS))))
    }

    /// Closes it, and keeps what was done meanwhile.
    pub(super) async fn close(self) -> Result<(), DbError> {
        let sql = format!(
            "-- close the digest\nclose meter_sync_digest; {GROUP_AS_USUAL}; \
             release savepoint {SAVEPOINT}"
        );
        self.tx.batch(&sql).await
    }
}

// Behind `offset 0` the planner does not take the number of a bucket for as many as there are keys, for which it would make a
// table of many times the size.
fn statement(summed: &Summed) -> String {
    let Summed {
        bucket,
        hash,
        number,
        rows,
    } = summed;
    format!(
        "-- compare the meters
savepoint {SAVEPOINT};
{GROUP_BY_HASH};
declare meter_sync_digest no scroll cursor for
with buckets as materialized (
    select b.n, b.rows, b.sum # {number} as sum
    from (select k.n, pg_catalog.count(*) as rows, pg_catalog.bit_xor(k.hash) as sum
          from (select {bucket} as n, {hash} as hash from {rows} offset 0) k group by 1) b
), chunks as materialized (
    select n / {CHUNK} as n, pg_catalog.bit_xor(sum) as sum,
           pg_catalog.string_agg(pg_catalog.int4send(n) || pg_catalog.int8send(sum), '') as sums
    from buckets group by 1
)
select coalesce(pg_catalog.sum(b.rows), 0)::bigint, coalesce(pg_catalog.bit_xor(b.sum), 0), {PROBE}, null::bytea from buckets b
union all
select null, null, null, pg_catalog.string_agg(pg_catalog.int4send(n) || pg_catalog.int8send(sum), '' order by n) from chunks
union all
select null, null, null, sums from (select sums from chunks order by n) c;
fetch 1 from meter_sync_digest"
    )
}
