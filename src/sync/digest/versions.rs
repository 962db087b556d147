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
//! Proof ends where that sentence does. After a restart, a crash, a restore or a failover (each starts a
//! server or its processes anew), after the table was rewritten or its columns changed, for views, queries, partitions, other
//! storage and types of one's own, the rows are compared by what they hold. So they are after a run that set rows aside.
//!
//! What is remembered was always seen before the rows were compared, never after: whatever others or the run itself wrote
//! since then stands out as a difference in the next run, and is compared then.

use crate::db::{DbError, Local, Remote, Side, Tx};
use crate::sync::{Compare, Job, Shape, SyncError};

use super::Found;
use super::buckets::{Buckets, Differing};
use super::cursor::{self, CHUNKS_AT_A_TIME, Cursor, Summed, Total};
use super::image::{HashFunction, Hasher, Row};
use super::memory::{self, Both};
use super::sums::{self, CHUNK, Sums};

/// The versions that both sides hold, as they were before anything was compared.
#[derive(Debug)]
pub(in crate::sync) struct Versions {
    /// What has to stay as it is for the versions to tell anything.
    basis: String,
    buckets: Buckets,
    /// How many rows, and the sum of their versions.
    totals: Both<(i64, i64)>,
    /// Whether there was something to compare them with.
    is_known: bool,
    /// Whether they are as they were.
    is_same: bool,
    /// The buckets that are not as they were.
    differing: Vec<u32>,
}

impl Versions {
    /// Reads the versions of both sides; `None` where they prove nothing. But for a dry run, those that
    /// are not as they were are kept at once: what comes of the run decides whether for good.
    pub(super) async fn read(
        remote: &Tx<'_, Remote>,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
    ) -> Result<Option<Self>, SyncError> {
        let Some(basis) = &shape.versions else {
            return Ok(None);
        };
        let (there, here) = (version_of("r"), version_of("l"));
        let (there_rows, here_rows) = (rows(shape, Row::Remote), rows(shape, Row::Local));
        let (there, here) = tokio::try_join!(
            Total::read(remote, &there, &there_rows),
            Total::read(local, &here, &here_rows),
        )?;
        if there.probe != here.probe {
            return Ok(None);
        }
        let buckets = Buckets::of(here.rows, HASHER);
        let mut versions = Self {
            basis: format!("{basis} {} {}", buckets.count(), there.probe),
            buckets,
            totals: totals(&there, &here),
            is_known: false,
            is_same: false,
            differing: Vec::new(),
        };
        let known = memory::totals(local, shape, job, &versions.basis).await?;
        versions.is_known = known.is_some();
        versions.is_same = known.as_ref() == Some(&versions.totals);
        if versions.is_same || job.dry_run && !versions.is_known {
            return Ok(Some(versions));
        }
        let opened = cursor::both(
            open(remote, buckets, shape, Row::Remote),
            open(local, buckets, shape, Row::Local),
        );
        let Some((mut there, mut here)) = opened.await? else {
            return Ok(None);
        };
        versions.totals = totals(&there.total, &here.total);
        versions.compare(&mut there, &mut here, shape, job).await?;
        tokio::try_join!(there.close(), here.close())?;
        Ok(Some(versions))
    }

    async fn compare(
        &mut self,
        there: &mut Cursor<'_, '_, Remote>,
        here: &mut Cursor<'_, '_, Local>,
        shape: &Shape,
        job: &Job<'_>,
    ) -> Result<(), DbError> {
        let local = here.tx;
        if !self.is_known {
            memory::forget(local, shape, job).await?;
        }
        let known = memory::chunks(local, shape, job).await?;
        let (chunks_there, chunks_here) = tokio::try_join!(there.chunks(), here.chunks())?;
        let chunks = sums::union(
            sums::unequal(&chunks_there, &known.remote),
            sums::unequal(&chunks_here, &known.local),
        );
        for chunks in chunks.chunks(CHUNKS_AT_A_TIME) {
            let (remote, here) = tokio::try_join!(there.buckets(chunks), here.buckets(chunks))?;
            let now = Both {
                remote,
                local: here,
            };
            if self.is_known {
                let was = memory::sums(local, shape, job, chunks).await?;
                self.differing.extend(sums::union(
                    sums::unequal(&now.remote, &was.remote),
                    sums::unequal(&now.local, &was.local),
                ));
            }
            if !job.dry_run {
                memory::keep(local, shape, job, (chunks, &now)).await?;
            }
        }
        Ok(())
    }

