//! Reads the columns that earlier runs recorded, for the check of the setup (`crate::check`).

use crate::config::Mapping;
use crate::db::{Local, Tx};
use crate::engine::drift::KnownColumns;
use crate::error::Failure;
use crate::model::TenantId;

use crate::mirrors::local_table;
use crate::mirrors::tenant;
use crate::store::{columns, migrations};

/// The columns that the last run recorded for one tenant and local table.
#[derive(Clone, Debug)]
pub(crate) struct RecordedColumns {
    /// The recorded columns.
    pub(crate) known: KnownColumns,
    /// The tenant's id in its canonical spelling, which the tables of the schema `meter_sync` use.
    pub(crate) tenant: TenantId,
    /// The full name of the local table, as in [`LocalTable::name`](local_table::LocalTable::name).
    pub(crate) local_table: String,
}

/// Reads the recorded columns for a check; `None` if no run has recorded any.
pub(crate) async fn look(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
) -> Result<Option<RecordedColumns>, Failure> {
    if !migrations::tables(tx).await?.columns {
        return Ok(None);
    }
    let table = local_table::find(tx, mapping).await?;
    let tenant = tenant::resolve(tx, mapping, &table).await?.id;
    let known = columns::known(tx, &tenant, &table.name).await?;
    let is_known = !known.columns.is_empty();
    Ok(is_known.then_some(RecordedColumns {
        known,
        tenant,
        local_table: table.name,
    }))
}
