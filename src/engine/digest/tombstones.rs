//! Keeps tombstones: hashes of the keys of meters that are inactive locally because the remote no longer has them.
//!
//! The remote's digest does not contain these meters, so the local digest must leave them out. Tombstones are a cache
//! and may be wrong: a bucket whose digests differ because of a wrong tombstone is compared row by row, and the
//! tombstones are corrected.

use crate::db::catalog::Column;
use crate::db::{DbError, param, quote};

use super::row_hash::{HashMode, Hasher, RowSide};
use crate::engine::{Relations, RunContext};

/// Whether the tenant has tombstones for this table.
pub(super) async fn is_known(run: &RunContext<'_>) -> Result<bool, DbError> {
    let params = [
        param::text(run.job.tenant.as_str()),
        param::text(run.relations.local.as_str()),
    ];
    Ok(run.local.query_one(IS_KNOWN, &params).await?.get(0))
}

const IS_KNOWN: &str = "\
-- look for gone meters
select exists (select from meter_sync.meter_sync_gone where tenant = $1 and local_table = $2)";

/// An SQL condition: the local row `l` is inactive and has a tombstone.
pub(in crate::engine) fn condition(run: &RunContext<'_>) -> String {
    format!(
        "(l.{} is not true and {} in (select g.key_hash from meter_sync.meter_sync_gone g where {}))",
        quote::identifier(&run.relations.active),
        key_hash(run.relations),
        of(run)
    )
}

/// Adds tombstones for the meters that the plan found missing on the remote, and deletes those of meters that are
/// back.
pub(super) async fn remember(run: &RunContext<'_>) -> Result<(), DbError> {
    let relations = run.relations;
    let (table, local_filter) = (&relations.local, &run.scope.local_filter);
    let hash = key_hash(relations);
    // The key of a row `row` of a temporary table, under the names of the local columns.
    let key = |row: &str| {
        quote::list(&relations.key, ", ", |name| {
            format!(
                "{} as {}",
                relations.column(row, name),
                quote::identifier(name)
            )
        })
    };
    // Where equal keys may be spelt differently, the tombstone was made from the local spelling.
    let staged = match relations.has_exact_key {
        true => format!("(select {} from pg_temp.meter_sync_stage s) l", key("s")),
        false => format!(
            "pg_temp.meter_sync_stage s join {table} l on {} and {local_filter}",
            relations.same_key("l", "s")
        ),
    };
    // The array makes the server compute the hashes once, whatever the planner expects of a table without statistics.
    run.local
        .batch(&format!(
            "-- forget meters that are back
delete from meter_sync.meter_sync_gone g
where {} and g.key_hash = any (array(
    select {hash} from {staged}));
-- remember gone meters
insert into meter_sync.meter_sync_gone (tenant, local_table, key_hash)
select {}, {}, {hash} from (select {} from pg_temp.meter_sync_unmatched u) l
on conflict do nothing",
            of(run),
            quote::literal(run.job.tenant.as_str()),
            quote::literal(table),
            key("u"),
        ))
        .await
}

fn of(run: &RunContext<'_>) -> String {
    format!(
        "g.tenant = {} and g.local_table = {}",
        quote::literal(run.job.tenant.as_str()),
        quote::literal(&run.relations.local)
    )
}

/// The hash of a local row's key that is stored as its tombstone. It is the same in every run.
pub(in crate::engine) fn key_hash(relations: &Relations) -> String {
    let hasher = Hasher {
        seed: 0,
        bits: 64,
        mode: HashMode::USUAL,
    };
    hasher.hash(relations, RowSide::Local, |column: &Column| {
        relations.key.contains(&column.name)
    })
}
