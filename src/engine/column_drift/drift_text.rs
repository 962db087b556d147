//! Describes drift to people: the warning or failure of a run, and the statements and settings that settle the drift.

use crate::db::quote;
use crate::error::{ErrorCode, Failure};
use crate::model::TenantId;

use super::{ColumnDrift, RecordedColumn};
use crate::engine::Relations;

/// The most columns that a warning or a failure names. `meter-sync check` names all.
const NAMED: usize = 10;
/// The most ways to settle drift that a failed run suggests.
const IN_REMEDY: usize = 3;

/// How a local column can be changed to the new type of the remote column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnRetypeMethod {
    /// Postgres casts the values.
    Cast,
    /// Postgres has no cast, but can convert each value to text, and the text to the new type.
    Text,
    /// The local database does not have the new type.
    NoType,
}

/// Returns the warning about columns that have drifted; `None` if there are none.
pub fn warning<'a>(drifted: impl IntoIterator<Item = &'a RecordedColumn>) -> Option<String> {
    let changes = changes(drifted)?;
    Some(format!(
        "Synced columns have changed on the remote: {changes} Run `meter-sync check` for the statements that settle this."
    ))
}

/// Describes how each column changed on the remote and what this means for the local column. `None` if no column has
/// drifted.
fn changes<'a>(drifted: impl IntoIterator<Item = &'a RecordedColumn>) -> Option<String> {
    let mut drifted: Vec<&RecordedColumn> = drifted.into_iter().collect();
    drifted.sort_by(|a, b| a.name.cmp(&b.name));
    let is_frozen = |column: &&RecordedColumn| match column.drift {
        Some(ColumnDrift::Missing | ColumnDrift::Renamed(_)) => true,
        Some(ColumnDrift::Retyped(_) | ColumnDrift::Replaced(_)) | None => false,
    };
    let frozen = match drifted.iter().any(is_frozen) {
        true => " A column that is gone there keeps its last values here.",
        false => "",
    };
    let mut changes: Vec<String> = drifted.iter().filter_map(|column| change(column)).collect();
    let more = changes.len().saturating_sub(NAMED);
    changes.truncate(NAMED);
    if more > 0 {
        changes.push(format!("and {more} more"));
    }
    (!changes.is_empty()).then(|| format!("{}.{frozen}", changes.join("; ")))
}

fn change(column: &RecordedColumn) -> Option<String> {
    let name = quote::where_needed(&column.name);
    Some(match column.drift.as_ref()? {
        ColumnDrift::Missing => format!("{name} is gone (dropped or renamed)"),
        ColumnDrift::Renamed(to) => format!("{name} is called {} now", quote::where_needed(to)),
        ColumnDrift::Retyped(to) => format!("{name} is {to} now and was {}", column.remote_type),
        ColumnDrift::Replaced(to) => format!(
            "{name} is another column now, and the one before is called {}",
            quote::where_needed(to)
        ),
    })
}

/// Returns a sentence that names columns which are no longer synced because somebody changed the local table or the
/// settings; `None` if `columns` is empty.
pub(super) fn no_longer_synced(columns: &[String]) -> Option<String> {
    let names: Vec<_> = columns
        .iter()
        .map(|name| quote::where_needed(name))
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "No longer synced, because the local table or the settings have changed: {}.",
            names.join(", ")
        )
    })
}

/// Returns the failure of a run that found drift although its settings forbid drift.
pub fn failure(drifted: &[&RecordedColumn], relations: &Relations) -> Failure {
    let changes = changes(drifted.iter().copied()).unwrap_or_default();
    let message =
        format!("Synced columns have changed on the remote: {changes} No meter was changed.");
    let ways = drifted
        .iter()
        .filter_map(|column| shortest(column, relations));
    let mut ways: Vec<_> = ways.collect();
    ways.dedup();
    ways.truncate(IN_REMEDY);
    let failure = Failure::new(ErrorCode::SchemaDrift, message);
    if ways.is_empty() {
        return failure;
    }
    let remedy = format!(
        "Settle it, for instance: {}. {}",
        ways.join("; "),
        failure.remedy
    );
    failure.with_remedy(remedy)
}

/// Returns one way to settle the column's drift, as SQL or as a setting, without dropping a column. `None` if the
/// column has not drifted, or if it is not the active column and its new type is not built into Postgres.
fn shortest(column: &RecordedColumn, relations: &Relations) -> Option<String> {
    match column.drift.as_ref()? {
        ColumnDrift::Missing | ColumnDrift::Replaced(_) => Some(without(&[column], relations)),
        ColumnDrift::Renamed(to) if has_local(relations, to) => Some(without(&[column], relations)),
        ColumnDrift::Renamed(to) => Some(rename(column, to, relations)),
        ColumnDrift::Retyped(_) if column.name == relations.active => Some(format!(
            "let METER_SYNC_REMOTE_QUERY give {} as a boolean",
            quote::where_needed(&column.name)
        )),
        ColumnDrift::Retyped(to) if has_type(relations, column) => {
            Some(retype(column, to, relations, ColumnRetypeMethod::Cast))
        }
        ColumnDrift::Retyped(_) => None,
    }
}

