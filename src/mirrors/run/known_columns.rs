//! Compares the columns that earlier runs recorded with those that a sweep or a check finds.

use std::collections::BTreeSet;

use crate::config::Mapping;
use crate::db::{DbError, Local, Tx};
use crate::engine::Relations;
use crate::engine::drift::{self, KnownColumns};
use crate::error::Failure;
use crate::model::TenantId;

use crate::mirrors::local_table;
use crate::mirrors::tenant;
use crate::store::{columns, migrations};

/// Returns the tenants of a table whose recorded columns agree with these relations, so that a run would record
/// nothing new about them. Most tenants have equal recorded columns, so few comparisons are made.
pub(in crate::mirrors) async fn settled(
    tx: &Tx<'_, Local>,
    local_table: &str,
    relations: &Relations,
    mapping: &Mapping,
) -> Result<BTreeSet<String>, DbError> {
    let groups = columns::groups(tx, local_table).await?.into_iter();
    let settled =
        groups.filter(|group| !drift::compare(&group.known, relations, mapping).is_changed);
    Ok(settled.flat_map(|group| group.tenants).collect())
}

/// The recorded columns of a scope, for a check.
#[derive(Clone, Debug)]
pub(crate) struct ScopeColumns {
    /// The recorded columns.
    pub(crate) known: KnownColumns,
    /// The tenant's id as our tables spell it.
    pub(crate) tenant: TenantId,
    /// The full name of the local table as our tables spell it.
    pub(crate) local_table: String,
}

/// Reads the recorded columns for a check; `None` if no run has recorded any.
pub(crate) async fn look(
    tx: &Tx<'_, Local>,
    mapping: &Mapping,
) -> Result<Option<ScopeColumns>, Failure> {
    if !migrations::tables(tx).await?.columns {
        return Ok(None);
    }
    let table = local_table::find(tx, mapping).await?;
    let tenant = tenant::resolve(tx, mapping, &table).await?.id;
    let known = columns::known(tx, &tenant, &table.name).await?;
    let is_known = !known.columns.is_empty();
    Ok(is_known.then_some(ScopeColumns {
        known,
        tenant,
        local_table: table.name,
    }))
}
