//! Compares which versions of rows each side holds with those it held when they were last found equal.
//!
//! Postgres never changes a row in place: an update writes a new version in another place (`ctid`), under
//! the transaction that made it (`xmin`)
//! (<https://www.postgresql.org/docs/current/ddl-system-columns.html>). So while a table is the same
//! file of the same running server, the set of visible pairs of place and transaction is the same
//! exactly when the rows are: once a version is visible its transaction has committed, and nothing
//! else will ever be written under its number within the next four billion.
//!
//! Where the set is another one, a mark tells which versions are new. It is not the newest transaction
//! seen, which would lose what was written early and committed late, but the oldest one that was still
//! running when the last run took its snapshot
//! (<https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT>): what is visible
//! now and older than that was visible then. It says nothing of rows that are gone; their keys do.
//!
//! This holds only under those conditions. After a restart, a crash, a restore or a failover (each starts a
//! server or its processes anew), after the table was rewritten or its columns changed, for views, queries, partitions,
//! row security, other storage, generated columns, types of one's own and for roles that may not read all columns, the
//! rows are compared by what they hold. So they are after a run that
//! rejected rows, or wrote to a table with triggers or rules, and where somebody else wrote to the local table.
//!
//! Of a set the sum of 64-bit hashes is compared, so a change goes unseen with a chance of 2^-64, until contents
//! are compared.
//!
//! What is remembered was always seen before the rows were compared, never after: whatever others or the run itself wrote
//! since then stands out as a difference in the next run, and is compared then.

use crate::db::{DbError, Local, Remote, Side, Tx, both};
use crate::sync::{Job, Shape};

use super::cursor::{SAVEPOINT, or_nothing};
use super::memory::{self, Both, Seen};

/// The versions that both sides hold, as they were before anything was compared.
#[derive(Debug)]
pub(in crate::sync) struct Versions<'s> {
    /// What has to stay as it is for the versions to tell anything.
    basis: &'s str,
    now: Seen,
    /// The transaction that the remote server will give out next.
    next: i64,
    /// When they were last found equal, on the same basis.
    known: Option<Seen>,
}

/// What the versions tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing changed; the remote holds so many meters.
    Same(i64),
    /// The local table is as it was; the remote has versions that are new since this transaction.
    Since(i64),
}

/// Marks and transactions are told apart within this distance.
const FARTHEST: i64 = 1 << 31;

impl<'s> Versions<'s> {
    /// Reads the versions of both sides; `None` where they prove nothing.
    pub(in crate::sync) async fn read(
        remote: &Tx<'_, Remote>,
        local: &Tx<'_, Local>,
        shape: &'s Shape,
        job: &Job<'_>,
    ) -> Result<Option<Self>, DbError> {
        let Some(basis) = &shape.versions else {
            return Ok(None);
        };
        let known = memory::seen(local, shape, job, basis).await?;
        let (there, here) = both(
            total(remote, "r", (&shape.remote_from, &shape.remote_filter)),
            total(local, "l", (&shape.local, &shape.local_filter)),
        )
        .await?;
        let (Some(there), Some(here)) = (there, here) else {
            return Ok(None);
        };
        Ok(Some(Self {
            basis,
            now: Seen {
                totals: Both {
                    remote: there.versions,
                    local: here.versions,
                },
                horizon: there.horizon,
            },
            next: there.next,
            known,
        }))
    }

    /// How many meters of the tenant the local table holds.
    pub(super) fn local_rows(&self) -> i64 {
        self.now.totals.local.0
    }

    /// Where the sides can differ, if they were known to be equal before.
    pub(super) fn tell(&self) -> Option<Told> {
        let known = self.known.as_ref()?;
        if known.totals == self.now.totals {
            return Some(Told::Same(self.now.totals.remote.0));
        }
        let is_ours_alone = known.totals.local == self.now.totals.local;
        let is_near = (0..FARTHEST).contains(&(self.next - known.horizon));
        (is_ours_alone && is_near).then_some(Told::Since(known.horizon))
    }

