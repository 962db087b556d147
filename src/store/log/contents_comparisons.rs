//! Records and finds the runs that compared the contents of all rows of both sides (other runs compare less). Either
//! the run itself compared them, or a separate comparison right after the run did.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::LogFilter;
use crate::db::{DbError, Local, Tx, param};
use crate::model::RunId;
use crate::store::unchanged_mirrors::MirrorKey;

const COMPARED: &str = "\
-- log a comparison of contents
update meter_sync.meter_sync_log
set compared = case when $2 then 'contents' else compared end,
    proved = case when $2 then 'contents' when not $5 then proved end,
    warning = nullif(concat_ws(' ', warning, $3), ''), remote_bytes = remote_bytes + $4
where id = $1";

/// The result of a comparison of contents after a run.
#[derive(Clone, Debug, Default)]
pub struct ComparisonAfterRun {
    /// Whether both sides were equal.
    pub are_equal: bool,
    /// Whether the sides differed although row versions showed no change since the run.
    pub is_unexplained: bool,
    /// A warning about the comparison; `None` if there is none.
    pub warning: Option<String>,
    /// The bytes that the remote sent.
    pub remote_bytes: i64,
}

/// Adds the result of a comparison of contents to the log row of the run before the comparison: a warning, if there is
/// one, and the bytes read from the remote. If both sides were equal, that run counts as one that compared the contents
/// of all rows. If the difference was unexplained, the run no longer counts as one after which both sides were equal.
pub async fn compared_after(
    tx: &Tx<'_, Local>,
    run_id: RunId,
    result: &ComparisonAfterRun,
) -> Result<(), DbError> {
    let warning = tx.storable_if_any(result.warning.as_deref()).await?;
    let params = [
        param::uuid(run_id.as_uuid()),
        param::boolean(result.are_equal),
        param::text(warning.as_deref()),
        param::bigint(result.remote_bytes),
        param::boolean(result.is_unexplained),
    ];
    tx.execute(COMPARED, &params).await.map(drop)
}

const WAS_COMPARED_SINCE: &str = "\
-- look for a later comparison of contents
select exists (
    select from meter_sync.meter_sync_log
    where local_table = $1 and tenant = $2 and compared in ('contents', 'everything')
      and started_at > $3 and started_at <= clock_timestamp()
)";

/// Whether a run that started after `since` compared the contents of all rows, itself or in the comparison after it. A
/// run with a start time in the future does not count, because a wrong clock dated it.
pub async fn was_compared_since(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    since: DateTime<Utc>,
) -> Result<bool, DbError> {
    let params = log.with([param::timestamptz(since)]);
    Ok(tx.query_one(WAS_COMPARED_SINCE, &params).await?.get(0))
}

/// The times at which all rows of a mirror were last compared or found unchanged.
pub struct LastComparisonTimes {
    /// The end of the last run that compared the contents of all rows, itself or in the comparison after it; `None`
    /// before the first such run.
    pub verified_at: Option<DateTime<Utc>>,
    /// When a sweep (a check of all mirrors) last found the mirror unchanged; `None` before the first such sweep.
    pub checked_at: Option<DateTime<Utc>>,
}

/// Reads when all rows of the mirror were last compared or found unchanged. `has_sweeps` says whether the tables of
/// sweeps exist, which an earlier version did not create.
pub async fn last_looks(
    tx: &Tx<'_, Local>,
    log: LogFilter<'_>,
    has_sweeps: bool,
) -> Result<LastComparisonTimes, DbError> {
    let checked_at = match has_sweeps {
        true => {
            "select m.checked_at from meter_sync.meter_sync_mirror m where m.local_table = $1 and m.tenant = $2"
        }
        false => "select null::timestamptz",
    };
    let sql = format!(
        "-- read when the meters were last compared
select (
    select finished_at from meter_sync.meter_sync_log
    where local_table = $1 and tenant = coalesce($2, tenant) and compared in ('contents', 'everything')
    order by {} limit 1
), ({checked_at})",
        log.newest_first()
    );
    let row = tx.query_one(&sql, &log.params()).await?;
    Ok(LastComparisonTimes {
        verified_at: row.get(0),
        checked_at: row.get(1),
    })
}

const COMPARED_MIRRORS: &str = "\
-- list the mirrors whose contents were compared
select distinct tenant, local_table from meter_sync.meter_sync_log
where local_table = any ($1) and tenant is not null and compared in ('contents', 'everything')
  and started_at > $2 and started_at <= clock_timestamp()";

/// Returns the mirrors in these local tables whose contents a run has compared since `since`, as in
/// [`was_compared_since`].
pub async fn compared_mirrors(
    tx: &Tx<'_, Local>,
    local_tables: &[String],
    since: DateTime<Utc>,
) -> Result<BTreeSet<MirrorKey>, DbError> {
    let params = [param::texts(local_tables), param::timestamptz(since)];
    let rows = tx.query(COMPARED_MIRRORS, &params).await?;
    let key = |row: &Row| MirrorKey {
        tenant: row.get(0),
        local_table: row.get(1),
    };
    Ok(rows.iter().map(key).collect())
}
