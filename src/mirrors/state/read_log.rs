//! Reads the parts of a status that come from the run log: the latest runs, and the changes of a requested run.

use crate::db::{DbError, Local, Tx};
use crate::error::Failure;
use crate::model::{Outcome, TenantId, saturating_i64};

use super::status::StatusQuery;
use super::status_text;
use crate::mirrors::local_table::LocalTable;
use crate::mirrors::stored_state::StoredState;
use crate::store::log::RunRecord;
use crate::store::{changes, log, rejected};

/// Reads the latest runs, as many as `wanted`, and sets the fields of `found` about the last run and the last success.
pub(super) async fn read_log(
    tx: &Tx<'_, Local>,
    (table, tenant): (&LocalTable, Option<&TenantId>),
    wanted: u32,
    found: &mut StoredState,
) -> Result<(), DbError> {
    let runs = log::newest(tx, table.log(tenant), wanted).await?;
    let is_all = runs.len() < wanted as usize;
    let has_ended = |run: &&RunRecord| run.outcome.is_some() && !run.dry_run;
    found.last_run = match runs.iter().find(has_ended) {
        None if !is_all => log::last_finished(tx, table.log(tenant)).await?,
        run => run.cloned(),
    };
    if let Some(run) = found
        .last_run
        .as_ref()
        .filter(|run| run.outcome == Some(Outcome::Refused))
    {
        found.held_back = log::details(tx, run.run_id).await?.held_back;
    }
    found.warnings.extend(found.own_warning());
    let has_succeeded = |run: &&RunRecord| run.outcome.is_some_and(Outcome::is_success);
    let success = match runs.iter().find(has_succeeded) {
        None if !is_all => log::last_success(tx, table.log(tenant)).await?,
        run => run.cloned(),
    };
    found.last_success_at = success.as_ref().and_then(|run| run.finished_at);
    found.failures = Some(match runs.iter().position(|run| has_succeeded(&run)) {
        None if !is_all => {
            let success = success.map(|run| run.run_id);
            log::ended_after(tx, table.log(tenant), success).await?
        }
        success => {
            let since = runs.iter().take(success.unwrap_or(runs.len()));
            saturating_i64(since.filter(has_ended).count())
        }
    });
    found.history = runs;
    Ok(())
}

/// Why the state could not be read.
pub(super) enum ReadError {
    /// The local database did not answer, or reported an error.
    Failed(Failure),
    /// The log has no run with the requested id.
    NoSuchRun(Failure),
}

impl From<DbError> for ReadError {
    fn from(error: DbError) -> Self {
        Self::Failed(error.failure())
    }
}

/// Reads the run that the query names, if any. If changes are requested, reads the changes and rejected rows of that
/// run, or of the last run if none is named.
pub(super) async fn read_runs(
    tx: &Tx<'_, Local>,
    (table, tenant): (&LocalTable, Option<&TenantId>),
    query: &StatusQuery,
    found: &mut StoredState,
) -> Result<(), ReadError> {
    if let Some(id) = query.run_id {
        let run = log::by_id(tx, table.log(tenant), id).await?;
        found.history =
            vec![run.ok_or_else(|| ReadError::NoSuchRun(status_text::no_such_run(id)))?];
    }
    let shown = query
        .run_id
        .or_else(|| found.last_run.as_ref().map(|run| run.run_id));
    if let Some(id) = shown.filter(|_| query.include_changes) {
        let limit = query.changes_limit;
        found.changes = Some(changes::changes(tx, id, limit).await?);
        found.rejected = Some(rejected::read(tx, id, limit).await?);
    }
    Ok(())
}
