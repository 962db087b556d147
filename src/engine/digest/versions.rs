//! Finds out from row versions whether rows have changed since both sides were last found equal.
//!
//! Postgres never changes a row in place: an update writes a new version at another place (`ctid`), under the
//! transaction that made it (`xmin`) (<https://www.postgresql.org/docs/current/ddl-system-columns.html>). Each visible
//! row is therefore known by its pair of place and transaction. As long as a table is the same file of the same running
//! server, an unchanged set of these pairs proves that no row was written or deleted. This holds because the
//! transaction of a visible version has committed, and its number is not used again within the next four billion
//! transactions.
//!
//! When both sides are equal, a run stores their versions as a *watermark* for the next run. The watermark also has a
//! *horizon*: the oldest transaction that was still running on the remote when the run took its snapshot
//! (<https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT>). If the set of remote versions
//! has changed, the horizon tells which are new: a version that is visible now and was made by an older transaction was
//! also visible to that run. The newest transaction of the snapshot cannot be the horizon: rows of older transactions
//! that committed later would be missed. Versions do not show which rows were deleted. A comparison of keys shows it.
//!
//! In the following cases versions prove nothing, so contents are compared instead:
//! - after a restart, a crash, a restore or a failover, each of which starts a server or its processes anew;
//! - after the table was rewritten or its columns changed;
//! - for views, queries, partitions, row security, other storage, generated columns, user-defined types, and roles that
//!   may not read all columns;
//! - after a run that rejected rows, or that wrote to a table with triggers or rules;
//! - after somebody else wrote to the local table.
//!
//! Sets are compared by the sums of their 64-bit hashes. A change stays unseen with a probability of 2^-64, until
//! contents are compared (`compare_contents`).
//!
//! The stored versions are those that were read before the rows were compared, plus those that the plan wrote. Anything
//! else that was written later shows up as a difference in the next run, which then compares it.

use crate::db::{DbError, Remote, Side, Tx, both};

use super::sum_cursor::SAVEPOINT;
use crate::engine::RunContext;
use crate::store::watermarks::{self, PerSide, VersionSum, Watermark, WatermarkKey};

/// The row versions of both sides, read before the rows were compared.
#[derive(Debug)]
pub(in crate::engine) struct VersionsOfBothSides<'s> {
    /// A hash of the table files, settings and columns that the versions depend on. Only versions with the same hash
    /// can be compared.
    basis: &'s str,
    now: Watermark,
    /// One more than the number of the newest transaction that had ended on the remote (`pg_snapshot_xmax`).
    next: i64,
    /// The watermark: the versions stored when a run last found or made both sides equal. `None` if there is none with
    /// this `basis`.
    known: Option<Watermark>,
    /// Whether it is known from which remote database the mirror was last synced.
    is_remote_known: bool,
}

/// What the row versions tell about changes since both sides were last equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VersionVerdict {
    /// Nothing has changed on either side. Holds the number of remote meters.
    Same(i64),
    /// The local table is unchanged, but the remote has changed. Holds a transaction number: all new remote versions
    /// were made by this transaction or a later one.
    Since(i64),
}

/// Two transaction IDs must be closer together than this to tell which is older, because IDs wrap around at 2^32.
const FARTHEST: i64 = 1 << 31;

impl<'s> VersionsOfBothSides<'s> {
    /// Reads the row versions of both sides. Returns `None` if they cannot be read, or if they cannot show changes of
    /// these tables (of a view, for instance).
    pub(in crate::engine) async fn read(
        remote: &Tx<'_, Remote>,
        run: &RunContext<'s>,
    ) -> Result<Option<Self>, DbError> {
        let relations = run.relations;
        let Some(basis) = &relations.version_basis else {
            return Ok(None);
        };
        let (from, filter) = (&relations.remote_from, &run.scope.remote_filter);
        let here = async {
            let (tenant, table) = (run.job.tenant, &relations.local);
            let known = watermarks::read(run.local, tenant, table, basis).await?;
            let here = total(run.local, "l", table, &run.scope.local_filter).await?;
            Ok((known, here))
        };
        let (there, (known, here)) = both(total(remote, "r", from, filter), here).await?;
        let (known, is_remote_known) = known.unzip();
        let (Some(there), Some(here)) = (there, here) else {
            return Ok(None);
        };
        Ok(Some(Self {
            basis,
            now: Watermark {
                totals: PerSide {
                    remote: there.versions,
                    local: here.versions,
                },
                horizon: there.horizon,
            },
            next: there.next,
            known,
            is_remote_known: is_remote_known == Some(true),
        }))
    }

