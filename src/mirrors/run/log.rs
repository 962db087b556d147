//! Writes the run log: `meter_sync.meter_sync_log` and `meter_sync_rejected`.

use crate::db::{DbError, Local, Tx, param};
use crate::error::{ErrorCode, Failure};
use crate::model::{Counts, HeldBack, Outcome, PhaseTime, Rejection, RunId, TenantId};
use chrono::{DateTime, Utc};
use serde_json::json;

use crate::engine::Compared;

use crate::mirrors::Request;
use crate::mirrors::local_table::{LocalTable, Scope};
use crate::mirrors::state::status::RunRecord;

/// What is logged of a run at its start.
#[derive(Clone, Debug)]
pub(in crate::mirrors) struct RunStart<'a> {
    pub(in crate::mirrors) run_id: RunId,
    /// `None` if the tenant could not be found; the run then ends at once.
    pub(in crate::mirrors) tenant: Option<&'a TenantId>,
    pub(in crate::mirrors) table: &'a LocalTable,
    pub(in crate::mirrors) request: &'a Request,
}

/// What the database assigns to a run that starts.
#[derive(Clone, Copy, Debug)]
pub(in crate::mirrors) struct StartedRun {
    /// Its place in the order of runs.
    pub(in crate::mirrors) seq: i64,
    /// When it started.
    pub(in crate::mirrors) started_at: DateTime<Utc>,
}

/// What is logged of a run at its end.
#[derive(Clone, Debug)]
pub(in crate::mirrors) struct RunEnd {
    pub(in crate::mirrors) outcome: Outcome,
    pub(in crate::mirrors) finished_at: DateTime<Utc>,
    pub(in crate::mirrors) counts: Counts,
    pub(in crate::mirrors) error: Option<Failure>,
    pub(in crate::mirrors) remote_bytes: i64,
    pub(in crate::mirrors) changes_truncated: bool,
    /// How the rows that differ were found; `None` for a run that did not reach its end, and for a dry run,
    /// whose plan was not carried out.
    pub(in crate::mirrors) compared: Option<Compared>,
    /// A warning that does not change the outcome; `None` if there is none.
    pub(in crate::mirrors) warning: Option<String>,
    /// How long the run spent in each phase.
    pub(in crate::mirrors) phases: Vec<PhaseTime>,
    /// The deactivations that the brake held back; `None` if it held none back.
    pub(in crate::mirrors) held_back: Option<HeldBack>,
}

const START: &str = "\
-- log the start of a run
insert into meter_sync.meter_sync_log
    (id, tenant, local_table, trigger, actor, reason, idempotency_key, dry_run, started_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp())
returning seq, started_at";

/// Writes the log row of a run that starts.
pub(in crate::mirrors) async fn start(
    tx: &Tx<'_, Local>,
    run: &RunStart<'_>,
) -> Result<StartedRun, DbError> {
    let RunStart {
        run_id,
        tenant,
        table,
        request,
    } = run;
    let tenant = tx.storable_if_any(tenant.map(TenantId::as_str)).await?;
    let actor = tx.storable_if_any(request.actor.as_deref()).await?;
    let reason = tx.storable_if_any(request.reason.as_deref()).await?;
    let idempotency_key = request.idempotency_key.as_deref();
    let idempotency_key = tx.storable_if_any(idempotency_key).await?;
    let params = [
        param::uuid(run_id.as_uuid()),
        param::text(tenant.as_deref()),
        param::text(table.name.as_str()),
        param::text(request.trigger.as_str()),
        param::text(actor.as_deref()),
        param::text(reason.as_deref()),
        param::text(idempotency_key.as_deref()),
        param::boolean(request.dry_run),
    ];
    let row = tx.query_one(START, &params).await?;
    Ok(StartedRun {
        seq: row.get(0),
        started_at: row.get(1),
    })
}

const INTERRUPTED: &str = "\
-- mark interrupted runs
update meter_sync.meter_sync_log
set outcome = 'interrupted', finished_at = greatest(clock_timestamp(), started_at),
    error_code = $2, error_message = $3, error_remedy = $4
