//! The table `meter_sync_rejected`: the remote rows that runs rejected because they cannot be stored, and why.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::log::LogFilter;
use crate::db::{DbError, Local, Tx, param, read_lossless_json};
use crate::model::{Rejection, RunId};

/// Why a meter's row could not be stored, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectedSince {
    /// The end of the first of the runs that have rejected the row ever since.
    pub since: DateTime<Utc>,
    /// The last run, which rejected the row, too.
    pub run_id: RunId,
    /// Why the last run rejected the row.
    pub reason: String,
}

const WRITE: &str = "\
-- log rejected rows
insert into meter_sync.meter_sync_rejected (run_id, n, key, reason)
select $1, r.n, r.entry->'key', r.entry->>'reason'
from jsonb_array_elements($2) with ordinality r(entry, n)";

/// Writes the rows that a run rejected, with the reasons.
pub async fn write(tx: &Tx<'_, Local>, run_id: RunId, rows: &[Rejection]) -> Result<(), DbError> {
    if rows.is_empty() {
        return Ok(());
    }
    let rows = tx.storable_json(json!(rows)).await?;
    let params = [param::uuid(run_id.as_uuid()), param::jsonb(&rows)];
    tx.execute(WRITE, &params).await.map(drop)
}

const READ: &str = "\
-- list rejected rows
select key::text, reason from meter_sync.meter_sync_rejected where run_id = $1 order by n limit $2";

/// Returns the first rejected rows of a run, at most `limit`.
pub async fn read(tx: &Tx<'_, Local>, id: RunId, limit: u32) -> Result<Vec<Rejection>, DbError> {
    let limit = i64::from(limit);
    let params = [param::uuid(id.as_uuid()), param::bigint(limit)];
    let rows = tx.query(READ, &params).await?;
    Ok(rows
        .iter()
        .map(|row| Rejection {
            key: read_lossless_json::fields(row.get(0)),
            reason: row.get(1),
        })
        .collect())
}

/// SQL condition: whether the run `g` of the mirror has compared its rows with those of the remote.
const COMPARED: &str = "g.local_table = $1 and g.tenant = $2 and not g.dry_run and g.outcome in ('succeeded', 'no_change', 'partial')";

/// Returns why the last run rejected the row with this key, which is given as the log stores keys. Returns `None` if
/// that run did not reject it.
pub async fn open(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    key: &str,
) -> Result<Option<RejectedSince>, DbError> {
    // A log that an earlier version created does not number its runs until this version has run its migrations.
    if !log.has_run_numbers {
        return Ok(None);
    }
    let sql = format!(
        "-- look whether a meter's row is rejected
with last as materialized (
    select g.id from meter_sync.meter_sync_log g where {COMPARED} order by g.seq desc limit 1
)
select r.run_id, r.reason, (
    select min(g.finished_at)
    from meter_sync.meter_sync_rejected x join meter_sync.meter_sync_log g on g.id = x.run_id
    where x.key = $3::jsonb and {COMPARED} and g.seq > coalesce((
        select max(g.seq) from meter_sync.meter_sync_log g
        where {COMPARED} and not exists (
            select from meter_sync.meter_sync_rejected o where o.run_id = g.id and o.key = $3::jsonb)), 0))
from last join meter_sync.meter_sync_rejected r on r.run_id = last.id and r.key = $3::jsonb
order by r.n limit 1"
    );
    let params = log.with([param::text(key)]);
    let rows = tx.query(&sql, &params).await?;
    Ok(rows.first().map(|row| RejectedSince {
        run_id: RunId::from(row.get::<_, Uuid>(0)),
        reason: row.get(1),
        since: row.get(2),
    }))
}
