//! The table `meter_sync_pause`: the mirrors that a person has paused. A pause with an end ends by itself, by the
//! database's clock; its row stays until the mirror is resumed or paused again.

use tokio_postgres::Row;

use super::mirror_params;
use super::unchanged_mirrors::MirrorKey;
use crate::db::{DbError, Local, Tx, param};
use crate::model::{Pause, PauseRequest, TenantId};

const PAUSE: &str = "\
-- pause a mirror
insert into meter_sync.meter_sync_pause (tenant, local_table, paused_by, reason, ends_at) values ($1, $2, $3, $4, $5)
on conflict (local_table, tenant) do update
set paused_at = excluded.paused_at, paused_by = excluded.paused_by, reason = excluded.reason, ends_at = excluded.ends_at
returning paused_at, paused_by, reason, ends_at";

/// Pauses a mirror. Replaces a pause that it has.
pub async fn begin(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
    request: &PauseRequest,
) -> Result<Pause, DbError> {
    let by = tx.storable_if_any(request.by.as_deref()).await?;
    let reason = tx.storable(&request.reason).await?;
    let [tenant, local_table] = mirror_params(tenant.as_str(), local_table);
    let params = [
        tenant,
        local_table,
        param::text(by.as_deref()),
        param::text(&*reason),
        param::timestamptz(request.until),
    ];
    Ok(pause(&tx.query_one(PAUSE, &params).await?, 0))
}

const RESUME: &str = "\
-- resume a mirror
delete from meter_sync.meter_sync_pause where tenant = $1 and local_table = $2
returning paused_at, paused_by, reason, ends_at, ends_at is null or ends_at > clock_timestamp()";

/// Ends the pause of a mirror. Returns it; `None` if the mirror was not paused.
pub async fn end(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
) -> Result<Option<Pause>, DbError> {
    let params = mirror_params(tenant.as_str(), local_table);
    let row = tx.query_opt(RESUME, &params).await?;
    let row = row.filter(|row| row.get(4));
    Ok(row.map(|row| pause(&row, 0)))
}

const OF_MIRROR: &str = "\
-- look whether a mirror is paused
select paused_at, paused_by, reason, ends_at from meter_sync.meter_sync_pause
where tenant = $1 and local_table = $2 and (ends_at is null or ends_at > clock_timestamp())";

/// Returns the pause of a mirror; `None` if it has none, or if that has ended by itself.
pub async fn of_mirror(
    tx: &Tx<'_, Local>,
    tenant: &TenantId,
    local_table: &str,
) -> Result<Option<Pause>, DbError> {
    let params = mirror_params(tenant.as_str(), local_table);
    let row = tx.query_opt(OF_MIRROR, &params).await?;
    Ok(row.map(|row| pause(&row, 0)))
}

const OF_TABLES: &str = "\
-- read which mirrors are paused
select tenant, local_table, paused_at, paused_by, reason, ends_at from meter_sync.meter_sync_pause
where local_table = any ($1)";

/// Returns the pauses of all mirrors of these tables, also those that have ended by themselves.
pub async fn of_tables(
    tx: &Tx<'_, Local>,
    tables: &[String],
) -> Result<Vec<(MirrorKey, Pause)>, DbError> {
    let rows = tx.query(OF_TABLES, &[param::texts(tables)]).await?;
    let paused = rows.iter().map(|row| {
        let key = MirrorKey {
            tenant: row.get(0),
            local_table: row.get(1),
        };
        (key, pause(row, 2))
    });
    Ok(paused.collect())
}

/// Reads a pause from the columns of a row that begin at `first`.
fn pause(row: &Row, first: usize) -> Pause {
    Pause {
        since: row.get(first),
        by: row.get(first + 1),
        reason: row.get(first + 2),
        until: row.get(first + 3),
    }
}
