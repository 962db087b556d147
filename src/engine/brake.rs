//! The brake: refuses a plan that would deactivate so many meters that a mistake on the remote is likely.
//!
//! A plan deactivates a meter if it is missing on the remote, or if the active column of its remote row is not true.
//! Both kinds count together towards the limits in the settings.

use crate::db::{DbError, quote};
use crate::model::{DeactivationApproval, HeldDeactivations};

use super::find_gone_meters::MissingMeters;
use super::plan::Plan;
use super::planned_deactivations::{self, DeactivationCause};
use super::read::StagedRows;
use super::{RunContext, SyncError};
use crate::store::held_deactivations::ApprovalCoverage;

/// Returns an error that refuses the plan in these cases, unless a person has approved all its deactivations:
///
/// - The remote has no row with a usable key (a key that a local row can have), but some local meters are active.
/// - The plan deactivates more than `max_deactivated_rows` meters, and more than `max_deactivated_percent` of the
///   active ones.
///
/// Other changes of the plan do not count. If the plan is refused, the meters that it would deactivate are stored under
/// the run, so that a person can approve them. `missing` says where those went that are missing. No meter has been
/// changed yet.
pub(super) async fn check(
    run: &RunContext<'_>,
    plan: &Plan,
    staged: &StagedRows,
    missing: &MissingMeters,
) -> Result<(), SyncError> {
    let job = run.job;
    // A row with a key that no local row can have stands for no meter.
    let is_empty = staged.rows == staged.unidentified;
    let deactivated = plan.counts.deactivated + plan.switched_off;
    let are_few = deactivated <= i64::from(job.limits.max_deactivated_rows);
    // Counting the active meters scans all of them. So the cases that need no count are decided first.
    if *job.mass_deactivation == DeactivationApproval::Any || are_few && !is_empty {
        return Ok(());
    }
    let percent = i64::from(job.limits.max_deactivated_percent);
    // With at least this many active meters, the percentage is within the limit, so the count can stop there.
    let enough = match percent {
        0 => i64::MAX,
        percent => (deactivated * 100 + percent - 1) / percent,
    };
    if !is_empty && count_active(run, enough).await? == enough {
        return Ok(());
    }
    let active = count_active(run, i64::MAX).await?;
    let is_emptied = is_empty && active > 0;
    let are_many = deactivated * 100 > active * percent && !are_few;
    if !is_emptied && !are_many {
        return Ok(());
    }
    let approved = match *job.mass_deactivation {
        DeactivationApproval::OfRun(shown) => {
            Some((shown, planned_deactivations::cover(run, shown).await?))
        }
        DeactivationApproval::None | DeactivationApproval::Any => None,
    };
    let held = || hold(run, plan, missing, active);
    let tenant = job.tenant.clone();
    Err(match approved {
        Some((_, ApprovalCoverage::All)) => return Ok(()),
        Some((shown, ApprovalCoverage::AllBut(others))) => SyncError::ApprovalOutdated {
            tenant,
            run: shown,
            others: Some(others),
            held: held().await?,
        },
        Some((shown, ApprovalCoverage::Nothing)) => SyncError::ApprovalOutdated {
            tenant,
            run: shown,
            others: None,
            held: held().await?,
        },
        None if is_emptied => SyncError::SourceEmpty {
            tenant,
            held: held().await?,
            may_be_hidden: staged.may_be_hidden,
        },
        None => SyncError::MassDeactivation {
            tenant,
            held: held().await?,
        },
    })
}

/// Stores the meters that the plan would deactivate, so that a person can approve them. Returns a summary: their
/// number, the number of active meters, and some examples.
async fn hold(
    run: &RunContext<'_>,
    plan: &Plan,
    missing: &MissingMeters,
    active: i64,
) -> Result<Box<HeldDeactivations>, DbError> {
    let (gone, switched_off) = (plan.counts.deactivated, plan.switched_off);
    Ok(Box::new(HeldDeactivations {
        digest: planned_deactivations::keep(run).await?,
        deactivated: gone + switched_off,
        gone,
        switched_off,
        active,
        gone_to: missing.count(),
        first: planned_deactivations::first(run, DeactivationCause::Gone).await?,
        first_switched_off: planned_deactivations::first(run, DeactivationCause::SwitchedOff)
            .await?,
    }))
}

/// Counts the tenant's active local meters. Stops counting at `most`, which is then the result.
async fn count_active(run: &RunContext<'_>, most: i64) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the active meters
select pg_catalog.count(*) from (select 1 from {} l where {} and l.{} limit {most}) l",
        run.relations.local,
        run.scope.local_filter,
        quote::identifier(&run.relations.active)
    );
    Ok(run.local.query_one(&sql, &[]).await?.get(0))
}