    /// Whether there was something to compare them with.
    pub(super) fn is_known(&self) -> bool {
        self.is_known
    }

    /// How many rows the local table holds of the tenant.
    pub(super) fn local_rows(&self) -> i64 {
        self.totals.local.0
    }

    /// Where the sides can differ, if they were known to be equal before. Told once.
    pub(super) fn tell(&mut self) -> Option<Found> {
        let remote_rows = self.totals.remote.0;
        if !self.is_known {
            return None;
        }
        if self.is_same || self.differing.is_empty() {
            return Some(Found::Equal(remote_rows));
        }
        Some(Found::Differing(Differing {
            buckets: self.buckets,
            numbers: std::mem::take(&mut self.differing),
            remote_rows,
        }))
    }

    /// Keeps them for good: where they differed the rows have been compared since. `written` is how many
    /// rows a plan changed.
    pub(super) async fn remember(
        &mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
        written: i64,
    ) -> Result<(), DbError> {
        // Differences where there were none to be, or too many to follow: begin anew with what the rows
        // hold.
        let is_surprise = self.is_known && job.compare == Compare::Everything;
        if written > MOST_FOLLOWED || written > 0 && is_surprise {
            return memory::forget(local, shape, job).await;
        }
        if self.is_same {
            return Ok(());
        }
        if written > 0 {
            self.add_what_was_written(local, shape, job).await?;
        }
        memory::keep_totals(local, shape, job, (&self.basis, &self.totals)).await
    }

    /// Puts the new versions of the rows in the plan in the place of the old ones. That is not the same
    /// as reading the table once more: what others wrote meanwhile was not compared.
    async fn add_what_was_written(
        &mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
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
group by 1 order by 1"
        );
        let mut written = Sums::new();
        for row in local.query(&sql, &[]).await? {
            let (n, inserted, sum): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
            written.push((u32::try_from(n).unwrap_or_default(), sum));
            self.totals.local.0 += inserted;
            self.totals.local.1 ^= sum;
        }
        let chunks = sums::union(written.iter().map(|(n, _)| n / CHUNK).collect(), Vec::new());
        for chunks in chunks.chunks(CHUNKS_AT_A_TIME) {
            let mut sums = memory::sums(local, shape, job, chunks).await?;
            for chunk in chunks {
                sums.local = sums::added(&sums.local, sums::in_chunk(&written, *chunk));
            }
            memory::keep(local, shape, job, (chunks, &sums)).await?;
        }
        Ok(())
    }
}

/// Of so many written rows the new versions are looked up; they take some megabytes at most.
const MOST_FOLLOWED: i64 = 20_000;

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
    let summed = Summed {
        bucket: buckets.number(shape, row),
        hash: match row {
            Row::Remote => version_of("r"),
            Row::Local => version_of("l"),
        },
        // No two rows of a table are of the same version.
        besides: "0".to_owned(),
        rows: rows(shape, row),
    };
    Cursor::open(tx, &summed).await
}

fn totals(there: &Total, here: &Total) -> Both<(i64, i64)> {
    Both {
        remote: (there.rows, there.sum),
        local: (here.rows, here.sum),
    }
}

/// The tenant's rows of a side.
fn rows(shape: &Shape, row: Row) -> String {
    match row {
        Row::Remote => format!("{} r where {}", shape.remote_from, shape.remote_filter),
        Row::Local => format!("{} l where {}", shape.local, shape.local_filter),
    }
}

fn version_of(row: &str) -> String {
    version(&format!("{row}.ctid"), &format!("{row}.xmin"))
}

/// A `bigint` expression: the hash of a place and a transaction. A transaction's number is had
/// as its distance from the first there was, since `age` counts back from one that moves on.
fn version(place: &str, transaction: &str) -> String {
    format!(
        "hashtidextended({place}, \
         ((select age('3'::xid)::bigint) - age({transaction})) & 4294967295)"
    )
}
