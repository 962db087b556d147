//! Keeps tombstones: hashes of the keys of meters that are inactive locally because the remote no longer has them.
//!
//! The sums of row hashes on the remote do not contain these meters, so the local sums must leave them out. Tombstones
//! are a cache and may be wrong. If a wrong tombstone makes the sums of a bucket differ, the bucket is compared row by
//! row, and the tombstones are corrected.

use crate::db::catalog::Column;
use crate::db::{DbError, quote};

use super::row_hash::{HashMode, Hasher, RowSide};
use crate::engine::{Relations, RunContext, copy_distributed_rows};
use crate::model::TenantId;
use crate::store::tombstones;

/// Returns the SQL condition that the local row `l` is inactive and has a tombstone.
pub(in crate::engine) fn condition(run: &RunContext<'_>) -> String {
    format!(
        "(l.{} is not true and {})",
        quote::identifier(&run.relations.active),
        has_tombstone(run.relations, run.job.tenant)
    )
}

/// Returns the SQL condition that the local row `l` has a tombstone of this tenant.
pub(in crate::engine) fn has_tombstone(relations: &Relations, tenant: &TenantId) -> String {
    format!(
        "{} in ({})",
        key_hash(relations),
        tombstones::select(tenant, &relations.local)
    )
}

/// Adds tombstones for the meters that are missing on the remote according to the plan, and deletes those of meters
/// that the remote has again.
pub(super) async fn remember(run: &RunContext<'_>) -> Result<(), DbError> {
    let relations = run.relations;
    let (table, local_filter) = (&relations.local, &run.scope.local_filter);
    let hash = key_hash(relations);
    // Lists the key columns of `row`, a row of a temporary table, under the names of the local columns.
    let key = |row: &str| {
        quote::list(&relations.key, ", ", |name| {
            format!(
                "{} as {}",
                relations.column(row, name),
                quote::identifier(name)
            )
        })
    };
    // If equal keys may be spelt differently, the tombstone was made from the local spelling.
    let staged = match relations.has_exact_key {
        true => format!("(select {} from pg_temp.meter_sync_stage s) l", key("s")),
        false => format!(
            "pg_temp.meter_sync_stage s join {} on {} and {local_filter}",
            run.relations.local_rows(),
            relations.same_key("l", "s")
        ),
    };
    if !relations.has_exact_key {
        copy_distributed_rows::copy(run).await?;
    }
    let back = format!("select {hash} from {staged}");
    let gone = format!(
        "select {hash} from (select {} from pg_temp.meter_sync_unmatched u) l",
        key("u")
    );
    tombstones::update(run.local, run.job.tenant, table, &back, &gone).await
}

/// Returns SQL for the hash of a local row's key, which is stored as its tombstone. Its seed is the same in every run.
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
