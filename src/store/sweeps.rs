//! The table `meter_sync_sweep`: one row for each sweep (one check of all mirrors of a process).

use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::Row;

use super::has_expired;
use crate::db::param::Param;
use crate::db::{DbError, Local, Tx, param};
use crate::error::{ErrorCode, Failure};
use crate::model::{RunId, RunTrigger, saturating_i64};

/// A sweep: one check of all tenants, with a run for each tenant whose meters may differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepRecord {
    /// The sweep's id.
    pub sweep_id: RunId,
    /// What requested the sweep.
    pub trigger: RunTrigger,
    /// When the sweep started, by the local database's clock.
    pub started_at: DateTime<Utc>,
    /// When the sweep ended; absent while it is in progress, or if its process died.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// The results of the sweep, counted.
    pub counts: SweepCounts,
    /// Why the check of all tenants failed; absent if it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// The results of a sweep. It counts mirrors: a mirror is one tenant's meters in one local table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SweepCounts {
    /// How many mirrors there were.
    pub mirrors: i64,
    /// Mirrors found unchanged, which needed no run.
    pub unchanged: i64,
    /// Mirrors whose run succeeded, whether it changed meters or not.
    pub succeeded: i64,
    /// Mirrors whose run did not succeed.
    pub failed: i64,
    /// How many bytes of row data the remote sent, for the check and for the runs.
    pub remote_bytes: i64,
}

/// Identifies the set of mirrors that a sweep checks. Processes with the same settings have the same set. They share
/// the slots of its sweeps and see each other's sweeps in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweptMirrorSet {
    /// The name of the local table. If each tenant has a table of its own, the setting from which the tables' names are
    /// made.
    pub local_table: String,
    /// A digest of the setting that names the tenants. It does not depend on the order in which the setting lists them.
    pub tenants: String,
}

impl SweptMirrorSet {
    /// Returns the parameters `$1` and `$2` of a statement that selects the rows of this set.
    pub fn key(&self) -> [Param<'_>; 2] {
        [
            param::text(self.local_table.as_str()),
            param::text(self.tenants.as_str()),
        ]
    }
}

/// Who asked for a sweep, why, and which process sweeps.
#[derive(Clone, Copy, Debug)]
pub struct SweepOrigin<'a> {
    /// The person or program that asks for the sweep; `None` if that is not known.
    pub actor: Option<&'a str>,
    /// Why, in the words of the caller; `None` if no reason was given.
    pub reason: Option<&'a str>,
    /// The process that sweeps; `None` if other processes take no part.
    pub claimant: Option<&'a str>,
}

const START: &str = "\
-- log the start of a sweep
insert into meter_sync.meter_sync_sweep
    (id, local_table, tenants, trigger, actor, reason, claimed_by, renewed_at, started_at)
values ($1, $2, $3, $4, $5, $6, $7, case when $7 is not null then clock_timestamp() end, clock_timestamp())
returning started_at";

/// Writes the row of a sweep that starts. Returns the start time by the database's clock.
pub async fn start(
    tx: &Tx<'_, Local>,
    id: RunId,
    set: &SweptMirrorSet,
    trigger: RunTrigger,
    who: SweepOrigin<'_>,
) -> Result<DateTime<Utc>, DbError> {
    let actor = tx.storable_if_any(who.actor).await?;
    let reason = tx.storable_if_any(who.reason).await?;
    let params = [
        param::uuid(id.as_uuid()),
        param::text(set.local_table.as_str()),
        param::text(set.tenants.as_str()),
        param::text(trigger.as_str()),
        param::text(actor.as_deref()),
        param::text(reason.as_deref()),
        param::text(who.claimant),
    ];
    Ok(tx.query_one(START, &params).await?.get(0))
}

const RENEW: &str = "\
-- say that the sweep goes on
update meter_sync.meter_sync_sweep set renewed_at = clock_timestamp() where claimed_by = $1 and finished_at is null";

/// Records that the process `claimant` still works on its sweep.
pub async fn renew(tx: &Tx<'_, Local>, claimant: &str) -> Result<(), DbError> {
    let params = [param::text(claimant)];
    tx.execute(RENEW, &params).await.map(drop)
}

const GIVE_UP: &str = "\
-- give up a sweep
update meter_sync.meter_sync_sweep set renewed_at = '-infinity' where claimed_by = $1 and finished_at is null";

/// Records that the process `claimant` no longer works on its sweep, so that another process can sweep.
pub async fn give_up(tx: &Tx<'_, Local>, claimant: &str) -> Result<(), DbError> {
    let params = [param::text(claimant)];
    tx.execute(GIVE_UP, &params).await.map(drop)
}

const CLAIM_IN_TURN: &str = "\
-- claim the slots of sweeps one after the other
select pg_advisory_xact_lock(hashtextextended('meter_sync sweep ' || $1 || ' ' || $2, 0))";