where tenant = $1 and local_table = $5 and outcome is null";

/// Marks the record of a run whose process has died as interrupted, before the log does.
pub(in crate::mirrors) fn interrupt(run: &mut RunRecord) {
    run.outcome = Some(Outcome::Interrupted);
    run.error = Some(interruption());
}

fn interruption() -> Failure {
    Failure::new(
        ErrorCode::Interrupted,
        "The process that ran it went away before it ended; the meters were left as they were.",
    )
}

/// Marks the runs of the scope whose process has died as interrupted, and returns how many. The caller must
/// hold the run lock, or the door while the run lock is free: then no other run can be in progress.
pub(in crate::mirrors) async fn mark_interrupted(
    tx: &Tx<'_, Local>,
    scope: &Scope,
) -> Result<u64, DbError> {
    let failure = interruption();
    let params = [
        param::text(scope.tenant.id.as_str()),
        param::text(failure.code.as_str()),
        param::text(failure.message.as_str()),
        param::text(failure.remedy.as_str()),
        param::text(scope.table.name.as_str()),
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
pub(in crate::mirrors) async fn finish(
    tx: &Tx<'_, Local>,
    run_id: RunId,
    ending: &mut RunEnd,
) -> Result<(), DbError> {
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
        param::text(compared(ending.compared)),
        param::jsonb(&ending.phases),
        param::jsonb(&ending.held_back),
    ];
    if let Some(row) = tx.query_opt(FINISH, &params).await? {
        ending.finished_at = row.get(0);
    }
    Ok(())
}

fn compared(compared: Option<Compared>) -> &'static str {
    match compared {
        None => "nothing",
        Some(Compared::Differences) => "differences",
        Some(Compared::Contents) => "contents",
        Some(Compared::Everything) => "everything",
    }
}

const COMPARED: &str = "\
-- log a comparison of contents
update meter_sync.meter_sync_log
set compared = case when $2 then 'contents' else compared end,
    warning = nullif(concat_ws(' ', warning, $3), ''), remote_bytes = remote_bytes + $4
where id = $1";

/// Adds the result of a comparison of contents to the log row of the run that it followed.
pub(in crate::mirrors) async fn compared_after(
    tx: &Tx<'_, Local>,
    run_id: RunId,
    (are_equal, warning, remote_bytes): (bool, Option<&str>, i64),
) -> Result<(), DbError> {
    let warning = tx.storable_if_any(warning).await?;
    let params = [
        param::uuid(run_id.as_uuid()),
        param::boolean(are_equal),
        param::text(warning.as_deref()),
        param::bigint(remote_bytes),
    ];
    tx.execute(COMPARED, &params).await.map(drop)
}

const REJECTED: &str = "\
-- log rejected rows
insert into meter_sync.meter_sync_rejected (run_id, n, key, reason)
select $1, r.n, r.entry->'key', r.entry->>'reason'
from jsonb_array_elements($2) with ordinality r(entry, n)";

/// Writes the rows that a run rejected.
pub(in crate::mirrors) async fn rejected(
    tx: &Tx<'_, Local>,
    run_id: RunId,
    rows: &[Rejection],
) -> Result<(), DbError> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = tx.storable_json(json!(rows)).await?;
    let params = [param::uuid(run_id.as_uuid()), param::jsonb(&rows)];
    tx.execute(REJECTED, &params).await.map(drop)
}

const LAST_TENANT: &str = "\
-- read whose meters the table holds
select tenant from meter_sync.meter_sync_log
where local_table = $1 and outcome in ('succeeded', 'no_change', 'partial')
order by seq desc limit 1";

/// The tenant that the local table was last synced for; `None` if it was never synced.
pub(in crate::mirrors) async fn last_tenant(
    tx: &Tx<'_, Local>,
    table: &LocalTable,
) -> Result<Option<String>, DbError> {
    let params = [param::text(table.name.as_str())];
    Ok(tx
        .query_opt(LAST_TENANT, &params)
        .await?
        .and_then(|row| row.get(0)))
}
