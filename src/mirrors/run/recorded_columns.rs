//! Reads which columns earlier runs have synced, for the check of the setup (`meter-sync check`).

use crate::config::Mapping;
use crate::db::{Local, Tx};
use crate::engine::drift::KnownColumns;
use crate::error::Failure;
use crate::model::TenantId;

use crate::mirrors::local_table;
use crate::mirrors::tenant;
use crate::store::{columns, migrations};

/// The columns that the last run synced for one tenant and local table, as it recorded them.
#[derive(Clone, Debug)]
pub(crate) struct RecordedColumns {
    /// The columns, with their types at that time.
    pub(crate) known: KnownColumns,
    /// The tenant's id in its canonical spelling, as in this program's own tables.
    pub(crate) tenant: TenantId,
    /// The full name of the local table, as in [`LocalTable::name`](local_table::LocalTable::name).
    pub(crate) local_table: String,
}

/// Reads the columns that earlier runs have recorded for this mirror; `None` if no run has recorded any.
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
