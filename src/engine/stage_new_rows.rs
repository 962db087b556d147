//! Stages the remote rows that are new since the last run, and finds out which local meters the remote no longer has.
//!
//! The new rows are known by their versions, and read first. Then `find_missing_rows` finds suspects: local rows that
//! the remote may no longer have. The remote is asked for them, and the rows that it still has are staged, too.
//!
//! The rows that are then found to be missing must be all that the sums of the keys differ by, and as many as follow
//! from the numbers of rows. Otherwise all is undone, and the keys are compared in the usual way.

use crate::db::{Remote, Tx};

use super::digest::{self, HashMode, NewOrMissingRows, version_hash};
use super::read::choose_copy_format::CopyFormat;
use super::read::copy_from_memory::CopyTarget;
use super::read::relay_rows::{self, RelayReport};
use super::read::{self, StagedSelection};
use super::{RowSelection, RunContext, SyncError, find_missing_rows};

/// Stages the new rows and ends the remote transaction. Also returns the selection of the staged and missing rows,
/// which has all rows if it could not be found out which are missing.
pub(super) async fn stage<'r>(
    remote: Tx<'r, Remote>,
    run: &RunContext<'_>,
    found: &NewOrMissingRows,
) -> Result<StagedSelection<'r>, SyncError> {
    read::create_tables(run).await?;
    // Rows that are too long to be sent cannot be asked for.
    if !run.job.earlier.leaves_long_rows {
        let reading = run.local.attempt("new_rows", read_new(&remote, run, found));
        if let Ok((selection, relayed)) = reading.await? {
            let (staged, ended) = read::finish(remote, run, &selection, relayed, false).await?;
            return Ok((selection, staged, ended));
        }
    }
    remote
        .allow_each_statement(run.job.limits.statement_timeout)
        .await?;
    let rows = found.keys.local_rows;
    let by_keys = digest::find_by_keys(&remote, run, rows, found.since, HashMode::USUAL);
    let selection = by_keys.await?.unwrap_or_else(RowSelection::everything);
    read::read_selected(remote, run, selection).await
}

/// Says that it was not found out which rows are missing, and nothing was staged.
struct NotFound;

async fn read_new(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'_>,
    NewOrMissingRows {
        since,
        is_new,
        keys,
    }: &NewOrMissingRows,
) -> Result<Result<(RowSelection, RelayReport), NotFound>, SyncError> {
    let new = RowSelection {
        remote: is_new.clone(),
        ..RowSelection::nothing(keys.remote_rows)
    };
    let format = CopyFormat::quickest(remote, run);
    let reading = relay_rows::start(remote, run, &new, CopyTarget::Stage, format.clone()).await?;
    let mut relayed = relay_rows::relay(remote, run, &new, reading).await?;
    if relayed.left.rows > 0 {
        return Ok(Err(NotFound));
    }
    let suspects = match find_missing_rows::find(run, keys).await {
        Ok(Some(suspects)) => suspects,
        Ok(None) => return Ok(Err(NotFound)),
        Err(error) if error.is_not_computable() => return Ok(Err(NotFound)),
        Err(error) => return Err(error.into()),
    };
    let mut selection = new;
    let mut kept_rows = 0;
    if !suspects.is_empty() {
        selection.local = suspects.is_local(run);
        let kept = RowSelection {
            remote: format!(
                "({} and not {})",
                suspects.is_remote(run),
                version_hash::is_new("r", *since)
            ),
            ..selection.clone()
        };
        let reading = relay_rows::start(remote, run, &kept, CopyTarget::Stage, format).await?;
        let kept = relay_rows::relay(remote, run, &kept, reading).await?;
        if kept.left.rows > 0 {
            return Ok(Err(NotFound));
        }
        kept_rows = kept.rows;
        relayed.rows += kept_rows;
    }
    let missing = keys.local_rows + suspects.added - keys.remote_rows;
    Ok(
        match suspects.count_missing(run, kept_rows).await? == Some(missing) {
            true => Ok((selection, relayed)),
            false => Err(NotFound),
        },
    )
}
