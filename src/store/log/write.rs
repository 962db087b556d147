//! Writes the rows of runs.

use chrono::{DateTime, Utc};

use super::{LogKey, RunRecord};
use crate::db::{DbError, Local, Tx, param};
use crate::error::{ErrorCode, Failure};
use crate::model::{Compared, Counts, HeldBack, Outcome, PhaseTime, RunId, TenantId};

/// What is logged of a run at its end.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended. [`finish`] replaces it by the database's time.
    pub finished_at: DateTime<Utc>,
    /// What it changed.
    pub counts: Counts,
    /// Why it did not succeed; `None` if it did.
    pub error: Option<Failure>,
    /// Bytes of row data read from the remote.
    pub remote_bytes: i64,
    /// Whether fewer changes were logged than were made.
    pub changes_truncated: bool,
    /// How the rows that differ were found; `None` for a run that did not reach its end, and for a dry run,
    /// whose plan was not carried out.
    pub compared: Option<Compared>,
    /// A warning that does not change the outcome; `None` if there is none.
    pub warning: Option<String>,
    /// How long the run spent in each phase.
    pub phases: Vec<PhaseTime>,
    /// The deactivations that the brake held back; `None` if it held none back.
    pub held_back: Option<HeldBack>,
}

const START: &str = "\
-- log the start of a run
insert into meter_sync.meter_sync_log
    (id, tenant, local_table, trigger, actor, reason, idempotency_key, dry_run, started_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())
returning seq, started_at";

/// Writes the log row of a run that starts, and puts the number and the time that the database gives it into `run`. `log`
/// names no tenant if the tenant could not be found; the run then ends at once. A repeated request is recognized by its
/// `idempotency_key`.
pub async fn start(
    tx: &Tx<'_, Local>,
    log: LogKey<'_>,
    run: &mut RunRecord,
    idempotency_key: Option<&str>,
) -> Result<(), DbError> {
    let tenant = log.tenant.map(TenantId::as_str);
    let tenant = tx.storable_if_any(tenant).await?;
    let actor = tx.storable_if_any(run.actor.as_deref()).await?;
    let reason = tx.storable_if_any(run.reason.as_deref()).await?;
    let idempotency_key = tx.storable_if_any(idempotency_key).await?;
    let params = [
        param::uuid(run.run_id.as_uuid()),
        param::text(tenant.as_deref()),
        param::text(log.local_table),
        param::text(run.trigger.as_str()),
        param::text(actor.as_deref()),
        param::text(reason.as_deref()),
        param::text(idempotency_key.as_deref()),
        param::boolean(run.dry_run),
    ];
    let row = tx.query_one(START, &params).await?;
    run.seq = row.get(0);
    run.started_at = row.get(1);
    Ok(())
}

const INTERRUPTED: &str = "\
-- mark interrupted runs
update meter_sync.meter_sync_log
set outcome = 'interrupted', finished_at = greatest(clock_timestamp(), started_at),
    error_code = $2, error_message = $3, error_remedy = $4
where tenant = $1 and local_table = $5 and outcome is null";

/// Marks the record of a run whose process has died as interrupted, before the log does.
pub fn interrupt(run: &mut RunRecord) {
    run.outcome = Some(Outcome::Interrupted);
    run.error = Some(interruption());
}

fn interruption() -> Failure {
    Failure::new(
        ErrorCode::Interrupted,
        "The process that ran it went away before it ended; the meters were left as they were.",
    )
}

/// Marks the runs of the mirror whose process has died as interrupted, and returns how many. The caller must
/// hold the run lock, or the door while the run lock is free: then no other run can be in progress.
pub async fn mark_interrupted(tx: &Tx<'_, Local>, log: LogKey<'_>) -> Result<u64, DbError> {
    let failure = interruption();
    let params = [
        param::text(log.tenant.map(TenantId::as_str)),
        param::text(failure.code.as_str()),
        param::text(failure.message.as_str()),
        param::text(failure.remedy.as_str()),
        param::text(log.local_table),
    ];
    tx.execute(INTERRUPTED, &params).await
}

const FINISH: &str = "\
-- log the end of a run
with outdated as (
    delete from meter_sync.meter_sync_held h using meter_sync.meter_sync_log g
    where g.id = $1 and not g.dry_run and $2 in ('succeeded', 'no_change', 'partial')
      and h.tenant = g.tenant and h.local_table = g.local_table
)
update meter_sync.meter_sync_log
set outcome = $2, finished_at = greatest(clock_timestamp(), started_at),
    inserted = $3, updated = $4, deactivated = $5, reactivated = $6, unchanged = $7, rejected = $8,
    error_code = $9, error_message = $10, error_remedy = $11,
    remote_bytes = $12, changes_truncated = $13, warning = $14, compared = $15,
    phases = $16, held_back = nullif($17, 'null')
where id = $1 and (outcome is null or outcome = 'interrupted')
returning finished_at";

/// Writes how a run ended, and puts the database's time of the end into `ending`. Called once for each run, in
/// the transaction that changes the meters if there is one.
///
/// After a sync that succeeded, also in part, the sets of meters that earlier runs held back are deleted. A run
/// that lost its connection may have been marked as interrupted meanwhile; its outcome replaces that mark.
pub async fn finish(tx: &Tx<'_, Local>, run_id: RunId, ending: &mut RunEnd) -> Result<(), DbError> {
    let counts = &ending.counts;
    let error = ending.error.as_ref();
    let message = tx
        .storable_if_any(error.map(|e| e.message.as_str()))
        .await?;
    let remedy = tx.storable_if_any(error.map(|e| e.remedy.as_str())).await?;
    let warning = tx.storable_if_any(ending.warning.as_deref()).await?;
    let params = [
        param::uuid(run_id.as_uuid()),
        param::text(ending.outcome.as_str()),
        param::bigint(counts.inserted),
        param::bigint(counts.updated),
        param::bigint(counts.deactivated),
        param::bigint(counts.reactivated),
        param::bigint(counts.unchanged),
        param::bigint(counts.rejected),
        param::text(error.map(|e| e.code.as_str())),
        param::text(message.as_deref()),
        param::text(remedy.as_deref()),
        param::bigint(ending.remote_bytes),
        param::boolean(ending.changes_truncated),
        param::text(warning.as_deref()),
        param::text(ending.compared.map_or("nothing", Compared::as_str)),
        param::jsonb(&ending.phases),
        param::jsonb(&ending.held_back),
    ];
    if let Some(row) = tx.query_opt(FINISH, &params).await? {
        ending.finished_at = row.get(0);
    }
    Ok(())
}
