//! The versions of rows that both sides held when they were last found equal, by bucket.
//!
//! They are kept in the transaction that makes the sides equal, a row a chunk of buckets, so that what is
//! written follows what changed.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::db::{DbError, Local, Tx, param};
use crate::sync::{Job, Shape};

use super::buckets::CHUNK;
use super::cursor::{self, Sums};

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

const SUMS: &str = "\
-- read the versions last seen
select encode(remote_sums, 'hex'), encode(local_sums, 'hex') from meter_sync.meter_sync_seen_chunk
where tenant = $1 and local_table = $2";

/// The sums of all buckets.
pub(super) async fn sums(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<Both<Sums>, DbError> {
    let rows = local.query(SUMS, &scope(shape, job)).await?;
    Ok(Both {
        remote: cursor::sums(rows.iter().map(|row| row.get(0))),
        local: cursor::sums(rows.iter().map(|row| row.get(1))),
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

const KEEP_SUMS: &str = "\
-- remember the versions by bucket
insert into meter_sync.meter_sync_seen_chunk (tenant, local_table, chunk, remote_sums, local_sums)
select $1, $2, c.n, decode(c.remote, 'hex'), decode(c.local, 'hex')
from unnest($3::bigint[], $4::text[], $5::text[]) c(n, remote, local)
on conflict (tenant, local_table, chunk) do update set
    remote_sums = excluded.remote_sums, local_sums = excluded.local_sums";

/// Keeps the totals, and the sums of the chunks that are in `sums`.
pub(super) async fn keep(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (basis, totals, sums): (&str, &Both<(i64, i64)>, &Both<Sums>),
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
    local.execute(KEEP_TOTALS, &params).await?;
    let (mut numbers, mut remote, mut here) = (Vec::new(), Vec::new(), Vec::new());
    for (chunk, texts) in by_chunk(sums) {
        numbers.push(i64::from(chunk));
        remote.push(texts.remote);
        here.push(texts.local);
    }
    let [tenant, table] = scope(shape, job);
    let params = [
        tenant,
        table,
        param::bigints(&numbers),
        param::texts(&remote),
        param::texts(&here),
    ];
    local.execute(KEEP_SUMS, &params).await.map(drop)
}

/// Forgets them: the next run compares what the rows hold.
pub(in crate::sync) async fn forget(
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

/// The sums of each chunk as hexadecimal digits.
fn by_chunk(sums: &Both<Sums>) -> BTreeMap<u32, Both<String>> {
    let mut chunks: BTreeMap<u32, Both<String>> = BTreeMap::new();
    for (n, sum) in &sums.remote {
        append(&mut chunks.entry(n / CHUNK).or_default().remote, *n, *sum);
    }
    for (n, sum) in &sums.local {
        append(&mut chunks.entry(n / CHUNK).or_default().local, *n, *sum);
    }
    chunks
}

fn append(text: &mut String, n: u32, sum: i64) {
    // Writing to a string does not fail.
    if write!(text, "{n:08x}{sum:016x}").is_err() {
        text.clear();
    }
}
