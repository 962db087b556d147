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

use crate::db::{DbError, Local, Remote, Tx};

use super::bucket_sum_cursor;
use super::key_buckets::{self, KeyBuckets};
use super::row_hash::HashedColumns;
use super::sum_with_versions::{self, SummedVersions};
use super::totals::TotalsComparison;
use super::version_sums::total;
use crate::engine::RunContext;
use crate::store::watermarks::{
    self, PerSide, StoredWatermark, VersionSum, Watermark, WatermarkKey,
};

/// The row versions of both sides, read before the rows were compared.
#[derive(Debug)]
pub(in crate::engine) struct VersionsOfBothSides<'s> {
    /// A hash of the table files, settings and columns that the versions depend on. Only versions with the same hash
    /// can be compared.
    basis: &'s str,
    now: Watermark,
    /// One more than the number of the newest transaction that had ended on the remote (`pg_snapshot_xmax`).
    next: i64,
    /// The number of the next transaction on the local side, if no other was running there when the rows were read.
    quiet_since: Option<i64>,
    /// The watermark: the versions stored when a run last found or made both sides equal. `None` if there is none with
    /// this `basis`.
    known: Option<Watermark>,
    /// Whether it is known from which remote database the mirror was last synced.
    is_remote_known: bool,
    /// Whether the last run left no watermark, usually because it rejected rows. Then the sides probably still differ.
    is_without_watermark: bool,
    /// What the totals of keys or contents show that were summed together with the versions; `None` if none were
    /// summed.
    totals: Option<(HashedColumns, TotalsComparison)>,
    /// The keys that were summed together with the versions, with an open cursor on each side; `None` if they were not
    /// summed.
    keys: Option<KeyBuckets>,
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

/// Reads the watermark of the last run; `None` if there is none, or if row versions cannot show changes of these
/// tables.
pub(in crate::engine) async fn stored(
    run: &RunContext<'_>,
) -> Result<Option<StoredWatermark>, DbError> {
    let relations = run.relations;
    match &relations.version_basis {
        Some(basis) => watermarks::read(run.local, run.job.tenant, &relations.local, basis).await,
        None => Ok(None),
    }
}

impl<'s> VersionsOfBothSides<'s> {
    /// Reads the row versions of both sides. `stored` is the watermark of the last run, see [`stored`]. Returns `None`
    /// if they cannot be read, or if they cannot show changes of these tables (of a view, for instance).
    pub(in crate::engine) async fn read(
        remote: &Tx<'_, Remote>,
        run: &RunContext<'s>,
        stored: Option<StoredWatermark>,
    ) -> Result<Option<Self>, DbError> {
        let Some(basis) = &run.relations.version_basis else {
            return Ok(None);
        };
        let Some(summed) = sum_with_versions::sum(remote, run, stored.as_ref()).await? else {
            return Ok(None);
        };
        let SummedVersions { there, here, .. } = summed;
        Ok(Some(Self {
            basis,
            now: Watermark {
                totals: PerSide {
                    remote: there.versions,
                    local: here.versions,
                },
                horizon: there.horizon,
                remote_writes: run.relations.remote_writes,
            },
            next: there.next,
            quiet_since: (here.horizon == here.next).then_some(here.next),
            is_remote_known: stored.as_ref().is_some_and(|stored| stored.is_remote_known),
            is_without_watermark: stored.is_none(),
            known: stored.and_then(|stored| stored.watermark),
            totals: summed.totals,
            keys: summed.keys,
        }))
    }

    /// What the totals of these columns show; `None` if they were not summed together with the versions.
    pub(super) fn totals_of(&self, what: HashedColumns) -> Option<TotalsComparison> {
        let totals = self.totals.filter(|(summed, _)| *summed == what);
        totals.map(|(_, compared)| compared)
    }

    /// The keys that were summed together with the versions; `None` if they were not summed, or are not needed. Their
    /// cursors are open if the keys of both sides differ.
    pub(super) fn keys(&self) -> Option<&KeyBuckets> {
        self.keys.as_ref()
    }

    /// Closes the cursors over the keys, unless these are needed to find what is missing.
    pub(in crate::engine) async fn close_unneeded_keys(
        &mut self,
        remote: &Tx<'_, Remote>,
        local: &Tx<'_, Local>,
    ) -> Result<(), DbError> {
        let Some(keys) = &self.keys else {
            return Ok(());
        };
        match (self.compare_with_watermark(), keys.compare()) {
            (Some(VersionVerdict::Since(_)), TotalsComparison::Differing)
                if self.local_rows() > 0 =>
            {
                Ok(())
            }
            // No other cursor is opened on the remote, and to close this one would take a round trip.
            (Some(VersionVerdict::Same(_)), _)
            | (Some(VersionVerdict::Since(_)), TotalsComparison::Equal(_)) => {
                bucket_sum_cursor::close(local).await
            }
            (Some(VersionVerdict::Since(_)) | None, _) => {
                if self.local_rows() == 0 {
                    self.keys = None;
                }
                key_buckets::close(remote, local).await
            }
        }
    }

    /// Whether the last run left no watermark, usually because it rejected rows. Then the sides probably still differ.
    pub(in crate::engine) fn is_without_watermark(&self) -> bool {
        self.is_without_watermark
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

    /// Whether the rows of both sides have the versions that the watermark has, so that nothing has changed.
    pub(in crate::engine) fn show_no_change(&self) -> bool {
        matches!(self.compare_with_watermark(), Some(VersionVerdict::Same(_)))
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

    /// The sum of the row versions of the tenant's local rows, with their number.
    pub(in crate::engine) fn local_sum(&self) -> VersionSum {
        self.now.totals.local
    }

    /// If no transaction was running on the local side when the rows were read, the number of the next one: whoever has
    /// written since then has this number or a later one. `None` if one was running.
    pub(in crate::engine) fn quiet_since(&self) -> Option<i64> {
        self.quiet_since
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

    /// Stores the row versions as the watermark for the next run, after the sides were made equal. `changes` is the
    /// number of rows that the run changed, and `written` has their versions. In these cases, deletes the watermark
    /// instead:
    /// - rows were changed and `written` is `None`: the local table may have changed the values that were written to
    ///   it, so the sides may not be equal;
    /// - rows were changed although the versions showed no change, so versions prove nothing.
    pub(super) async fn remember(
        mut self,
        run: &RunContext<'_>,
        changes: i64,
        written: Option<WrittenVersions>,
    ) -> Result<(), DbError> {
        let is_same = self.show_no_change();
        // If a full comparison changed rows although the versions showed no change, the versions are no proof.
        if changes > 0 && (is_same || written.is_none()) {
            return watermarks::forget(run.local, run.job.tenant, &run.relations.local).await;
        }
        let knows_writes = |known: &Watermark| known.remote_writes == self.now.remote_writes;
        if is_same && self.known.as_ref().is_some_and(knows_writes) {
            return Ok(());
        }
        match written {
            Some(WrittenVersions::Change { inserted, change }) => {
                self.now.totals.local.0 += inserted;
                self.now.totals.local.1 ^= change;
            }
            Some(WrittenVersions::Total(total)) => self.now.totals.local = total,
            None => {}
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

/// What the row versions of the local table are after a run has written to it.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) enum WrittenVersions {
    /// What the run has added to the versions from before.
    Change {
        /// How many rows were inserted.
        inserted: i64,
        /// The exclusive or of all old and new versions of the written rows: combined with the old sum of the table by
        /// exclusive or, it gives the new sum.
        change: i64,
    },
    /// All versions, if it is sure that nobody else has written to the tenant's rows meanwhile.
    Total(VersionSum),
}
