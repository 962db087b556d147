//! The sums of one side, behind a cursor of its transaction.
//!
//! One statement sums every row once and keeps the sums of buckets, chunks and all behind a cursor; what is
//! not fetched does not travel.

use std::collections::BTreeMap;

use crate::db::{DbError, Side, Tx};

use super::buckets::CHUNK;
use super::image::PROBE;

/// Opens one on each side at once; `None`, with nothing open, if one of them cannot be.
pub(super) async fn both<'t, 'c, 'u, 'd, R: Side, L: Side>(
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

const SAVEPOINT: &str = "meter_sync_digest";
/// Enough for [`MOST_BUCKETS`].
const WORK_MEM: &str = "16MB";

/// The totals of a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) rows: i64,
    pub(super) sum: i64,
    /// Equal where the servers hash alike (see [`PROBE`]).
    pub(super) probe: String,
}

/// The sums of one side, behind its cursor.
pub(super) struct Cursor<'t, 'c, S> {
    pub(super) tx: &'t Tx<'c, S>,
    pub(super) total: Total,
    /// The chunks, in the order in which the cursor gives them.
    order: Vec<u32>,
}

impl<'t, 'c, S: Side> Cursor<'t, 'c, S> {
    /// Sums the rows that `rows` gives to `from`, by bucket. `None` if a value in them cannot be
    /// what it is to be, such as a text that is no number where the local column is one; nothing is open then.
    pub(super) async fn open(
        tx: &'t Tx<'c, S>,
        bucket_and_hash: (String, String),
        rows: &str,
    ) -> Result<Option<Self>, DbError> {
        let answered = tx.simple(&statement(bucket_and_hash, rows)).await;
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) if error.is_about_a_row() => {
                tx.back_to(SAVEPOINT).await?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let text = |n| {
            answer
                .first()
                .and_then(|row| row.get(n))
                .unwrap_or_default()
        };
        Ok(Some(Self {
            tx,
            total: Total {
                rows: text(0).parse().unwrap_or_default(),
                sum: text(1).parse().unwrap_or_default(),
                probe: text(2).to_owned(),
            },
            order: Vec::new(),
        }))
    }

    /// The sums of all chunks.
    pub(super) async fn chunks(&mut self) -> Result<Sums, DbError> {
        let sql = "-- compare the chunks\nfetch 1 from meter_sync_digest";
        let rows = self.tx.simple(sql).await?;
        let chunks = sums(rows.iter().filter_map(|row| row.get(3)));
        self.order = chunks.keys().copied().collect();
        Ok(chunks)
    }

    /// The sums of the buckets in these chunks, which are in order.
    pub(super) async fn buckets(&mut self, chunks: &[u32]) -> Result<Sums, DbError> {
        if chunks.is_empty() {
            return Ok(Sums::new());
        }
        let mut sql = "-- compare the buckets\n".to_owned();
        let mut passed = 0;
        for (n, _) in (0_usize..)
            .zip(&self.order)
            .filter(|(_, chunk)| chunks.binary_search(chunk).is_ok())
        {
            if n > passed {
                sql += &format!("move {} from meter_sync_digest; ", n - passed);
            }
            sql += "fetch 1 from meter_sync_digest; ";
            passed = n + 1;
        }
        let rows = self.tx.simple(&sql).await?;
        Ok(sums(rows.iter().filter_map(|row| row.get(3))))
    }

    /// Undoes what opening it did to the transaction.
    pub(super) async fn close(self) -> Result<(), DbError> {
        self.tx.back_to(SAVEPOINT).await
    }
}

/// Sorting rows for the groups, which the planner would do where it takes an expression of a unique
/// column for unique, costs more than all the hashing.
fn statement((bucket, hash): (String, String), rows: &str) -> String {
    format!(
        "-- compare the meters
savepoint {SAVEPOINT};
set local enable_sort = off;
set local work_mem = '{WORK_MEM}';
declare meter_sync_digest no scroll cursor for
with buckets as materialized (
    select {bucket} as n, count(*) as rows, bit_xor({hash}) as sum from {rows} group by 1
), chunks as materialized (
    select n / {CHUNK} as n, bit_xor(sum) as sum,
           string_agg(int4send(n) || int8send(sum), '') as sums
    from buckets group by 1
)
select coalesce(sum(rows), 0)::bigint, coalesce(bit_xor(sum), 0), {PROBE}, null::bytea from buckets
union all
select null, null, null, string_agg(int4send(n) || int8send(sum), '' order by n) from chunks
union all
select null, null, null, sums from (select sums from chunks order by n) c;
fetch 1 from meter_sync_digest"
    )
}

/// How many bytes a number and its sum take.
const ENTRY: usize = 12;

/// Numbers and their sums, as `int4send(n) || int8send(sum)`, in hexadecimal digits after `\x`.
pub(super) fn sums<'a>(texts: impl Iterator<Item = &'a str>) -> Sums {
    let mut sums = Sums::new();
    for text in texts {
        let digits = text.trim_start_matches("\\x").as_bytes();
        for entry in digits.chunks_exact(2 * ENTRY) {
            let (n, sum) = entry.split_at(8);
            let number = |digits| u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
            if let (Some(n), Some(sum)) = (number(n), number(sum)) {
                let sum = i64::from_ne_bytes(sum.to_ne_bytes());
                sums.insert(u32::try_from(n).unwrap_or(u32::MAX), sum);
            }
        }
    }
    sums
}

/// Sums by number; what is not there is 0.
pub(super) type Sums = BTreeMap<u32, i64>;

/// The numbers whose sums differ, in order.
pub(super) fn unequal(a: &Sums, b: &Sums) -> Vec<u32> {
    let sum = |sums: &Sums, n| sums.get(&n).copied().unwrap_or_default();
    let mut all: Vec<u32> = a.keys().chain(b.keys()).copied().collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|&n| sum(a, n) != sum(b, n));
    all
}
