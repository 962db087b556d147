//! The meters that are inactive here because the remote has them no more.
//!
//! The remote's digest knows nothing of them, so the local one must leave them out, and for that they are
//! remembered by the hash of their key. It is memory and not truth: a bucket whose digest differs
//! because the memory is wrong is compared row by row, and its memory made right.

use crate::db::catalog::Column;
use crate::db::{DbError, Local, Tx, param, quote};

use super::image::{HashMode, Hasher, Row};
use crate::sync::{Job, Shape};

/// Whether any are remembered.
pub(super) async fn is_known(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<bool, DbError> {
    let params = [
        param::text(job.tenant.as_str()),
        param::text(shape.local.as_str()),
    ];
    Ok(local.query_one(IS_KNOWN, &params).await?.get(0))
}

const IS_KNOWN: &str = "\
-- look for gone meters
select exists (select from meter_sync.meter_sync_gone where tenant = $1 and local_table = $2)";

/// Holds for a local row `l` that is remembered as gone.
pub(in crate::sync) fn condition(shape: &Shape, job: &Job<'_>) -> String {
    format!(
        "(l.{} is not true and {} in (select g.key_hash from meter_sync.meter_sync_gone g where {}))",
        quote::identifier(&shape.active),
        key_hash(shape),
        of(shape, job)
    )
}

/// Remembers the meters that the plan found gone, and forgets those that are back.
pub(super) async fn remember(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
) -> Result<(), DbError> {
    let Shape {
        local: table,
        local_filter,
        ..
    } = shape;
    let hash = key_hash(shape);
    // The key of a row `row` of a temporary table, under the names of the local columns.
    let key = |row: &str| {
        quote::list(&shape.key, ", ", |name| {
            format!("{} as {}", shape.column(row, name), quote::identifier(name))
        })
    };
    // Where equal keys may be spelt differently, the tombstone was made from the local spelling.
    let staged = match shape.has_exact_key {
        true => format!("(select {} from pg_temp.meter_sync_stage s) l", key("s")),
        false => format!(
            "pg_temp.meter_sync_stage s join {table} l on {} and {local_filter}",
            shape.same_key("l", "s")
        ),
    };
    // As an array the hashes are worked out once, whatever the planner thinks of a table that it has no
    // figures of.
    local
        .batch(&format!(
            "-- forget meters that are back
delete from meter_sync.meter_sync_gone g
where {} and g.key_hash = any (array(
    select {hash} from {staged}));
-- remember gone meters
insert into meter_sync.meter_sync_gone (tenant, local_table, key_hash)
select {}, {}, {hash} from (select {} from pg_temp.meter_sync_unmatched u) l
on conflict do nothing",
            of(shape, job),
            quote::literal(job.tenant.as_str()),
            quote::literal(table),
            key("u"),
        ))
        .await
}

fn of(shape: &Shape, job: &Job<'_>) -> String {
    format!(
        "g.tenant = {} and g.local_table = {}",
        quote::literal(job.tenant.as_str()),
        quote::literal(&shape.local)
    )
}

/// The hash by which a local row's key is remembered: the same in every run.
fn key_hash(shape: &Shape) -> String {
    let hasher = Hasher {
        seed: 0,
        bits: 64,
        mode: HashMode::USUAL,
    };
    hasher.hash(shape, Row::Local, |column: &Column| {
        shape.key.contains(&column.name)
    })
}
