//! Notices a remote that was restored, rewound or swapped for another since the last run.
//!
//! A run that finds its watermark valid reads from the same server process as the run that stored the watermark, so
//! there is nothing to notice, and nothing is looked up. Any restore, failover or swap starts a server anew, and then
//! the watermark is not valid. A virtual machine that is taken back with its memory keeps its server process; there, the
//! numbers of transactions go back.
//!
//! Remotes that do not tell who they are (for instance because they are not Postgres) are not compared.

use crate::config::{Brake, Source};
use crate::db::{DbError, Local, Remote, Tx};
use crate::model::TenantId;
use crate::store::remote_identities::{self, KnownRemote, RemoteIdentity, RemoteProgress};

use super::digest::VersionsOfBothSides;
use super::digest::sum_cursor::SAVEPOINT;
use super::plan::Plan;
use super::{Relations, RunContext, SyncError, column_drift};

/// The remote database as it is now, and as the last run saw it.
#[derive(Debug)]
pub(crate) struct SeenRemote {
    identity: RemoteIdentity,
    known: Option<KnownRemote>,
    /// The sum of the row versions of the tenant's remote rows; `None` if it was not read.
    version_sum: Option<i64>,
}

/// What happened to the remote since the last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RemoteChange {
    /// It is another server: another `initdb` made it.
    OtherServer,
    /// It is another database of the same server.
    OtherDatabase,
    /// The server was taken back to an earlier state: its transactions have smaller numbers than before.
    Rewound,
    /// The tenant's rows are as they were before the last changes, row versions included.
    EarlierRows,
    /// The table was dropped and created anew, as when a dump is restored.
    OtherTable,
    /// The server has another timeline: a standby was promoted, or the server was recovered from an archive.
    OtherTimeline,
}

impl RemoteChange {
    /// Whether meters may also change in this way in normal operation. Such a change is only told if the run changes
    /// meters that exist.
    fn is_common(self) -> bool {
        match self {
            Self::OtherTable | Self::OtherTimeline => true,
            Self::OtherServer | Self::OtherDatabase | Self::Rewound | Self::EarlierRows => false,
        }
    }

    /// Whether a strict brake refuses a plan because of this change. A failover is not refused.
    fn is_held_back(self) -> bool {
        self != Self::OtherTimeline
    }

    fn in_words(self) -> &'static str {
        match self {
            Self::OtherServer => "another database server",
            Self::OtherDatabase => "another database of the same server",
            Self::Rewound => {
                "taken back to an earlier state (its transactions have smaller numbers than before)"
            }
            Self::EarlierRows => {
                "showing this tenant's rows as they were before their last changes"
            }
            Self::OtherTable => {
                "holding a table that was dropped and created anew, as when a dump is restored"
            }
            Self::OtherTimeline => {
                "on another timeline: a standby was promoted, or the server was recovered, and its last commits may be lost"
            }
        }
    }
}

/// Looks up which remote database this is. Returns `None` if it is surely the one of the last run, or if the remote does
/// not tell.
pub(super) async fn look(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    versions: Option<&VersionsOfBothSides<'_>>,
) -> Result<Option<SeenRemote>, DbError> {
    if versions.is_some_and(VersionsOfBothSides::are_of_the_same_server) {
        return Ok(None);
    }
    let RunContext {
        local,
        relations,
        job,
        ..
    } = run;
    let seen = look_up(remote, local, job.tenant, relations, &job.mapping.source).await?;
    Ok(seen.map(|seen| SeenRemote {
        version_sum: versions.map(VersionsOfBothSides::remote_sum),
        ..seen
    }))
}

/// Looks up which remote database this is, and which one the last run of the tenant saw. Returns `None` if the remote
/// does not tell.
pub(crate) async fn look_up(
    remote: &Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    tenant: &TenantId,
    relations: &Relations,
    source: &Source,
) -> Result<Option<SeenRemote>, DbError> {
    let Some(identity) = identity(remote, relations, source).await? else {
        return Ok(None);
    };
    let known = remote_identities::read(local, tenant, &relations.local).await?;
    Ok(Some(SeenRemote {
        identity,
        known,
        version_sum: None,
    }))
}

const WHICH: &str = "\
select c.system_identifier, d.oid, pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()),
    case when not pg_catalog.pg_is_in_recovery()
    then pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 8) end
from pg_catalog.pg_control_system() c, pg_catalog.pg_database d
where d.datname operator(pg_catalog.=) pg_catalog.current_database()";

