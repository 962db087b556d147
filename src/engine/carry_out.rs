//! Makes the local rows equal to the staged rows, in the quickest way that is safe.
//!
//! Three ways are tried in order. Each one undoes what it wrote if it cannot write all that differs:
//!
//! - If both sides have the same keys and many rows are new, one statement finds and writes the rows that differ
//!   (`overwrite`).
//! - A plan is drafted without locking its rows, and each step is written in one statement (`write_at_once`).
//! - A plan is made with its rows locked, and rows that the local table refuses are left out (`apply`).
//!
//! Only the third way is taken for a table that may store other values than those written, because of a trigger for
//! instance, and for a dry run, which ends after the plan.

use crate::db::{EndedTx, PAGES_ARE_CACHED, PLANNING};
use crate::model::{CompareMethod, Phase};

use super::detect_replaced_remote::RemoteComparison;
use super::digest::VersionsOfBothSides;
use super::digest::WrittenVersions;
use super::find_gone_meters::{self, MissingMeters};
use super::overwrite::ComparedVersions;
use super::plan::{self, Plan};
use super::read::{self, StagedRows};
use super::relations::lock_relations;
use super::{FinishedSync, RowSelection, RunContext, SyncError, SyncResult};
use super::{apply, brake, digest, enter, overwrite, record_changes};

/// The rows that may differ, staged for the plan, and how they were found.
pub(super) struct StagedDifferences<'r> {
    pub(super) selection: RowSelection,
    pub(super) staged: StagedRows,
    /// The remote, to ask it where missing meters went; `None` once it was asked.
    pub(super) remote: Option<EndedTx<'r>>,
    /// Where missing meters went, as far as the remote was asked.
    pub(super) gone: MissingMeters,
    pub(super) compared: CompareMethod,
    pub(super) comparison: RemoteComparison,
}

/// Makes the local rows equal to the staged rows, unless the brake refuses it or this is a dry run.
pub(super) async fn carry_out(
    run: &RunContext<'_>,
    versions: Option<VersionsOfBothSides<'_>>,
    mut found: StagedDifferences<'_>,
) -> Result<FinishedSync, SyncError> {
    enter(run.observer, Phase::Plan);
    run.local.shorten_idle_limit().await?;
    let relations = lock_relations::hold_to_write(run.local, run.relations, run.job).await?;
    let run = &run.with_relations(&relations);
    let keeps_rows = relations.stores_rows_unchanged && relations.keeps_places;
    // If the last run rejected rows, the local table probably refuses them again.
    let may_refuse = versions
        .as_ref()
        .is_some_and(VersionsOfBothSides::is_without_watermark);
    let may_write_at_once = keeps_rows && !may_refuse && !run.job.dry_run;
    let mut attempt = 1;
    if found.staged.may_overwrite {
        if may_write_at_once
            && let Some((synced, written)) = overwritten(run, versions.as_ref(), &found).await?
        {
            found.comparison.remember(run, versions.as_ref()).await?;
            digest::remember(run, versions, false, &synced, Some(written)).await?;
            return Ok(FinishedSync::of(synced, found.compared));
        }
        read::prepare_to_plan(run, &mut found.staged).await?;
    }
    if may_write_at_once {
        if let Some((draft, written)) = written_at_once(run, versions.as_ref(), &mut found).await? {
            let synced = draft.into_synced(run.job, found.staged.rejected);
            found.comparison.remember(run, versions.as_ref()).await?;
            digest::remember(run, versions, true, &synced, Some(written)).await?;
            return Ok(FinishedSync::of(synced, found.compared));
        }
        attempt += 1;
    }
    let plan = plan::make(run, &found.selection, &found.staged, attempt).await?;
    ask_about_missing(run, &plan, &mut found).await?;
    let allowed = allow(run, versions.as_ref(), &plan, &found).await;
    if run.job.dry_run {
        let refusal = match allowed {
            Err(error) if !error.is_refusal() => return Err(error),
            allowed => allowed.err(),
        };
        record_changes::changes(run, &plan, &found.gone).await?;
        let synced = plan.into_synced(run.job, found.staged.rejected);
        let done = FinishedSync::of(synced, found.compared);
        return Ok(FinishedSync { refusal, ..done });
    }
    allowed?;
    record_changes::changes(run, &plan, &found.gone).await?;
    enter(run.observer, Phase::Apply);
    let synced = apply::apply(run, plan, found.staged).await?;
    found.comparison.remember(run, versions.as_ref()).await?;
    digest::remember(run, versions, true, &synced, None).await?;
    Ok(FinishedSync::of(synced, found.compared))
}