/// Returns what `meter-sync check` prints about a drifted column: the change, and each way to settle it. `conversion`
/// says how the local column can take the new type. `None` if the column has not drifted.
pub fn finding(
    column: &RecordedColumn,
    relations: &Relations,
    tenant: &TenantId,
    local_table: &str,
    conversion: ColumnRetypeMethod,
) -> Option<String> {
    let forget = format!(
        "delete from meter_sync.meter_sync_column where tenant = {} and local_table = {} and column_name = {}",
        quote::literal(tenant.as_str()),
        quote::literal(local_table),
        quote::literal(&column.name)
    );
    let drop = format!(
        "alter table {} drop column {}",
        relations.local,
        quote::where_needed(&column.name)
    );
    let frozen = "the local column keeps its last values";
    let change = change(column)?;
    Some(match column.drift.as_ref()? {
        ColumnDrift::Missing => format!(
            "{change} on the remote, and {frozen}. To keep it as the site's own: {}; or: {forget}. To drop it here: {drop}",
            without(&[column], relations)
        ),
        ColumnDrift::Renamed(to) if has_local(relations, to) => format!(
            "{change} on the remote, which the local table has too, and {frozen}. To drop the old one here: {drop}. To keep it as the site's own: {}; or: {forget}",
            without(&[column], relations)
        ),
        ColumnDrift::Renamed(to) => format!(
            "{change} on the remote, and {frozen}. To follow: {}. To keep it as the site's own: {}; or: {forget}",
            rename(column, to, relations),
            without(&[column], relations)
        ),
        ColumnDrift::Replaced(_) => format!(
            "{change} on the remote. To take the values of the new column: {forget}. To keep what is here as the site's own: {}; or let METER_SYNC_REMOTE_QUERY give the old column the old name",
            without(&[column], relations)
        ),
        ColumnDrift::Retyped(to) => {
            let here = &column.local_type;
            let begin = format!(
                "{change} on the remote, and {here} here; a row with a value that does not fit is rejected."
            );
            match conversion {
                _ if column.name == relations.active => format!(
                    "{begin} The active column has to stay boolean. To keep the local type: {forget}; or let METER_SYNC_REMOTE_QUERY give it as a boolean"
                ),
                ColumnRetypeMethod::NoType => format!(
                    "{begin} The local database has no type {to}. To keep the local type: {forget}. To follow, make the type here as the remote has it: a check then prints the statement for the column"
                ),
                ColumnRetypeMethod::Cast | ColumnRetypeMethod::Text => format!(
                    "{begin} To follow: {}. To keep the local type: {forget}",
                    retype(column, to, relations, conversion)
                ),
            }
        }
    })
}

/// Whether the new type of the remote column is built into Postgres.
fn has_type(relations: &Relations, column: &RecordedColumn) -> bool {
    let mut remote = relations.remote_columns.iter();
    remote.any(|there| there.name == column.name && there.is_builtin)
}

fn has_local(relations: &Relations, name: &str) -> bool {
    relations
        .all_columns
        .local
        .iter()
        .any(|column| column.name == name)
}

fn rename(column: &RecordedColumn, to: &str, relations: &Relations) -> String {
    format!(
        "alter table {} rename column {} to {}",
        relations.local,
        quote::where_needed(&column.name),
        quote::where_needed(to)
    )
}

fn retype(
    column: &RecordedColumn,
    to: &str,
    relations: &Relations,
    conversion: ColumnRetypeMethod,
) -> String {
    let name = quote::where_needed(&column.name);
    let value = match conversion {
        ColumnRetypeMethod::Text => format!("{name}::text"),
        ColumnRetypeMethod::Cast | ColumnRetypeMethod::NoType => name.clone(),
    };
    format!(
        "alter table {} alter column {name} type {to} using {value}::{to}",
        relations.local
    )
}

/// Returns the setting `METER_SYNC_COLUMNS=...` that lists all synced columns except `columns`.
fn without(columns: &[&RecordedColumn], relations: &Relations) -> String {
    let names = relations.names.iter().map(String::as_str);
    let stays = |name: &&str| !columns.iter().any(|column| column.name == *name);
    let names: Vec<_> = names.filter(stays).collect();
    format!("METER_SYNC_COLUMNS={}", names.join(","))
}