    /// The sum of the row versions of the tenant's remote rows.
    pub(in crate::engine) fn remote_sum(&self) -> i64 {
        self.now.totals.remote.1
    }

    /// Whether the remote is surely the same running server as when the watermark was stored, and it is known which
    /// database that is. Then its transaction numbers have not gone back.
    pub(in crate::engine) fn are_of_the_known_server(&self) -> bool {
        let known = self.known.as_ref();
        self.is_remote_known && known.is_some_and(|known| known.horizon <= self.next)
    }

    /// Whether the remote rows have the versions that the watermark has.
    pub(in crate::engine) fn has_same_remote_rows(&self) -> bool {
        let known = self.known.as_ref();
        known.is_some_and(|known| known.totals.remote == self.now.totals.remote)
    }

    /// Leaves the watermark unused, because the remote was taken back: rows that are new may have old versions.
    pub(in crate::engine) fn distrust(&mut self) {
        self.known = None;
    }

    /// How many meters of the tenant the local table has.
    pub(super) fn local_rows(&self) -> i64 {
        self.now.totals.local.0
    }

    /// Compares the row versions with the watermark, which has those of the last run. Returns `None` if there is no
    /// watermark, if the local table has changed, or if the remote has changed and the watermark is too old.
    pub(super) fn compare_with_watermark(&self) -> Option<VersionVerdict> {
        let known = self.known.as_ref()?;
        if known.totals == self.now.totals {
            return Some(VersionVerdict::Same(self.now.totals.remote.0));
        }
        let is_ours_alone = known.totals.local == self.now.totals.local;
        let is_near = (0..FARTHEST).contains(&(self.next - known.horizon));
        (is_ours_alone && is_near).then_some(VersionVerdict::Since(known.horizon))
    }

    /// Stores the row versions as the watermark for the next run, after the sides were made equal. `written` is the
    /// number of rows that the plan changed. In these cases, deletes the watermark instead:
    /// - the local table may have changed the values that were written to it, so the sides may not be equal;
    /// - rows were changed although the versions showed no change, so versions prove nothing.
    pub(super) async fn remember(
        mut self,
        run: &RunContext<'_>,
        written: i64,
    ) -> Result<(), DbError> {
        let is_same = matches!(self.compare_with_watermark(), Some(VersionVerdict::Same(_)));
        // If a full comparison changed rows although the versions showed no change, the versions are no proof.
        if written > 0 && (is_same || !run.relations.stores_rows_unchanged) {
            return watermarks::forget(run.local, run.job.tenant, &run.relations.local).await;
        }
        if is_same {
            return Ok(());
        }
        if written > 0 {
            let (inserted, changed) = written_since(run).await?;
            self.now.totals.local.0 += inserted;
            self.now.totals.local.1 ^= changed;
        }
        self.keep(run).await
    }

    async fn keep(self, run: &RunContext<'_>) -> Result<(), DbError> {
        let key = WatermarkKey {
            tenant: run.job.tenant.clone(),
            local_table: run.relations.local.clone(),
            basis: self.basis.to_owned(),
        };
        watermarks::keep(run.local, key, &self.now).await
    }

    /// Stores the row versions as the watermark for the next run, after `loaded` rows were inserted for a tenant that
    /// had no local rows. If the tenant does not have exactly `loaded` local rows now, another session wrote to the
    /// table, and nothing is stored.
    pub(super) async fn remember_load(
        mut self,
        run: &RunContext<'_>,
        loaded: i64,
    ) -> Result<(), DbError> {
        // If the numbers differ, another session wrote or deleted rows meanwhile.
        let here = total(
            run.local,
            "l",
            &run.relations.local,
            &run.scope.local_filter,
        )
        .await?;
        let Some(here) = here.filter(|here| here.versions.0 == loaded) else {
            return Ok(());
        };
        self.now.totals.local = here.versions;
        self.keep(run).await
    }
}

