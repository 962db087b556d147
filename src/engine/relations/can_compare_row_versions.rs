//! Decides whether the row versions of two runs can be compared.

use super::RemoteSource;
use crate::config::Mapping;
use crate::db::catalog::{Column, Relation};
use crate::hex_digest::{WHOLE, hex_digest};

/// Returns a hash of the table files and of all settings but the tenant. The row versions of two runs can be compared
/// only if both have the same hash. Returns `None` if row versions cannot show whether rows have changed. One example
/// is a column of an enum or of `regclass`: renaming the label or the table changes the value without a new row
/// version.
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
