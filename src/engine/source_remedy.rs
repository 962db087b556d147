//! Remedies that depend on the kind of remote source: a table, a view or a query.

use crate::config::{SourceSetting, parse_table_name};
use crate::db::{SideName, quote};
use crate::error::{ErrorCode, Failure};

use super::SyncError;

/// Describes an error for users, with code, message and remedy. `source` is what the failed sync read: the remedy may
/// depend on its kind.
pub(crate) fn failure(error: &SyncError, source: &SourceSetting) -> Failure {
    let failure = error.failure();
    match behind(error, source).or_else(|| of_query(&failure, source)) {
        Some(remedy) => failure.with_remedy(remedy),
        None => failure,
    }
}

/// Returns the remedy if the remote role may not read a relation that the source, a view or query, reads. `None` for
/// any other error.
fn behind(error: &SyncError, source: &SourceSetting) -> Option<String> {
    let SyncError::Database(error) = error else {
        return None;
    };
    let denied = error.denied().filter(|denied| denied.has_rows())?;
    if error.side() != SideName::Remote {
        return None;
    }
    let name = quote::where_needed(denied.name);
    match source {
        SourceSetting::Table(table) if last_part(table) == denied.name => None,
        SourceSetting::Table(table) => Some(format!(
            "{name} stands behind {table}. On the remote: grant select on {name} to the owner of {table}, with whose rights a view reads; \
             or to <role>, the user of METER_SYNC_REMOTE_URL, where the view has security_invoker."
        )),
        SourceSetting::Query(_) => Some(format!(
            "On the remote: grant select on {name}, which METER_SYNC_REMOTE_QUERY reads, to <role>, where <role> is the user of METER_SYNC_REMOTE_URL; \
             or to the owner of the view that {name} stands behind."
        )),
    }
}

/// Returns a table's name without its schema, as the server's errors name tables.
fn last_part(table: &str) -> String {
    let parts = parse_table_name::parts(table).unwrap_or_default();
    parts.last().cloned().unwrap_or_default()
}

/// Returns the remedy if the source is a query that may have caused the failure. `None` if the source is no query, or
/// if the failure already has a fitting remedy.
fn of_query(failure: &Failure, source: &SourceSetting) -> Option<String> {
    const MEND: &str = "Mend METER_SYNC_REMOTE_QUERY: one select that Postgres takes as a subquery, without parameters and without anything behind a semicolon, and that gives the key, the tenant column, the active column and what METER_SYNC_COLUMNS names; `meter-sync check` tries it.";
    const GRANT: &str = "Grant the remote role usage on the schemas, select on the tables and execute on the functions that METER_SYNC_REMOTE_QUERY names.";
    let SourceSetting::Query(_) = source else {
        return None;
    };
    let is_of_code = failure.remedy == failure.code.remedy();
    if failure.code == ErrorCode::RemotePermission {
        return is_of_code.then(|| GRANT.to_owned());
    }
    if failure.code != ErrorCode::RemoteSchema || failure.remedy.contains("METER_SYNC_REMOTE_QUERY")
    {
        return None;
    }
    Some(match is_of_code {
        true => MEND.to_owned(),
        false => format!(
            "{} If METER_SYNC_REMOTE_QUERY itself fails, mend it.",
            failure.remedy
        ),
    })
}