/// The number of rows and the sum of row versions of one side. `horizon` and `next` are the limits of the snapshot in
/// which they were read: the oldest transaction still running, and one more than the newest that had ended.
pub(in crate::engine) struct VersionTotal {
    pub(in crate::engine) versions: VersionSum,
    horizon: i64,
    next: i64,
}

/// Sums the versions of the rows of `from`, with the alias `row`, that match the filter. Returns `None` if they cannot
/// be summed.
pub(in crate::engine) async fn total<S: Side>(
    tx: &Tx<'_, S>,
    row: &str,
    from: &str,
    filter: &str,
) -> Result<Option<VersionTotal>, DbError> {
    let version = row_version(row);
    let sql = format!(
        "select pg_catalog.count(*), coalesce(pg_catalog.bit_xor({version}), 0),
       pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()), pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())
from {from} {row} where {filter}"
    );
    let doing = "sum up the versions";
    let found = tx.undo_simple_if(SAVEPOINT, DbError::is_not_computable, doing, &sql);
    let found = found.await?.unwrap_or_default();
    let number = |n| found.first()?.get(n)?.parse().ok();
    let total = || {
        Some(VersionTotal {
            versions: (number(0)?, number(1)?),
            horizon: number(2)?,
            next: number(3)?,
        })
    };
    Ok(total())
}

/// Returns the oldest transaction that was still running on the remote when the snapshot was taken. `None` if the
/// server's answer cannot be read.
pub(in crate::engine) async fn horizon(remote: &Tx<'_, Remote>) -> Result<Option<i64>, DbError> {
    let row = remote.simple(HORIZON).await?;
    Ok(row.first().and_then(|row| row.get(0)?.parse().ok()))
}

const HORIZON: &str = "\
-- look which transactions were running
select pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())";

/// Looks up the row versions that the plan wrote. Returns how many rows were inserted, and the exclusive or of all old
/// and new versions: combined with the old sum by exclusive or, it gives the new sum. The whole table is not summed
/// again, because that would include rows that other sessions wrote meanwhile and that were not compared.
async fn written_since(run: &RunContext<'_>) -> Result<(i64, i64), DbError> {
    let (table, local_filter) = (&run.relations.local, &run.scope.local_filter);
    let same_key = run.relations.same_key("l", "p");
    let new = version("l.ctid", "l.xmin");
    let old = version("p.place", "p.version");
    let sql = format!(
        "-- look up the versions written
select pg_catalog.count(*) filter (where p.place is null), coalesce(pg_catalog.bit_xor({new} # coalesce({old}, 0)), 0)
from pg_temp.meter_sync_plan p
join {table} l on {same_key} and {local_filter}"
    );
    let found = run.local.query_one(&sql, &[]).await?;
    Ok((found.get(0), found.get(1)))
}

/// Returns a `bigint` expression in SQL for the hash of the version of a row with the alias `row`. It is NULL if there
/// is no row.
pub(in crate::engine) fn row_version(row: &str) -> String {
    version(&format!("{row}.ctid"), &format!("{row}.xmin"))
}

/// Returns a `bigint` expression in SQL for the hash of a row's place (`ctid`) and transaction (`xmin`). The
/// transaction is hashed as its distance from the first one (number 3), and not as its age, which grows with each new
/// transaction. All names have their schema, because this SQL also runs with the role's own search path.
fn version(place: &str, transaction: &str) -> String {
    format!(
        "pg_catalog.hashtidextended({place}, ((select pg_catalog.age('3'::pg_catalog.xid)::bigint) operator(pg_catalog.-) \
         pg_catalog.age({transaction})) operator(pg_catalog.&) 4294967295)"
    )
}

/// Returns the SQL condition that the version of the remote row `r` was made by the transaction `since` or a later one.
/// It also holds for some very old versions, because transaction IDs wrap around. To compare these rows as well does no
/// harm.
pub(super) fn is_new(since: i64) -> String {
    let number = since & 0xffff_ffff;
    format!("pg_catalog.age(r.xmin) <= (select pg_catalog.age('{number}'::xid))")
}
