//! Begins to read both sides: looks for what forbids the sync, and reads the row versions.

use crate::config::OnDrift;
use crate::db::catalog::Relation;
use crate::db::{Remote, Tx};
use crate::model::Phase;

use super::digest::{VersionsOfBothSides, row_versions};
use super::relations::refuse_same_or_taken_table::refuse_occupied;
use super::{
    Relations, RunContext, SyncError, SyncJob, column_drift, detect_replaced_remote, enter,
    resolve_scope,
};

/// Looks for what forbids the sync, and reads the row versions of both sides. Also returns whether the remote tells
/// which database it is; `None` if that is still to be asked.
///
/// To a distant remote, these statements are sent together, because each round trip may take 50 ms.
pub(super) async fn check_and_read_versions<'s>(
    remote: &Tx<'_, Remote>,
    run: &RunContext<'s>,
    here: &Relation,
) -> Result<(Option<VersionsOfBothSides<'s>>, Option<bool>), SyncError> {
    let (relations, job) = (run.relations, run.job);
    let check = async {
        resolve_scope::prepare_to_read(remote, relations, run.scope).await?;
        if relations.local_tenant.is_none() {
            refuse_occupied(here, job)?;
        }
        if relations.may_be_foreign && !job.earlier.is_foreign_awaited {
            return Err(SyncError::Rewritten(relations.remote_from.clone()));
        }
        look_for_drift(relations, job)?;
        enter(run.observer, Phase::Read);
        Ok(())
    };
    let stored = row_versions::stored(run).await?;
    // The order matters: if the versions cannot be read, they undo only what comes after them.
    let (checked, versions, may_identify) = tokio::join!(
        check,
        VersionsOfBothSides::read(remote, run, stored),
        detect_replaced_remote::may_identify(remote)
    );
    checked?;
    Ok((versions?, may_identify?))
}

fn look_for_drift(relations: &Relations, job: &SyncJob<'_>) -> Result<(), SyncError> {
    let report = column_drift::compare(job.known_columns, relations, job.mapping);
    let report = job.column_report.get_or_init(|| report);
    match (report.drifted(), job.mapping.on_drift) {
        (drifted, OnDrift::Fail) if !drifted.is_empty() => {
            Err(SyncError::Drift(column_drift::failure(&drifted, relations)))
        }
        (_, OnDrift::Fail | OnDrift::Warn) => Ok(()),
    }
}
