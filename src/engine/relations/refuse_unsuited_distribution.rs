//! Refuses local tables that Citus distributes in a way that a sync cannot work with.

use crate::config::Mapping;
use crate::db::catalog::Relation;
use crate::db::citus_distribution::CitusDistribution;
use crate::db::quote;
use crate::engine::SyncError;

/// The temporary table with a copy of the local rows, if Citus distributes them.
pub(in crate::engine) const COPIED_ROWS: &str = "pg_temp.meter_sync_local";

/// Returns an error if Citus distributes the local table in one of these ways:
///
/// - By another column than the tenant, with a copy on each server, or with several copies of each shard. Citus then
///   refuses to lock or update rows by a join with a temporary table, which each run does.
/// - With a constraint that a shard checks only when it commits. A run could not know what it has written.
pub(crate) fn refuse_others(here: &Relation, mapping: &Mapping) -> Result<(), SyncError> {
    let tenant = &mapping.tenant_column;
    let how = match &here.distribution {
        None | Some(CitusDistribution::OneShard) => return Ok(()),
        Some(CitusDistribution::ByColumn(column)) if column == tenant => return Ok(()),
        Some(CitusDistribution::ByColumn(column)) => {
            format!(
                "table {} is distributed by its column {column}",
                here.shown()
            )
        }
        Some(CitusDistribution::Reference) => {
            format!("table {} is a reference table of Citus", here.shown())
        }
        Some(CitusDistribution::Replicated) => {
            return Err(SyncError::LocalSchema(replicated(here, tenant)));
        }
        Some(CitusDistribution::CheckedAtCommit(constraint)) => {
            return Err(SyncError::LocalSchema(format!(
                "constraint {constraint} of table {} is initially deferred, so the servers of the Citus cluster check it too late. As the table's owner: drop it, and add it without `initially deferred`",
                here.shown()
            )));
        }
    };
    let distribute = match here.column(tenant) {
        Some(_) => format!(
            "; then let its primary key and all unique indexes contain {tenant}, and: {}",
            create_distributed_table(here, tenant)
        ),
        None => String::new(),
    };
    Err(SyncError::LocalSchema(format!(
        "{how}. A sync needs all rows of a tenant in one place. As the table's owner: select undistribute_table({}){distribute}",
        name(here)
    )))
}

fn replicated(here: &Relation, tenant_column: &str) -> String {
    format!(
        "table {} has several copies of each shard, and Citus then locks no rows. As the table's owner: select undistribute_table({}); set citus.shard_replication_factor = 1; {}",
        here.shown(),
        name(here),
        create_distributed_table(here, tenant_column)
    )
}

/// The statement with which a person distributes the table by the tenant.
pub(crate) fn create_distributed_table(here: &Relation, tenant_column: &str) -> String {
    format!(
        "select create_distributed_table({}, {})",
        name(here),
        quote::literal(tenant_column)
    )
}

fn name(here: &Relation) -> String {
    quote::literal(&here.shown())
}
