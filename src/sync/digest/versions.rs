//! Compares which versions of rows each side holds with those it held when they were last found equal.
//!
//! Postgres never changes a row in place: an update writes a new version in another place (`ctid`), under
//! the transaction that made it (`xmin`)
//! (<https://www.postgresql.org/docs/current/ddl-system-columns.html>). So while a table is the same
//! file of the same running server, the set of visible pairs of place and transaction is the same
//! exactly when the rows are: once a version is visible its transaction has committed, and nothing
//! else will ever be written under its number within the next four billion. Unlike a mark such as "newer than the last one seen" the
//! set also tells rows that are gone, and rows that were written early and committed late.
//!
//! Proof ends where that sentence does. After a restart, a restore or a failover (each starts a
//! server anew), after the table was rewritten or its columns changed, for views, queries, partitions, other
//! storage and types of one's own, the rows are compared by what they hold. So they are after a run that set rows aside.
//!
//! What is remembered was always seen before the rows were compared, never after: whatever others or the run itself wrote
//! since then stands out as a difference in the next run, and is compared then.

use crate::db::{DbError, Local, Remote, Side, Tx};
use crate::sync::{Compare, Job, Shape, SyncError};

use super::Difference;
use super::buckets::Buckets;
use super::cursor::{self, Cursor, Sums, unequal};
use super::image::{HashFunction, Hasher, Row};
use super::memory::{self, Both};

/// The versions that both sides hold, as they were before anything was compared.
#[derive(Debug)]
pub(in crate::sync) struct Versions {
    /// What has to stay as it is for the versions to tell anything.
    basis: String,
    buckets: Buckets,
    /// How many rows, and the sum of their versions.
    totals: Both<(i64, i64)>,
    /// Whether there is something to compare them with.
    is_known: bool,
    /// The buckets that are not as they were; all of them if that is not known.
    differing: Vec<u32>,
    /// The sums to remember: of all buckets in the chunks that differ.
    sums: Both<Sums>,
}

impl Versions {
    /// Reads the versions of both sides; `None` where they prove nothing.
    pub(super) async fn read(
        remote: &Tx<'_, Remote>,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
    ) -> Result<Option<Self>, SyncError> {
        let Some(basis) = &shape.versions else {
            return Ok(None);
        };
        let buckets = Buckets::of(shape, HASHER);
        let opened = cursor::both(
            open(remote, buckets, shape, Row::Remote),
            open(local, buckets, shape, Row::Local),
        );
        let Some((mut there, mut here)) = opened.await? else {
            return Ok(None);
        };
        if there.total.probe != here.total.probe {
            tokio::try_join!(there.close(), here.close())?;
            return Ok(None);
        }
        let mut versions = Self {
            basis: format!("{basis} {} {}", buckets.count(), there.total.probe),
            buckets,
            totals: Both {
                remote: (there.total.rows, there.total.sum),
                local: (here.total.rows, here.total.sum),
            },
            is_known: false,
            differing: Vec::new(),
            sums: Both::default(),
        };
        let known = memory::totals(local, shape, job, &versions.basis).await?;
        versions.is_known = known.is_some();
        if known.as_ref() != Some(&versions.totals) {
            versions.compare(&mut there, &mut here, shape, job).await?;
            there.close().await?;
        }
        here.close().await?;
        Ok(Some(versions))
    }

    async fn compare(
        &mut self,
        there: &mut Cursor<'_, '_, Remote>,
        here: &mut Cursor<'_, '_, Local>,
        shape: &Shape,
        job: &Job<'_>,
    ) -> Result<(), DbError> {
        let known = match self.is_known {
            true => memory::sums(here.tx, shape, job).await?,
            false => Both::default(),
        };
        let (chunks_there, chunks_here) = tokio::try_join!(there.chunks(), here.chunks())?;
        let mut chunks = unequal(&chunks_there, &chunks_of(&known.remote));
        chunks.extend(unequal(&chunks_here, &chunks_of(&known.local)));
        chunks.sort_unstable();
        chunks.dedup();
        let (remote, local) = tokio::try_join!(there.buckets(&chunks), here.buckets(&chunks))?;
        let is_in = |n: &u32| chunks.binary_search(&chunk_of(*n)).is_ok();
        let known = Both {
            remote: known.remote.into_iter().filter(|(n, _)| is_in(n)).collect(),
            local: known.local.into_iter().filter(|(n, _)| is_in(n)).collect(),
        };
        self.differing = unequal(&remote, &known.remote);
        self.differing.extend(unequal(&local, &known.local));
        self.differing.sort_unstable();
        self.differing.dedup();
        self.sums = Both { remote, local };
        Ok(())
    }

