//! The table `meter_sync_rejected`: the remote rows that runs rejected because they cannot be stored, and why.

use serde_json::json;

use crate::db::{DbError, Local, Tx, param, read_lossless_json};
use crate::model::{Rejection, RunId};

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