    /// Keeps them for the next run, after the sides were made equal. `written` is how many rows a plan
    /// changed; where the local table may keep something else, they are not known to be equal.
    pub(super) async fn remember(
        mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
        written: i64,
    ) -> Result<(), DbError> {
        let is_same = matches!(self.tell(), Some(Told::Same(_)));
        // Where everything was compared, they may have proved nothing.
        if written > 0 && (is_same || !shape.keeps_what_is_written) {
            return memory::forget(local, shape, job).await;
        }
        if is_same {
            return Ok(());
        }
        if written > 0 {
            let (inserted, changed) = written_since(local, shape).await?;
            self.now.totals.local.0 += inserted;
            self.now.totals.local.1 ^= changed;
        }
        memory::keep(local, shape, job, (self.basis, &self.now)).await
    }

    /// Keeps them for the next run, after so many rows were copied into a table that had none.
    pub(super) async fn remember_load(
        mut self,
        local: &Tx<'_, Local>,
        shape: &Shape,
        job: &Job<'_>,
        loaded: i64,
    ) -> Result<(), DbError> {
        // With more rows than were copied, one is somebody else's.
        let here = total(local, "l", (&shape.local, &shape.local_filter)).await?;
        let Some(here) = here.filter(|here| here.versions.0 == loaded) else {
            return Ok(());
        };
        self.now.totals.local = here.versions;
        memory::keep(local, shape, job, (self.basis, &self.now)).await
    }
}

/// The versions that a side holds.
struct Total {
    /// How many, and the exclusive or of their hashes.
    versions: (i64, i64),
    horizon: i64,
    next: i64,
}

async fn total<S: Side>(
    tx: &Tx<'_, S>,
    row: &str,
    (from, filter): (&str, &str),
) -> Result<Option<Total>, DbError> {
    let version = version(&format!("{row}.ctid"), &format!("{row}.xmin"));
    let sql = format!(
        "-- sum up the versions
savepoint {SAVEPOINT};
select pg_catalog.count(*), coalesce(pg_catalog.bit_xor({version}), 0),
       pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()), pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
from {from} {row} where {filter};
release savepoint {SAVEPOINT}"
    );
    let found = or_nothing(tx, tx.simple(&sql).await).await?;
    let number = |n| found.as_ref()?.first()?.get(n)?.parse().ok();
    let total = || {
        Some(Total {
            versions: (number(0)?, number(1)?),
            horizon: number(2)?,
            next: number(3)?,
        })
    };
    Ok(total())
}

/// The new versions of the rows in the plan instead of the old ones: how many are inserted, and what makes
/// the sum of the old versions that of the new ones. That is not the same as reading the table once more:
/// what others wrote meanwhile was not compared.
async fn written_since(local: &Tx<'_, Local>, shape: &Shape) -> Result<(i64, i64), DbError> {
    let Shape {
        local: table,
        local_filter,
        ..
    } = shape;
    let same_key = shape.same_key("l", "p");
    let new = version("l.ctid", "l.xmin");
    let old = version("p.place", "p.version");
    let sql = format!(
        "-- look up the versions written
select pg_catalog.count(*) filter (where p.place is null), coalesce(pg_catalog.bit_xor({new} # coalesce({old}, 0)), 0)
from pg_temp.meter_sync_plan p
join {table} l on {same_key} and {local_filter}"
    );
    let found = local.query_one(&sql, &[]).await?;
    Ok((found.get(0), found.get(1)))
}

/// A `bigint` expression: the hash of a place and a transaction. A transaction's number is had
/// as its distance from the first there was, since `age` counts back from one that moves on.
fn version(place: &str, transaction: &str) -> String {
    format!(
        "pg_catalog.hashtidextended({place}, \
         ((select pg_catalog.age('3'::xid)::bigint) - pg_catalog.age({transaction})) & 4294967295)"
    )
}

/// Holds for the remote rows `r` whose version may be new since the transaction: for some more, where it was a
/// long time ago.
pub(super) fn is_new(since: i64) -> String {
    let number = since & 0xffff_ffff;
    format!("pg_catalog.age(r.xmin) <= (select pg_catalog.age('{number}'::xid))")
}
