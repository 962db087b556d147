//! Reads the parts of a status that come from the run log: the latest runs, and the changes of a requested run.

use crate::db::{DbError, Local, Tx};
use crate::error::Failure;
use crate::model::{Outcome, saturating_i64};

use super::status::StatusQuery;
use super::status_text;
use crate::mirrors::stored_state::StoredState;
use crate::store::log::{LogKey, RunRecord};
use crate::store::{changes, log, rejected};

/// Reads the latest runs, as many as `wanted`, and sets the fields of `found` about the last run and the last success.
pub(super) async fn read_log(
    tx: &Tx<'_, Local>,
    log: LogKey<'_>,
    wanted: u32,
    found: &mut StoredState,
) -> Result<(), DbError> {
    let runs = log::newest(tx, log, wanted).await?;
    let is_all = runs.len() < wanted as usize;
    let has_ended = |run: &&RunRecord| run.outcome.is_some() && !run.dry_run;
    found.last_run = match runs.iter().find(has_ended) {
        None if !is_all => log::last_finished(tx, log).await?,
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
        None if !is_all => log::last_success(tx, log).await?,
        run => run.cloned(),
    };
    found.last_success_at = success.as_ref().and_then(|run| run.finished_at);
    found.failures = Some(match runs.iter().position(|run| has_succeeded(&run)) {
        None if !is_all => {
            let success = success.map(|run| run.run_id);
            log::ended_after(tx, log, success).await?
        }
        success => {
            let since = runs.iter().take(success.unwrap_or(runs.len()));
            saturating_i64(since.filter(has_ended).count())
        }
    });
    found.history = runs;
    Ok(())
}

/// Reads the run that the query names, if any. If changes are requested, reads the changes and rejected rows of that
/// run, or of the last run if none is named. Returns the inner failure if the log does not have the run.
pub(super) async fn read_runs(
    tx: &Tx<'_, Local>,
    log: LogKey<'_>,
    query: &StatusQuery,
    found: &mut StoredState,
) -> Result<Result<(), Failure>, DbError> {
    if let Some(id) = query.run_id {
        let Some(run) = log::by_id(tx, log, id).await? else {
            return Ok(Err(status_text::no_such_run(id)));
        };
        found.history = vec![run];
    }
    let shown = query
        .run_id
        .or_else(|| found.last_run.as_ref().map(|run| run.run_id));
    if let Some(id) = shown.filter(|_| query.include_changes) {
        let limit = query.changes_limit;
        found.changes = Some(changes::changes(tx, id, limit).await?);
        found.rejected = Some(rejected::read(tx, id, limit).await?);
    }
    Ok(Ok(()))
}
