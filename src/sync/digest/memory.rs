//! The versions of rows that both sides held when they were last found equal.
//!
//! They are kept in the transaction that makes the sides equal.

use crate::db::{DbError, Local, Tx, param};
use crate::sync::{Job, Shape};

/// The same of the remote and the local side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Both<T> {
    pub(super) remote: T,
    pub(super) local: T,
}

/// What was seen of both sides at one moment.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// How many rows each holds, and the sum of their versions.
    pub(super) totals: Both<(i64, i64)>,
    /// The oldest transaction that was still running on the remote.
    pub(super) horizon: i64,
}

// The basis goes as bytes: it names relations and columns of the remote, whose characters the local encoding may lack.
const SEEN: &str = "\
-- look up the versions last seen
select remote_rows, remote_sum, local_rows, local_sum, remote_horizon from meter_sync.meter_sync_seen
where tenant = $1 and local_table = $2 and basis = pg_catalog.encode(pg_catalog.sha256($3), 'hex')";

/// What was seen last, if that was on the same basis.
pub(super) async fn seen(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    basis: &str,
) -> Result<Option<Seen>, DbError> {
    let [tenant, table] = scope(shape, job);
    let params = [tenant, table, param::bytea(basis.as_bytes())];
    let found = local.query_opt(SEEN, &params).await?;
    Ok(found.map(|row| Seen {
        totals: Both {
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

/// Keeps what was seen.
pub(super) async fn keep(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (basis, seen): (&str, &Seen),
) -> Result<(), DbError> {
    let [tenant, table] = scope(shape, job);
    let Seen { totals, horizon } = seen;
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
    local.execute(KEEP, &params).await.map(drop)
}

const FORGET: &str = "\
-- forget the versions
delete from meter_sync.meter_sync_seen where tenant = $1 and local_table = $2";

/// Forgets it: the next run compares what the rows hold.
pub(super) async fn forget(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<(), DbError> {
    local.execute(FORGET, &scope(shape, job)).await.map(drop)
}

fn scope<'a>(shape: &'a Shape, job: &'a Job<'_>) -> [param::Param<'a>; 2] {
    [
        param::text(job.tenant.as_str()),
        param::text(shape.local.as_str()),
    ]
}
