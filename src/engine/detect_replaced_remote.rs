//! Detects a replaced remote: one that was restored, rewound or swapped for another since the last run.
//!
//! A run that finds its watermark valid and the remote rows unchanged reads from the same server process as the run
//! that stored the watermark. There is nothing to notice then, and nothing is looked up. Any restore, failover or swap
//! starts a server anew, and then the watermark is not valid. A virtual machine that is taken back with its memory
//! keeps its server process; there, the rows have versions that they had before.
//!
//! Remotes that do not tell which database they are (for instance because they are not Postgres) are not compared.

use crate::config::{BrakeMode, SourceSetting};
use crate::db::{DbError, Local, Remote, Tx, both};
use crate::model::TenantId;
use crate::store::remote_identities::{self, KnownRemote, RemoteIdentity, RemotePosition};

use super::digest::VersionsOfBothSides;
use super::digest::bucket_sum_cursor::SAVEPOINT;
use super::plan::Plan;
use super::remote_replacement::RemoteReplacement;
use super::{Relations, RunContext, SyncError, column_drift};

/// What a run finds out about the remote database.
#[derive(Debug)]
pub(super) enum RemoteComparison {
    /// The remote is surely the database that the last run read.
    Same,
    /// The remote does not tell which database it is: our role may not execute `pg_control_system()`, or the server has
    /// no such function.
    Unidentified,
    /// The remote was compared with the one that the last run read.
    Compared(Box<ComparedRemote>),
}

/// The remote database as it is now, and as the last run saw it.
#[derive(Debug)]
pub(crate) struct ComparedRemote {
    identity: RemoteIdentity,
    known: Option<KnownRemote>,
    /// The sum of the row versions of the tenant's remote rows; `None` if it was not read.
    version_sum: Option<i64>,
}

/// Says that a strict brake cannot do its work, because the remote does not tell which database it is.
pub(crate) const UNIDENTIFIED: &str = "\
METER_SYNC_BRAKE=strict cannot hold anything back, because the remote does not tell which database it is: the role may \
not execute pg_control_system(), or the server has no such function. As a superuser of the remote server: grant execute \
on function pg_control_system() to <role>, where <role> is the user of METER_SYNC_REMOTE_URL.";

/// Looks up which remote database this is, unless it is surely the one of the last run. If the remote has lost commits
/// since then (it was taken back to an earlier state), `versions` no longer trust their watermark. `may_identify` is
/// what [`may_identify`] returned.
pub(super) async fn look(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    versions: Option<&mut VersionsOfBothSides<'_>>,
    may_identify: Option<bool>,
) -> Result<RemoteComparison, DbError> {
    let same = |versions: &&mut VersionsOfBothSides<'_>| {
        versions.are_of_the_known_server() && versions.has_same_remote_rows()
    };
    if versions.as_ref().is_some_and(same) {
        return Ok(RemoteComparison::Same);
    }
    let (job, relations) = (run.job, run.relations);
    let asked = RemoteQuestion {
        relations,
        source: &job.mapping.source,
        may_identify,
    };
    let Some(seen) = asked.look_up(remote, run.local, job.tenant).await? else {
        if job.limits.brake == BrakeMode::Strict {
            job.remote_change.get_or_init(|| UNIDENTIFIED);
        }
        return Ok(RemoteComparison::Unidentified);
    };
    let seen = ComparedRemote {
        version_sum: versions.as_ref().map(|versions| versions.remote_sum()),
        ..seen
    };
    if let Some(versions) = versions
        && seen
            .change()
            .is_some_and(RemoteReplacement::has_lost_commits)
    {
        versions.distrust();
    }
    Ok(RemoteComparison::Compared(Box::new(seen)))
}

/// Looks up which remote database this is, and which one the last run of the tenant saw. Returns `None` if the remote
/// does not tell.
pub(crate) async fn look_up(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    tenant: &TenantId,
    relations: &Relations,
    source: &SourceSetting,
) -> Result<Option<ComparedRemote>, DbError> {
    let asked = RemoteQuestion {
        relations,
        source,
        may_identify: None,
    };
    asked.look_up(remote, local, tenant).await
}

/// What is asked: which database the remote tables of a sync are in.
struct RemoteQuestion<'q> {
    relations: &'q Relations,
    source: &'q SourceSetting,
    /// What [`may_identify`] returned.
    may_identify: Option<bool>,
}

impl RemoteQuestion<'_> {
    async fn look_up(
        self,
        remote: &Tx<'_, Remote>,
        local: &Tx<'_, Local>,
        tenant: &TenantId,
    ) -> Result<Option<ComparedRemote>, DbError> {
        let oid = self.relations.all_columns.remote_relation;
        let oid = oid.filter(|_| self.relations.is_remote_plain);
        let (identity, known) = both(
            identity(remote, oid, self.source, self.may_identify),
            remote_identities::read(local, tenant, &self.relations.local),
        )
        .await?;
        Ok(identity.map(|identity| ComparedRemote {
            identity,
            known,
            version_sum: None,
        }))
    }
}

