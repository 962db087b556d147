//! The versions of rows that both sides held when they were last found equal, by bucket.
//!
//! They are kept in the transaction that makes the sides equal, a row a chunk of buckets, so that what is
//! written follows what changed.

use crate::db::{DbError, Local, Tx, param};
use crate::sync::{Job, Shape};

use super::sums::{self, Sums};

/// The same of the remote and the local side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Both<T> {
    pub(super) remote: T,
    pub(super) local: T,
}

const TOTALS: &str = "\
-- look up the versions last seen
select remote_rows, remote_sum, local_rows, local_sum from meter_sync.meter_sync_seen
where tenant = $1 and local_table = $2 and basis = md5($3)";

/// How many rows each side held and the sum of their versions, if that was on the same basis.
pub(super) async fn totals(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    basis: &str,
) -> Result<Option<Both<(i64, i64)>>, DbError> {
    let [tenant, table] = scope(shape, job);
    let params = [tenant, table, param::text(basis)];
    let found = local.query_opt(TOTALS, &params).await?;
    Ok(found.map(|row| Both {
        remote: (row.get(0), row.get(1)),
        local: (row.get(2), row.get(3)),
    }))
}

const CHUNKS: &str = "\
-- look up the chunks last seen
select chunk, remote_sum, local_sum from meter_sync.meter_sync_seen_chunk
where tenant = $1 and local_table = $2 order by chunk";

/// The sums of all chunks.
pub(super) async fn chunks(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<Both<Sums>, DbError> {
    let mut chunks = Both::<Sums>::default();
    for row in local.query(CHUNKS, &scope(shape, job)).await? {
        let n = u32::try_from(row.get::<_, i64>(0)).unwrap_or(u32::MAX);
        chunks.remote.push((n, row.get(1)));
        chunks.local.push((n, row.get(2)));
    }
    Ok(chunks)
}

const SUMS: &str = "\
-- look up the buckets last seen
select encode(remote_sums, 'hex'), encode(local_sums, 'hex') from meter_sync.meter_sync_seen_chunk
where tenant = $1 and local_table = $2 and chunk = any ($3)";

/// The sums of the buckets in some chunks.
pub(super) async fn sums(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    chunks: &[u32],
) -> Result<Both<Sums>, DbError> {
    let [tenant, table] = scope(shape, job);
    let chunks: Vec<i64> = chunks.iter().copied().map(i64::from).collect();
    let rows = local
        .query(SUMS, &[tenant, table, param::bigints(&chunks)])
        .await?;
    Ok(Both {
        remote: sums::read(rows.iter().map(|row| row.get(0))),
        local: sums::read(rows.iter().map(|row| row.get(1))),
    })
}

const KEEP_TOTALS: &str = "\
-- remember the versions
insert into meter_sync.meter_sync_seen
    (tenant, local_table, basis, remote_rows, remote_sum, local_rows, local_sum)
values ($1, $2, md5($3), $4, $5, $6, $7)
on conflict (tenant, local_table) do update set
    basis = excluded.basis, remote_rows = excluded.remote_rows, remote_sum = excluded.remote_sum,
    local_rows = excluded.local_rows, local_sum = excluded.local_sum";

/// Keeps the totals, without which nothing is known.
pub(super) async fn keep_totals(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (basis, totals): (&str, &Both<(i64, i64)>),
) -> Result<(), DbError> {
    let [tenant, table] = scope(shape, job);
    let params = [
        tenant,
        table,
        param::text(basis),
        param::bigint(totals.remote.0),
        param::bigint(totals.remote.1),
        param::bigint(totals.local.0),
        param::bigint(totals.local.1),
    ];
    local.execute(KEEP_TOTALS, &params).await.map(drop)
}

const KEEP: &str = "\
-- remember the buckets
insert into meter_sync.meter_sync_seen_chunk
    (tenant, local_table, chunk, remote_sum, local_sum, remote_sums, local_sums)
select $1, $2, c.n, c.remote_sum, c.local_sum, decode(c.remote, 'hex'), decode(c.local, 'hex')
from unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[])
    c(n, remote_sum, local_sum, remote, local)
on conflict (tenant, local_table, chunk) do update set
    remote_sum = excluded.remote_sum, local_sum = excluded.local_sum,
    remote_sums = excluded.remote_sums, local_sums = excluded.local_sums";

/// Keeps the sums of the buckets in some chunks.
pub(super) async fn keep(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (chunks, sums): (&[u32], &Both<Sums>),
) -> Result<(), DbError> {
    let (mut totals, mut digits) = (Both::<Vec<i64>>::default(), Both::<Vec<String>>::default());
    for chunk in chunks {
        let remote = sums::in_chunk(&sums.remote, *chunk);
        let here = sums::in_chunk(&sums.local, *chunk);
        totals.remote.push(sums::total(remote));
        totals.local.push(sums::total(here));
        digits.remote.push(sums::digits(remote));
        digits.local.push(sums::digits(here));
    }
    let chunks: Vec<i64> = chunks.iter().copied().map(i64::from).collect();
    let [tenant, table] = scope(shape, job);
    let params = [
        tenant,
        table,
        param::bigints(&chunks),
        param::bigints(&totals.remote),
        param::bigints(&totals.local),
        param::texts(&digits.remote),
        param::texts(&digits.local),
    ];
    local.execute(KEEP, &params).await.map(drop)
}

/// Forgets them: the next run compares what the rows hold.
pub(super) async fn forget(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<(), DbError> {
    let sums = "-- forget the versions by bucket
delete from meter_sync.meter_sync_seen_chunk where tenant = $1 and local_table = $2";
    let totals = "-- forget the versions
delete from meter_sync.meter_sync_seen where tenant = $1 and local_table = $2";
    local.execute(sums, &scope(shape, job)).await?;
    local.execute(totals, &scope(shape, job)).await.map(drop)
}

fn scope<'a>(shape: &'a Shape, job: &'a Job<'_>) -> [param::Param<'a>; 2] {
    [
        param::text(job.tenant.as_str()),
        param::text(shape.local.as_str()),
    ]
}