const IN_PROGRESS: &str = concat!(
    "\
-- look for a sweep of another process
select exists (
    select from meter_sync.meter_sync_sweep
    where local_table = $1 and tenants = $2 and claimed_by <> $3 and finished_at is null and not ",
    has_expired!("renewed_at"),
    "
) or exists (
    select from meter_sync.meter_sync_slot s
    where s.local_table = $1 and s.tenant = '* ' || $2 and s.claimed_by <> $3 and not ",
    has_expired!("s.claimed_at"),
    "
      and not exists (
          select from meter_sync.meter_sync_sweep w
          where w.local_table = $1 and w.tenants = $2 and w.started_at >= s.slot
      )
)"
);

/// Whether another living process works on a sweep of this set of mirrors, or has claimed a slot for one and is about
/// to begin. Takes a lock until the transaction ends, so that only one process at a time gets an answer and acts on it.
pub async fn is_in_progress_elsewhere(
    tx: &Tx<'_, Local>,
    set: &SweptMirrorSet,
    claimant: &str,
) -> Result<bool, DbError> {
    tx.execute(CLAIM_IN_TURN, &set.key()).await?;
    let [table, tenants] = set.key();
    let params = [table, tenants, param::text(claimant)];
    Ok(tx.query_one(IN_PROGRESS, &params).await?.get(0))
}

const FINISH: &str = "\
-- log the end of a sweep
update meter_sync.meter_sync_sweep
set finished_at = greatest(clock_timestamp(), started_at), mirrors = $2, unchanged = $3, succeeded = $4, failed = $5,
    remote_bytes = $6, error_code = $7, error_message = $8, error_remedy = $9
where id = $1
returning finished_at";

/// Writes the end of a sweep to its row: what it counted, or the error that ended it. Returns the end time by the
/// database's clock; `None` if the sweep has no row.
pub async fn finish(
    tx: &Tx<'_, Local>,
    id: RunId,
    counts: &SweepCounts,
    error: Option<&Failure>,
) -> Result<Option<DateTime<Utc>>, DbError> {
    let message = error.map(|error| error.message.as_str());
    let message = tx.storable_if_any(message).await?;
    let remedy = error.map(|error| error.remedy.as_str());
    let remedy = tx.storable_if_any(remedy).await?;
    let params = [
        param::uuid(id.as_uuid()),
        param::bigint(counts.mirrors),
        param::bigint(counts.unchanged),
        param::bigint(counts.succeeded),
        param::bigint(counts.failed),
        param::bigint(counts.remote_bytes),
        param::text(error.map(|error| error.code.as_str())),
        param::text(message.as_deref()),
        param::text(remedy.as_deref()),
    ];
    let row = tx.query_opt(FINISH, &params).await?;
    Ok(row.and_then(|row| row.get(0)))
}

const LAST: &str = "\
-- read the last sweep
select id, trigger, started_at, finished_at, mirrors, unchanged, succeeded, failed, remote_bytes,
       error_code, error_message, error_remedy
from meter_sync.meter_sync_sweep where local_table = $1 and tenants = $2 and finished_at is not null
order by seq desc limit 1";

/// Reads the last sweep of this set of mirrors that has ended; `None` before the first.
pub async fn last(
    tx: &Tx<'_, Local>,
    set: &SweptMirrorSet,
) -> Result<Option<SweepRecord>, DbError> {
    let row = tx.query_opt(LAST, &set.key()).await?;
    Ok(row.as_ref().map(record))
}

fn record(row: &Row) -> SweepRecord {
    let text = |place| row.get::<_, Option<String>>(place).unwrap_or_default();
    SweepRecord {
        sweep_id: RunId::from(row.get::<_, uuid::Uuid>(0)),
        trigger: RunTrigger::read(row.get(1)),
        started_at: row.get(2),
        finished_at: row.get(3),
        counts: SweepCounts {
            mirrors: row.get(4),
            unchanged: row.get(5),
            succeeded: row.get(6),
            failed: row.get(7),
            remote_bytes: row.get(8),
        },
        error: row.get::<_, Option<&str>>(9).map(|code| Failure {
            code: ErrorCode::read(code),
            message: text(10),
            remedy: text(11),
        }),
    }
}

const PRUNE: &str = "\
-- prune old sweeps
delete from meter_sync.meter_sync_sweep s
where s.local_table = $1 and s.tenants = $2 and s.started_at < now() - $3 * interval '1 second'
  and s.seq < (select max(b.seq) from meter_sync.meter_sync_sweep b where b.local_table = $1 and b.tenants = $2)";

/// Deletes the sweeps of this set of mirrors that are older than `keep`, except the last one.
pub async fn prune(
    tx: &Tx<'_, Local>,
    set: &SweptMirrorSet,
    keep: Duration,
) -> Result<(), DbError> {
    let seconds = saturating_i64(keep.as_secs());
    let [table, tenants] = set.key();
    let params = [table, tenants, param::bigint(seconds)];
    tx.execute(PRUNE, &params).await.map(drop)
}