/// Overwrites the rows that differ, if `overwrite` may be tried. Returns `None` if nothing was written.
async fn overwritten(
    run: &RunContext<'_>,
    versions: Option<&VersionsOfBothSides<'_>>,
    found: &StagedDifferences<'_>,
) -> Result<Option<(SyncResult, WrittenVersions)>, SyncError> {
    let is_sure = found.staged.rejected.is_empty() && !found.comparison.has_changed();
    let Some(versions) = versions.filter(|_| is_sure) else {
        return Ok(None);
    };
    enter(run.observer, Phase::Apply);
    let compared = ComparedVersions {
        sum: versions.local_sum(),
        quiet_since: versions.quiet_since(),
    };
    let written = overwrite::write(run, &found.staged, &compared).await?;
    if written.is_none() {
        enter(run.observer, Phase::Plan);
    }
    Ok(written)
}

/// Drafts a plan and writes all of it. Returns `None` if nothing was written. The draft is then undone, and not
/// dropped, because an event trigger may refuse to drop tables.
async fn written_at_once(
    run: &RunContext<'_>,
    versions: Option<&VersionsOfBothSides<'_>>,
    found: &mut StagedDifferences<'_>,
) -> Result<Option<(Plan, WrittenVersions)>, SyncError> {
    let drafted = run.local.attempt("draft", async {
        run.local.batch(PAGES_ARE_CACHED).await?;
        let draft = plan::draft(run, &found.selection, &found.staged).await?;
        ask_about_missing(run, &draft, found).await?;
        match allow(run, versions, &draft, found).await {
            // The meters that the brake holds back stay stored.
            Err(error) if error.is_refusal() => {
                run.local.batch(PLANNING).await?;
                return Ok(Ok(Err(error)));
            }
            allowed => allowed?,
        }
        enter(run.observer, Phase::Apply);
        let written =
            apply::write_at_once::write(run, &draft, &found.gone, versions.is_some()).await?;
        Ok::<_, SyncError>(written.map(|written| Ok((draft, written))).ok_or(()))
    });
    match drafted.await? {
        Ok(drafted) => drafted.map(Some),
        Err(()) => {
            enter(run.observer, Phase::Plan);
            Ok(None)
        }
    }
}

/// Asks the remote where the meters went that the plan deactivates because they are missing. Asks once in a run, even if
/// several plans are made.
async fn ask_about_missing(
    run: &RunContext<'_>,
    plan: &Plan,
    found: &mut StagedDifferences<'_>,
) -> Result<(), SyncError> {
    if plan.counts.deactivated > 0
        && let Some(remote) = found.remote.take()
    {
        found.gone = find_gone_meters::find(run, remote).await?;
    }
    Ok(())
}

/// Returns an error if the plan must not be carried out, because the remote was restored or swapped, or because of the
/// brake. If a person has allowed the change of the remote, stores that.
async fn allow(
    run: &RunContext<'_>,
    versions: Option<&VersionsOfBothSides<'_>>,
    plan: &Plan,
    found: &StagedDifferences<'_>,
) -> Result<(), SyncError> {
    let comparison = &found.comparison;
    comparison.warn(run, Some(plan));
    let allowed = match comparison.check(run, plan).await {
        Ok(()) => brake::check(run, plan, &found.staged, &found.gone).await,
        refused => refused,
    };
    if run.job.allow_remote_change && !run.job.dry_run {
        // Also if the deactivations still wait for a person: the remote is allowed from now on.
        comparison.remember(run, versions).await?;
    }
    allowed
}
