//! Stores the watermark: the row versions that both sides held when they were last found equal.
//!
//! It is written in the local transaction that makes the sides equal.

use crate::db::{DbError, param};
use crate::engine::RunContext;

/// A pair of values, one for each side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PerSide<T> {
    pub(super) remote: T,
    pub(super) local: T,
}

/// The row versions of both sides at one moment.
#[derive(Clone, Debug)]
pub(super) struct Watermark {
    /// How many rows each side holds, and the sum of their versions.
    pub(super) totals: PerSide<(i64, i64)>,
    /// The oldest transaction that was still running on the remote at that moment.
    pub(super) horizon: i64,
}

// The basis is passed as bytes: it contains names of remote relations and columns, and the local encoding may lack
// some of their characters.
const SEEN: &str = "\
-- look up the versions last seen
select remote_rows, remote_sum, local_rows, local_sum, remote_horizon from meter_sync.meter_sync_seen
where tenant = $1 and local_table = $2 and basis = pg_catalog.encode(pg_catalog.sha256($3), 'hex')";

/// Reads the watermark. Returns `None` if there is none, or if it was stored for another basis.
pub(super) async fn seen(run: &RunContext<'_>, basis: &str) -> Result<Option<Watermark>, DbError> {
    let [tenant, table] = scope(run);
    let params = [tenant, table, param::bytea(basis.as_bytes())];
    let found = run.local.query_opt(SEEN, &params).await?;
    Ok(found.map(|row| Watermark {
        totals: PerSide {
            remote: (row.get(0), row.get(1)),
            local: (row.get(2), row.get(3)),
        },
        horizon: row.get(4),
    }))
}

const KEEP: &str = "\
-- remember the versions
insert into meter_sync.meter_sync_seen
    (tenant, local_table, basis, remote_rows, remote_sum, local_rows, local_sum, remote_horizon)
values ($1, $2, pg_catalog.encode(pg_catalog.sha256($3), 'hex'), $4, $5, $6, $7, $8)
on conflict (tenant, local_table) do update set
    basis = excluded.basis, remote_rows = excluded.remote_rows, remote_sum = excluded.remote_sum,
    local_rows = excluded.local_rows, local_sum = excluded.local_sum,
    remote_horizon = excluded.remote_horizon";

/// Stores a watermark in place of the last one.
pub(super) async fn keep(
    run: &RunContext<'_>,
    basis: &str,
    seen: &Watermark,
) -> Result<(), DbError> {
    let [tenant, table] = scope(run);
    let Watermark { totals, horizon } = seen;
    let params = [
        tenant,
        table,
        param::bytea(basis.as_bytes()),
        param::bigint(totals.remote.0),
        param::bigint(totals.remote.1),
        param::bigint(totals.local.0),
        param::bigint(totals.local.1),
        param::bigint(*horizon),
    ];
    run.local.execute(KEEP, &params).await.map(drop)
}

const FORGET: &str = "\
-- forget the versions
delete from meter_sync.meter_sync_seen where tenant = $1 and local_table = $2";

/// Deletes the watermark, so that the next run compares contents.
pub(super) async fn forget(run: &RunContext<'_>) -> Result<(), DbError> {
    run.local.execute(FORGET, &scope(run)).await.map(drop)
}

fn scope<'a>(run: &RunContext<'a>) -> [param::Param<'a>; 2] {
    [
        param::text(run.job.tenant.as_str()),
        param::text(run.relations.local.as_str()),
    ]
}
