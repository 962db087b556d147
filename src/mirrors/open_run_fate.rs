//! Finds out what became of a run that had no end when its log row was read.

use crate::db::{DbError, Local, Tx};
use crate::model::{RunId, RunRecord};
use crate::store::{log, run_lock};
use crate::tenants::run_scope::RunScope;

/// What became of a run that had no end in the log.
#[derive(Debug)]
pub(crate) enum OpenRunFate {
    /// The run is in progress: its process holds the run lock.
    InProgress,
    /// The run has ended since its row was read. Holds its record, which says how it ended.
    Ended(Box<RunRecord>),
    /// The run's process has died. The next run marks the run as interrupted.
    Dead,
    /// The log no longer has the run.
    Deleted,
}

/// Looks for the run lock of the mirror, and then for the run's end in the log.
pub(crate) async fn look_up(
    tx: &Tx<'_, Local>,
    scope: &RunScope,
    id: RunId,
) -> Result<OpenRunFate, DbError> {
    if run_lock::is_held(tx, &scope.text()).await? {
        return Ok(OpenRunFate::InProgress);
    }
    let run = log::by_id(tx, scope.log(), id).await?;
    Ok(match run {
        None => OpenRunFate::Deleted,
        Some(run) if run.outcome.is_some() => OpenRunFate::Ended(Box::new(run)),
        Some(_) => OpenRunFate::Dead,
    })
}
