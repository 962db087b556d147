//! Holds back a plan that looks like the remote's mistake rather than its will.

use crate::db::{DbError, Local, Tx, quote};

use super::plan::Plan;
use super::read::Staged;
use super::{Job, Shape, SyncError};

/// Refuses a plan that empties the site, or that deactivates more meters than the settings let pass,
/// unless a person allowed it.
pub(super) async fn check(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    plan: &Plan,
    staged: &Staged,
) -> Result<(), SyncError> {
    // Rows that cannot be told from each other tell of no meter.
    let is_empty = staged.rows == staged.unidentified;
    let deactivated = plan.counts.deactivated;
    let are_few = deactivated <= i64::from(job.limits.max_deactivated_rows);
    // Counting the meters takes a look at all of them, so it waits till it matters.
    if job.allow_mass_deactivation || are_few && !is_empty {
        return Ok(());
    }
    let active = count_active(local, shape).await?;
    if is_empty && active > 0 {
        return Err(SyncError::SourceEmpty {
            tenant: job.tenant.clone(),
            active,
        });
    }
    let too_large_a_share =
        deactivated * 100 > active * i64::from(job.limits.max_deactivated_percent);
    if too_large_a_share && !are_few {
        return Err(SyncError::MassDeactivation {
            tenant: job.tenant.clone(),
            deactivated,
            active,
        });
    }
    Ok(())
}

async fn count_active(local: &Tx<'_, Local>, shape: &Shape) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the active meters
select count(*) from {} l where {} and l.{}",
        shape.local,
        shape.local_filter,
        quote::identifier(&shape.active)
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}
