//! Drift in words: the warning of a run, and the statements and settings that settle it.

use crate::db::quote;
use crate::error::{ErrorCode, Failure};
use crate::meter::TenantId;

use super::super::Shape;
use super::{Drift, KnownColumn};

/// So many columns are named in one warning; `meter-sync check` names all.
const NAMED: usize = 10;
/// So many statements stand in the remedy of a failed run.
const IN_REMEDY: usize = 3;

/// How a local column can follow the remote one to its new type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Postgres casts the values.
    Cast,
    /// Postgres knows no cast, but reads the texts of the values.
    Text,
    /// The local database does not have the type.
    NoType,
}

/// The warning for columns that have drifted, if any have.
pub fn warning<'a>(drifted: impl IntoIterator<Item = &'a KnownColumn>) -> Option<String> {
    let changes = changes(drifted)?;
    Some(format!(
        "Synced columns have changed on the remote: {changes} Run `meter-sync check` for the statements that settle this."
    ))
}

/// What happened to each column, and what it means for the local one.
fn changes<'a>(drifted: impl IntoIterator<Item = &'a KnownColumn>) -> Option<String> {
    let mut drifted: Vec<&KnownColumn> = drifted.into_iter().collect();
    drifted.sort_by(|a, b| a.name.cmp(&b.name));
    let is_frozen = |column: &&KnownColumn| match column.drift {
        Some(Drift::Missing | Drift::Renamed(_)) => true,
        Some(Drift::Retyped(_) | Drift::Replaced(_)) | None => false,
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

fn change(column: &KnownColumn) -> Option<String> {
    let name = quote::where_needed(&column.name);
    Some(match column.drift.as_ref()? {
        Drift::Missing => format!("{name} is gone (dropped or renamed)"),
        Drift::Renamed(to) => format!("{name} is called {} now", quote::where_needed(to)),
        Drift::Retyped(to) => format!("{name} is {to} now and was {}", column.remote_type),
        Drift::Replaced(to) => format!(
            "{name} is another column now, and the one before is called {}",
            quote::where_needed(to)
        ),
    })
}

/// What is told once of columns that the site itself took out of the sync.
pub(super) fn left(columns: &[String]) -> Option<String> {
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

/// The failure of a run where drift is to be one.
pub fn failure(drifted: &[&KnownColumn], shape: &Shape) -> Failure {
    let changes = changes(drifted.iter().copied()).unwrap_or_default();
    let message =
        format!("Synced columns have changed on the remote: {changes} No meter was changed.");
    let ways = drifted.iter().filter_map(|column| shortest(column, shape));
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

/// One way to settle the drift that loses nothing.
fn shortest(column: &KnownColumn, shape: &Shape) -> Option<String> {
    match column.drift.as_ref()? {
        Drift::Missing | Drift::Replaced(_) => Some(without(&[column], shape)),
        Drift::Renamed(to) if has_local(shape, to) => Some(without(&[column], shape)),
        Drift::Renamed(to) => Some(rename(column, to, shape)),
        Drift::Retyped(_) if column.name == shape.active => Some(format!(
            "let METER_SYNC_REMOTE_QUERY give {} as a boolean",
            quote::where_needed(&column.name)
        )),
        Drift::Retyped(to) if has_type(shape, column) => {
            Some(retype(column, to, shape, Follow::Cast))
        }
        Drift::Retyped(_) => None,
    }
}

/// What a check says of a column that has drifted: what happened and each way to settle it.
pub fn finding(
    column: &KnownColumn,
    shape: &Shape,
    (tenant, local_table): (&TenantId, &str),
    follow: Follow,
) -> Option<String> {
    let forget = format!(
        "delete from meter_sync.meter_sync_column where tenant = {} and local_table = {} and column_name = {}",
        quote::literal(tenant.as_str()),
        quote::literal(local_table),
        quote::literal(&column.name)
    );
    let drop = format!(
        "alter table {} drop column {}",
        shape.local,
        quote::where_needed(&column.name)
    );
    let frozen = "the local column keeps its last values";
    let change = change(column)?;
    Some(match column.drift.as_ref()? {
        Drift::Missing => format!(
            "{change} on the remote, and {frozen}. To keep it as the site's own: {}; or: {forget}. To drop it here: {drop}",
            without(&[column], shape)
        ),
        Drift::Renamed(to) if has_local(shape, to) => format!(
            "{change} on the remote, which the local table has too, and {frozen}. To drop the old one here: {drop}. To keep it as the site's own: {}; or: {forget}",
            without(&[column], shape)
        ),
        Drift::Renamed(to) => format!(
            "{change} on the remote, and {frozen}. To follow: {}. To keep it as the site's own: {}; or: {forget}",
            rename(column, to, shape),
            without(&[column], shape)
        ),
        Drift::Replaced(_) => format!(
            "{change} on the remote. To take the values of the new column: {forget}. To keep what is here as the site's own: {}; or let METER_SYNC_REMOTE_QUERY give the old column the old name",
            without(&[column], shape)
        ),
        Drift::Retyped(to) => {
            let here = &column.local_type;
            let begin = format!(
                "{change} on the remote, and {here} here; a row with a value that does not fit is rejected."
            );
            match follow {
                _ if column.name == shape.active => format!(
                    "{begin} The active column has to stay boolean. To keep the local type: {forget}; or let METER_SYNC_REMOTE_QUERY give it as a boolean"
                ),
                Follow::NoType => format!(
                    "{begin} The local database has no type {to}. To keep the local type: {forget}. To follow, make the type here as the remote has it: a check then prints the statement for the column"
                ),
                Follow::Cast | Follow::Text => format!(
                    "{begin} To follow: {}. To keep the local type: {forget}",
                    retype(column, to, shape, follow)
                ),
            }
        }
    })
}

/// Whether every database has the type that the remote column has now.
fn has_type(shape: &Shape, column: &KnownColumn) -> bool {
    let mut remote = shape.remote_columns.iter();
    remote.any(|there| there.name == column.name && there.is_builtin)
}

fn has_local(shape: &Shape, name: &str) -> bool {
    shape.offered.local.iter().any(|column| column.name == name)
}

fn rename(column: &KnownColumn, to: &str, shape: &Shape) -> String {
    format!(
        "alter table {} rename column {} to {}",
        shape.local,
        quote::where_needed(&column.name),
        quote::where_needed(to)
    )
}

fn retype(column: &KnownColumn, to: &str, shape: &Shape, follow: Follow) -> String {
    let name = quote::where_needed(&column.name);
    let value = match follow {
        Follow::Text => format!("{name}::text"),
        Follow::Cast | Follow::NoType => name.clone(),
    };
    format!(
        "alter table {} alter column {name} type {to} using {value}::{to}",
        shape.local
    )
}

/// The setting that names the columns without these.
fn without(columns: &[&KnownColumn], shape: &Shape) -> String {
    let names = shape.names.iter().map(String::as_str);
    let stays = |name: &&str| !columns.iter().any(|column| column.name == *name);
    let names: Vec<_> = names.filter(stays).collect();
    format!("METER_SYNC_COLUMNS={}", names.join(","))
}