const MAY_ASK: &str = "\
select coalesce(pg_catalog.has_function_privilege(pg_catalog.to_regprocedure('pg_catalog.pg_control_system()')::oid, 'execute'), false)";

const WHICH: &str = "\
select c.system_identifier, d.oid,
    case when not pg_catalog.pg_is_in_recovery()
    then pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_flush_lsn()), 8) end,
    case when not pg_catalog.pg_is_in_recovery()
    then pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0')::bigint end
from pg_catalog.pg_control_system() c, pg_catalog.pg_database d
where d.datname operator(pg_catalog.=) pg_catalog.current_database()";

/// The name of the savepoint of [`may_identify`].
const MAY_ASK_SAVEPOINT: &str = "meter_sync_may_ask";

/// Whether the remote tells which database it is. `None` if it did not say, because an earlier statement that was sent
/// at the same time has failed.
pub(super) async fn may_identify(remote: &Tx<'_, Remote>) -> Result<Option<bool>, DbError> {
    let doing = "look whether the remote tells which it is";
    let asked = remote.undo_simple_if(MAY_ASK_SAVEPOINT, DbError::lacks_a_function, doing, MAY_ASK);
    match asked.await {
        Ok(Ok(rows)) => Ok(Some(rows.first().and_then(|row| row.get(0)) == Some("t"))),
        Ok(Err(_lacking)) => Ok(Some(false)),
        Err(error) if error.follows_another() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads which remote database this is; `None` if it does not tell, or may not tell this role. `relation_oid` is the
/// object id of the remote table, if it is a plain one. `may_identify` is what [`may_identify`] returned, or `None` to
/// ask it here.
pub(in crate::engine) async fn identity(
    remote: &Tx<'_, Remote>,
    relation_oid: Option<u32>,
    source: &SourceSetting,
    may_identify: Option<bool>,
) -> Result<Option<RemoteIdentity>, DbError> {
    // A refused statement would be an error in the log of the remote, at each run.
    let may_identify = match may_identify {
        None => self::may_identify(remote).await?,
        known => known,
    };
    if may_identify != Some(true) {
        return Ok(None);
    }
    let doing = "look which remote this is";
    let found = remote.undo_simple_if(SAVEPOINT, DbError::lacks_a_function, doing, WHICH);
    let found = found.await?.unwrap_or_default();
    let text = |column: usize| found.first()?.get(column);
    let number = |column: usize| text(column)?.parse::<i64>().ok();
    let (Some(system_identifier), Some(database_oid)) = (number(0), number(1)) else {
        return Ok(None);
    };
    // The name of a file of the write-ahead log begins with the timeline, as eight hexadecimal digits.
    let timeline = text(2).and_then(|digits| i64::from_str_radix(digits, 16).ok());
    let progress = Option::zip(timeline, number(3));
    Ok(Some(RemoteIdentity {
        system_identifier,
        database_oid,
        source: column_drift::hash(source),
        relation_oid: relation_oid.map(i64::from),
        progress: progress.map(|(timeline, flushed)| RemotePosition { timeline, flushed }),
    }))
}

impl KnownRemote {
    /// Whether `sum` is the sum of the row versions of an earlier state of the tenant's remote rows, and not of the
    /// last one. If there are no rows, the sum is 0, which is no sign of an earlier state.
    fn has_earlier_rows(&self, sum: Option<i64>) -> bool {
        let Some(sum) = sum.filter(|sum| *sum != 0) else {
            return false;
        };
        let mut sums = self.version_sums.iter();
        sums.next() != Some(&sum) && sums.any(|earlier| *earlier == sum)
    }
}

/// Says what happened to the remote between `known` and `now`. `sum` is the sum of the row versions of the tenant's
/// remote rows, if it is known.
fn compare(
    known: &KnownRemote,
    now: &RemoteIdentity,
    sum: Option<i64>,
) -> Option<RemoteReplacement> {
    let before = &known.identity;
    if before.system_identifier != now.system_identifier {
        return Some(RemoteReplacement::OtherServer);
    }
    if before.database_oid != now.database_oid {
        return Some(RemoteReplacement::OtherDatabase);
    }
    // The signs of a restore fade as the remote goes on, but a person has not allowed it yet.
    if let Some(refused) = known.refused.as_deref().and_then(RemoteReplacement::read) {
        return Some(refused);
    }
    let progress = before.progress.zip(now.progress);
    if progress.is_some_and(|(before, now)| now.flushed < before.flushed) {
        return Some(RemoteReplacement::TakenBack);
    }
    if known.has_earlier_rows(sum) {
        return Some(match now.progress {
            Some(_) => RemoteReplacement::EarlierRows,
            None => RemoteReplacement::EarlierRowsOnStandby,
        });
    }
    let tables = before.relation_oid.zip(now.relation_oid);
    let has_other_table =
        before.source == now.source && tables.is_some_and(|(before, now)| before != now);
    if has_other_table {
        return Some(RemoteReplacement::OtherTable);
    }
    progress
        .is_some_and(|(before, now)| now.timeline != before.timeline)
        .then_some(RemoteReplacement::OtherTimeline)
}

impl ComparedRemote {
    /// What happened to the remote since the last run; `None` if nothing did, or if there was no run.
    fn change(&self) -> Option<RemoteReplacement> {
        compare(self.known.as_ref()?, &self.identity, self.version_sum)
    }

    /// Whether a run has synced from this remote or another one.
    pub(crate) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// Says in a sentence what happened to the remote since the last run. Returns `None` if nothing did. Also returns
    /// `None` if a run would not warn of it whatever its plan or, with a strict brake, if that brake refuses no plan
    /// because of it.
    pub(crate) fn message(&self, brake: BrakeMode) -> Option<&'static str> {
        let change = self.change()?;
        let is_shown = match brake {
            BrakeMode::Standard => change.is_notable(None),
            BrakeMode::Strict => change.is_held_back(),
        };
        is_shown.then(|| change.message())
    }
}

impl RemoteComparison {
    /// What happened to the remote since the last run, if a run that carries out `plan` warns of it. `plan` is `None`
    /// if the sides do not differ.
    fn notable(&self, plan: Option<&Plan>) -> Option<RemoteReplacement> {
        match self {
            Self::Same | Self::Unidentified => None,
            Self::Compared(seen) => seen.change().filter(|change| change.is_notable(plan)),
        }
    }

    /// Tells in the run's warning what happened to the remote, if it matters for this plan. `plan` is `None` if the
    /// sides do not differ.
    pub(super) fn warn(&self, run: &RunContext<'_>, plan: Option<&Plan>) {
        if let Some(change) = self.notable(plan) {
            run.job.remote_change.get_or_init(|| change.message());
        }
    }

    /// The change because of which a strict brake waits for a person; `None` if there is none, or if a person has
    /// allowed it.
    fn held_back(&self, run: &RunContext<'_>, plan: Option<&Plan>) -> Option<RemoteReplacement> {
        let is_open = run.job.limits.brake == BrakeMode::Standard || run.job.allow_remote_change;
        let notable = self.notable(plan).filter(|_| !is_open);
        notable.filter(|change| change.is_held_back())
    }

    /// Whether a strict brake waits for a person, whatever the plan.
    pub(super) fn waits_for_a_person(&self, run: &RunContext<'_>) -> bool {
        self.held_back(run, None).is_some()
    }

    /// Returns an error that refuses the plan if the remote was restored or swapped, the brake is strict, and no person
    /// has allowed it. If later runs may not notice any more what happened, also stores the reason, so that they are
    /// refused, too. A dry run stores nothing.
    pub(super) async fn check(&self, run: &RunContext<'_>, plan: &Plan) -> Result<(), SyncError> {
        let held_back = self.held_back(run, Some(plan));
        let Some(change) = held_back.filter(|_| plan.counts.changes() > 0) else {
            return Ok(());
        };
        let (tenant, table) = (run.job.tenant, &run.relations.local);
        if !run.job.dry_run && change.has_lost_commits() {
            remote_identities::keep_refusal(run.local, tenant, table, change.as_str()).await?;
        }
        Err(SyncError::RemoteChanged {
            tenant: tenant.clone(),
            change: change.message(),
        })
    }

    /// Whether anything happened to the remote since the last run.
    pub(super) fn has_changed(&self) -> bool {
        match self {
            Self::Same | Self::Unidentified => false,
            Self::Compared(seen) => seen.change().is_some(),
        }
    }

    /// Stores for the next run which remote this is, and the sum of the row versions of the tenant's remote rows (if
    /// there are row versions). Stores nothing if this run did not look up which remote it is.
    pub(super) async fn remember(
        &self,
        run: &RunContext<'_>,
        versions: Option<&VersionsOfBothSides<'_>>,
    ) -> Result<(), DbError> {
        let Self::Compared(seen) = self else {
            return Ok(());
        };
        let (tenant, table) = (run.job.tenant, &run.relations.local);
        let forgets_progress = seen
            .change()
            .is_some_and(RemoteReplacement::has_lost_commits);
        remote_identities::keep(run.local, tenant, table, &seen.identity, forgets_progress).await?;
        match versions {
            Some(versions) => {
                let sum = versions.remote_sum();
                remote_identities::keep_sum(run.local, tenant, table, sum).await
            }
            None => Ok(()),
        }
    }
}
