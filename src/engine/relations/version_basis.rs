//! Decides whether the row versions of two runs can be compared.

use super::RemoteSource;
use crate::config::Mapping;
use crate::db::catalog::{Column, Relation};
use crate::hex_digest::{WHOLE, hex_digest};

/// Returns a hash of the table files and of all settings but the tenant. Row versions of two runs are comparable only
/// if this hash is the same. `None` if row versions cannot show whether rows have changed, for instance because a value
/// can change its meaning without a new row version, as an enum label or a table name can.
pub(super) fn basis(
    there: &RemoteSource,
    here: &Relation,
    columns: &[Column],
    remote_columns: &[Column],
    mapping: &Mapping,
) -> Option<String> {
    let (there, here) = (there.file.as_ref()?, here.file.as_ref()?);
    let mut all = columns.iter().chain(remote_columns);
    // Every setting except the tenant, so that a new setting cannot be forgotten here.
    let Mapping {
        tenant: _,
        source,
        local_table,
        columns: named,
        key,
        tenant_column,
        active_column,
        on_drift,
    } = mapping;
    let settings = format!(
        "{source:?} {local_table:?} {named:?} {key:?} {tenant_column:?} {active_column:?} {on_drift:?}"
    );
    all.all(|column| column.is_builtin && !column.names_catalog_rows() && !column.is_generated)
        .then(|| {
            hex_digest(
                &format!("{there} {here} {settings} {columns:?} {remote_columns:?}"),
                WHOLE,
            )
        })
}
