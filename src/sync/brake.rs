//! Holds back a plan that looks like the remote's mistake rather than its will.

use super::plan::Plan;
use super::read::Staged;
use super::{Job, SyncError};

/// Refuses a plan that empties the site, or that deactivates more meters than the settings let pass,
/// unless a person allowed it.
pub(crate) fn check(plan: &Plan, staged: &Staged, job: &Job<'_>) -> Result<(), SyncError> {
    if job.allow_mass_deactivation {
        return Ok(());
    }
    let (active, deactivated) = (plan.active, plan.counts.deactivated);
    // Rows that cannot be told from each other tell of no meter.
    if staged.rows == staged.unidentified && active > 0 {
        return Err(SyncError::SourceEmpty {
            tenant: job.tenant.clone(),
            active,
        });
    }
    let too_large_a_share =
        deactivated * 100 > active * i64::from(job.limits.max_deactivated_percent);
    if too_large_a_share && deactivated > i64::from(job.limits.max_deactivated_rows) {
        return Err(SyncError::MassDeactivation {
            tenant: job.tenant.clone(),
            deactivated,
            active,
        });
    }
    Ok(())
}