    /// Where the sides can differ, if they were known to be equal before.
    pub(super) fn difference(&self, shape: &Shape) -> Option<Difference> {
        let remote_rows = self.totals.remote.0;
        if !self.is_known {
            return None;
        }
        if self.differing.is_empty() {
            return Some(Difference::None(remote_rows));
        }
        let extent = self.buckets.extent(shape, &self.differing, remote_rows);
        Some(extent.map_or(Difference::Unclear, Difference::Within))
    }

    /// Puts the new versions of the rows in the plan in the place of the old ones, which is not the same as reading the table once
    /// more: what others wrote meanwhile was not compared.
    async fn add_what_was_written(
        &mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
    ) -> Result<(), DbError> {
        let Shape {
            local: table,
            local_filter,
            ..
        } = shape;
        let bucket = self.buckets.number(shape, Row::Local);
        let same_key = shape.same_key("l", "p");
        let new = version("l.ctid", "l.xmin");
        let old = version("p.\"meter_sync place\"", "p.\"meter_sync version\"");
        let sql = format!(
            "-- look up the versions written
select {bucket}, count(*) filter (where p.\"meter_sync place\" is null), bit_xor({new} # coalesce({old}, 0))
from pg_temp.meter_sync_plan p
join {table} l on {same_key} and {local_filter}
group by 1"
        );
        for row in local.query(&sql, &[]).await? {
            let (n, inserted, change): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let n = u32::try_from(n).unwrap_or_default();
            *self.sums.local.entry(n).or_default() ^= change;
            self.totals.local.0 += inserted;
            self.totals.local.1 ^= change;
        }
        Ok(())
    }

    /// Remembers them: where they differed the rows have been compared since. `is_planned` tells whether a
    /// plan was carried out.
    pub(super) async fn remember(
        &mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
        is_planned: bool,
    ) -> Result<(), DbError> {
        // What differs where nothing was to differ: begin anew with what the rows hold.
        if is_planned && self.is_known && job.compare == Compare::Everything {
            return memory::forget(local, shape, job).await;
        }
        if self.is_known && self.differing.is_empty() {
            return Ok(());
        }
        if is_planned {
            self.add_what_was_written(local, shape).await?;
        }
        if !self.is_known {
            memory::forget(local, shape, job).await?;
        }
        memory::keep(local, shape, job, (&self.basis, &self.totals, &self.sums)).await
    }
}

/// The same in every run: what is remembered is to be compared.
const HASHER: Hasher = Hasher {
    seed: 0,
    bits: 64,
    function: HashFunction::Server,
};

async fn open<'t, 'c, S: Side>(
    tx: &'t Tx<'c, S>,
    buckets: Buckets,
    shape: &Shape,
    row: Row,
) -> Result<Option<Cursor<'t, 'c, S>>, DbError> {
    let (name, from, filter) = match row {
        Row::Remote => ("r", &shape.remote_from, &shape.remote_filter),
        Row::Local => ("l", &shape.local, &shape.local_filter),
    };
    let version = version(&format!("{name}.ctid"), &format!("{name}.xmin"));
    let bucket = buckets.number(shape, row);
    let rows = format!("{from} {name} where {filter}");
    Cursor::open(tx, (bucket, version), &rows).await
}

/// A `bigint` expression: the hash of a place and a transaction. A transaction's number is had
/// as its distance from the first there was, since `age` counts back from one that moves on.
fn version(place: &str, transaction: &str) -> String {
    format!(
        "hashtidextended({place}, \
         ((select age('3'::xid)::bigint) - age({transaction})) & 4294967295)"
    )
}

fn chunk_of(bucket: u32) -> u32 {
    bucket / super::buckets::CHUNK
}

fn chunks_of(buckets: &Sums) -> Sums {
    let mut chunks = Sums::new();
    for (n, sum) in buckets {
        *chunks.entry(chunk_of(*n)).or_default() ^= sum;
    }
    chunks
}
