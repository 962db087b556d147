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
    let percent = i64::from(job.limits.max_deactivated_percent);
    // Of so many active ones this is a small enough share, however many more there are.
    let enough = match percent {
        0 => i64::MAX,
        percent => (deactivated * 100 + percent - 1) / percent,
    };
    if !is_empty && count_active(local, shape, enough).await? == enough {
        return Ok(());
    }
    let active = count_active(local, shape, i64::MAX).await?;
    if is_empty && active > 0 {
        return Err(SyncError::SourceEmpty {
            tenant: job.tenant.clone(),
            active,
        });
    }
    if deactivated * 100 > active * percent && !are_few {
        return Err(SyncError::MassDeactivation {
            tenant: job.tenant.clone(),
            deactivated,
            active,
        });
    }
    Ok(())
}

/// How many active meters there are, counted no further than `most`.
async fn count_active(local: &Tx<'_, Local>, shape: &Shape, most: i64) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the active meters
select count(*) from (select from {} l where {} and l.{} limit {most}) l",
        shape.local,
        shape.local_filter,
        quote::identifier(&shape.active)
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}
