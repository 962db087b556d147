//! Writes the start and the end of runs to the table `meter_sync_log`.

use super::LogFilter;
use crate::db::{DbError, Local, Tx, param};
use crate::model::{
    CompareMethod, HeldDeactivations, PhaseTime, ProofMethod, RunOutcome, RunRecord, TenantId,
};

/// What is logged at the end of a run.
#[derive(Clone, Debug)]
pub struct RunEnd {
    /// The run as it ended. [`finish`] replaces `finished_at` with the time of the database.
    pub record: RunRecord,
    /// How the run found the rows that differ. `None` for a run that failed or was refused, and for a dry run, which
    /// does not carry out its plan.
    pub compared: Option<CompareMethod>,
    /// How it is known that both sides are equal after the run. `None` if they are not, for a run that failed or was
    /// refused, and for a dry run.
    pub proved: Option<ProofMethod>,
    /// How long the run spent in each phase.
    pub phases: Vec<PhaseTime>,
    /// The deactivations that the brake refused because they were too many; `None` if it refused none.
    pub held_back: Option<HeldDeactivations>,
}

const START: &str = "\
-- log the start of a run
insert into meter_sync.meter_sync_log
    (id, tenant, local_table, trigger, actor, reason, idempotency_key, dry_run, started_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())
returning seq, started_at";

/// Writes the log row of a run that starts, and sets `seq` and `started_at` of `run` to the values that the database
/// assigns. If the tenant could not be found, `log` names none, and the run ends at once. `idempotency_key` is stored
/// so that a repeated request can be recognized.
pub async fn start(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
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

/// Marks the mirror's runs without an end as interrupted. The caller must make sure that none of them is in progress,
/// in one of two ways:
///
/// - It holds the run lock, which every run holds.
/// - It holds the start lock, without which no run can start, and has found that nobody holds the run lock.
pub async fn mark_interrupted(tx: &Tx<'_, Local>, log: LogFilter<'_>) -> Result<(), DbError> {
    let failure = RunRecord::interruption();
    let message = tx.storable(&failure.message).await?;
    let remedy = tx.storable(&failure.remedy).await?;
    let params = [
        param::text(log.tenant.map(TenantId::as_str)),
        param::text(failure.code.as_str()),
        param::text(message.as_ref()),
        param::text(remedy.as_ref()),
        param::text(log.local_table),
    ];
    tx.execute(INTERRUPTED, &params).await.map(drop)
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
    phases = $16, held_back = nullif($17, 'null'), proved = $18
where id = $1 and outcome is null
returning finished_at";

/// Writes the end of a run to its log row, and sets its `finished_at` to the time of the database. A run that changes
/// meters calls this in the transaction that changes them.
///
/// After a sync that succeeded, even in part, also deletes the sets of meters that the brake held back in earlier runs.
/// A log row that has an outcome is not changed.
pub async fn finish(tx: &Tx<'_, Local>, ending: &mut RunEnd) -> Result<(), DbError> {
    let run = &mut ending.record;
    let (counts, error) = (&run.counts, run.error.as_ref());
    let message = tx
        .storable_if_any(error.map(|e| e.message.as_str()))
        .await?;
    let remedy = tx.storable_if_any(error.map(|e| e.remedy.as_str())).await?;
    let warning = tx.storable_if_any(run.warning.as_deref()).await?;
    let params = [
        param::uuid(run.run_id.as_uuid()),
        param::text(run.outcome.map(RunOutcome::as_str)),
        param::bigint(counts.inserted),
        param::bigint(counts.updated),
        param::bigint(counts.deactivated),
        param::bigint(counts.reactivated),
        param::bigint(counts.unchanged),
        param::bigint(counts.rejected),
        param::text(error.map(|e| e.code.as_str())),
        param::text(message.as_deref()),
        param::text(remedy.as_deref()),
        param::bigint(run.remote_bytes),
        param::boolean(run.changes_truncated),
        param::text(warning.as_deref()),
        param::text(ending.compared.map_or("nothing", CompareMethod::as_str)),
        param::jsonb(&ending.phases),
        param::jsonb(&ending.held_back),
        param::text(ending.proved.map(ProofMethod::as_str)),
    ];
    if let Some(row) = tx.query_opt(FINISH, &params).await? {
        run.finished_at = row.get(0);
    }
    Ok(())
}