/// Reads which remote database this is; `None` if it does not tell, or may not tell this role.
async fn identity(
    remote: &Tx<'_, Remote>,
    relations: &Relations,
    source: &Source,
) -> Result<Option<RemoteIdentity>, DbError> {
    let is_untold = |error: &DbError| !error.ends_the_connection();
    let found = remote.undo_simple_if(SAVEPOINT, is_untold, "look which remote this is", WHICH);
    let found = found.await?.unwrap_or_default();
    let number = |column: usize| found.first()?.get(column)?.parse::<i64>().ok();
    let (Some(system_identifier), Some(database_oid)) = (number(0), number(1)) else {
        return Ok(None);
    };
    // The name of a file of the write-ahead log begins with the timeline, as eight hexadecimal digits.
    let timeline = found.first().and_then(|row| row.get(3));
    let timeline = timeline.and_then(|digits| i64::from_str_radix(digits, 16).ok());
    let progress = Option::zip(timeline, number(2));
    Ok(Some(RemoteIdentity {
        system_identifier,
        database_oid,
        source: column_drift::hash(source),
        relation_oid: relations.all_columns.remote_relation.map(i64::from),
        progress: progress.map(|(timeline, next_transaction)| RemoteProgress {
            timeline,
            next_transaction,
        }),
    }))
}

/// Says what happened to the remote between `known` and `now`. `sum` is the sum of the row versions of the tenant's
/// remote rows, if it is known.
fn compare(known: &KnownRemote, now: &RemoteIdentity, sum: Option<i64>) -> Option<RemoteChange> {
    let before = &known.identity;
    if before.system_identifier != now.system_identifier {
        return Some(RemoteChange::OtherServer);
    }
    if before.database_oid != now.database_oid {
        return Some(RemoteChange::OtherDatabase);
    }
    let progress = before.progress.zip(now.progress);
    if progress.is_some_and(|(before, now)| now.next_transaction < before.next_transaction) {
        return Some(RemoteChange::Rewound);
    }
    // No rows have the sum 0, so it is no sign of an earlier state.
    let mut earlier = known.version_sums.iter().filter(|sum| **sum != 0);
    if earlier.next() != sum.as_ref() && earlier.any(|earlier| Some(*earlier) == sum) {
        return Some(RemoteChange::EarlierRows);
    }
    let has_other_table = before.source == now.source
        && before.relation_oid.is_some()
        && before.relation_oid != now.relation_oid;
    if has_other_table {
        return Some(RemoteChange::OtherTable);
    }
    progress
        .is_some_and(|(before, now)| now.timeline != before.timeline)
        .then_some(RemoteChange::OtherTimeline)
}

impl SeenRemote {
    /// What happened to the remote since the last run; `None` if nothing did, or if there was no run.
    fn change(&self) -> Option<RemoteChange> {
        compare(self.known.as_ref()?, &self.identity, self.version_sum)
    }

    /// The change, unless it is common and the run leaves all existing meters as they are. `plan` is `None` if the
    /// sides do not differ.
    fn notable(&self, plan: Option<&Plan>) -> Option<RemoteChange> {
        let changes_meters = plan.is_some_and(Plan::changes_existing_meters);
        let change = self.change();
        change.filter(|change| changes_meters || !change.is_common())
    }

    /// Whether a run has synced from this remote or another one.
    pub(crate) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// Says in a sentence what happened to the remote since the last run; `None` if nothing did, or nothing that also
    /// happens in normal operation.
    pub(crate) fn sentence(&self) -> Option<String> {
        self.notable(None).map(|change| self.in_words(change))
    }

    fn in_words(&self, change: RemoteChange) -> String {
        let seen_at = self.known.as_ref().map(|known| known.seen_at);
        let since = seen_at.map_or_else(String::new, |at| {
            format!(" since {}", at.format("%Y-%m-%d %H:%M UTC"))
        });
        format!(
            "The remote has changed{since}: it is now {}.",
            change.in_words()
        )
    }
}

/// Tells in the run's warning what happened to the remote. `plan` is `None` if the sides do not differ.
pub(super) fn tell(run: &RunContext<'_>, seen: Option<&SeenRemote>, plan: Option<&Plan>) {
    if let Some((seen, change)) = seen.and_then(|seen| Some((seen, seen.notable(plan)?))) {
        run.job.remote_change.get_or_init(|| seen.in_words(change));
    }
}

/// Returns an error that refuses the plan if the remote was restored or swapped, the brake is strict, and no person has
/// allowed it.
pub(super) fn check(
    run: &RunContext<'_>,
    seen: Option<&SeenRemote>,
    plan: &Plan,
) -> Result<(), SyncError> {
    let job = run.job;
    let is_open = job.limits.brake == Brake::Standard || job.allow_remote_change;
    if is_open || plan.counts.changes() == 0 {
        return Ok(());
    }
    let notable = seen.and_then(|seen| Some((seen, seen.notable(Some(plan))?)));
    match notable.filter(|(_, change)| change.is_held_back()) {
        Some((seen, change)) => Err(SyncError::RemoteChanged {
            tenant: job.tenant.clone(),
            change: seen.in_words(change),
        }),
        None => Ok(()),
    }
}

/// Stores which remote this is, for the next run.
pub(super) async fn remember(
    run: &RunContext<'_>,
    seen: Option<&SeenRemote>,
) -> Result<(), DbError> {
    match seen {
        Some(seen) => {
            let (tenant, table) = (run.job.tenant, &run.relations.local);
            let has_changed = seen.change().is_some_and(|change| !change.is_common());
            remote_identities::keep(run.local, tenant, table, &seen.identity, has_changed).await
        }
        None => Ok(()),
    }
}
