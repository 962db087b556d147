//! Checks how Citus distributes the local table.

use super::connections::ConnectionWithReport;
use super::{Finding, Verdict};
use crate::config::Mapping;
use crate::db::catalog::{self, Relation};
use crate::db::citus_distribution;
use crate::db::{Local, quote};
use crate::engine::{self, SyncError};

/// Returns a finding that says how Citus distributes the local table. The finding fails if a run cannot work with the
/// table. `None` if the local database does not have Citus, or if the table is missing.
pub(super) async fn finding(
    local: &mut ConnectionWithReport<Local>,
    mapping: &Mapping,
) -> Option<Finding> {
    let looked = look(local, mapping).await.transpose()?;
    Some(Finding::of("distribution", looked))
}

async fn look(
    local: &mut ConnectionWithReport<Local>,
    mapping: &Mapping,
) -> Result<Option<Verdict>, SyncError> {
    let tx = local.begin_read_only().await?;
    let Some(citus) = citus_distribution::name_of_citus(&tx).await? else {
        return Ok(None);
    };
    let Some(table) = catalog::find(&tx, &mapping.local_table).await? else {
        return Ok(None);
    };
    engine::refuse_other_distributions(&table, mapping)?;
    Ok(Some(verdict(&citus, &table, &mapping.tenant_column)))
}

fn verdict(citus: &str, table: &Relation, tenant_column: &str) -> Verdict {
    let name = table.shown();
    let Some(distribution) = &table.distribution else {
        return Verdict::Ok(format!(
            "{citus} is installed, and {name} is not distributed: all of its rows stay on this server.{}",
            advice(table, tenant_column)
        ));
    };
    let how = match distribution.column() {
        Some(column) => format!("distributes {name} by column {column}"),
        None => format!("keeps the rows of {name} in one place"),
    };
    Verdict::Ok(format!(
        "{citus} {how}; each run compares contents, as row versions prove nothing there"
    ))
}

/// What a person can do to distribute the table; empty if it has no tenant column.
fn advice(table: &Relation, tenant_column: &str) -> String {
    let statement = engine::create_distributed_table(table, tenant_column);
    match table.column(tenant_column) {
        Some(_) => format!(
            " To distribute it by tenant, as its owner: let its primary key and all unique indexes contain {}, and then: {statement}",
            quote::where_needed(tenant_column)
        ),
        None => String::new(),
    }
}
