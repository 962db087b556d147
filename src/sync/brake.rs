//! Holds back a plan that looks like the remote's mistake rather than its will.
//!
//! A meter becomes inactive because the remote has it no more, or because the remote switched it off. The limits are on the
//! sum of both.

use crate::db::{DbError, Local, Tx, quote};
use crate::meter::{HeldBack, Permission};

use super::held::{self, Cover, Kind};
use super::plan::Plan;
use super::read::Staged;
use super::{Job, Shape, SyncError};

/// Refuses a plan that empties the site, or that makes more meters inactive than the settings let pass, unless a person
/// approved these meters. What else the plan changes is not part of the question. The meters of a refused plan are kept
/// under the run, which thus wrote nothing else yet.
pub(super) async fn check(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    plan: &Plan,
    staged: &Staged,
) -> Result<(), SyncError> {
    // Rows that cannot be told from each other tell of no meter.
    let is_empty = staged.rows == staged.unidentified;
    let deactivated = plan.counts.deactivated + plan.switched_off;
    let are_few = deactivated <= i64::from(job.limits.max_deactivated_rows);
    // Counting the meters takes a look at all of them, so it waits till it matters.
    if *job.mass_deactivation == Permission::Any || are_few && !is_empty {
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
    let is_emptied = is_empty && active > 0;
    let are_many = deactivated * 100 > active * percent && !are_few;
    if !is_emptied && !are_many {
        return Ok(());
    }
    let approved = match *job.mass_deactivation {
        Permission::Shown(run) => Some((run, held::cover(local, shape, job, run).await?)),
        Permission::None | Permission::Any => None,
    };
    let held = || hold(local, shape, job, (plan, active));
    let tenant = job.tenant.clone();
    Err(match approved {
        Some((_, Cover::All)) => return Ok(()),
        Some((run, Cover::AllBut(others))) => SyncError::ApprovalOutdated {
            tenant,
            run,
            others: Some(others),
            held: held().await?,
        },
        Some((run, Cover::Nothing)) => SyncError::ApprovalOutdated {
            tenant,
            run,
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

/// Keeps the meters for a person to decide about, and describes them.
async fn hold(
    local: &Tx<'_, Local>,
    shape: &Shape,
    job: &Job<'_>,
    (plan, active): (&Plan, i64),
) -> Result<Box<HeldBack>, DbError> {
    let (gone, switched_off) = (plan.counts.deactivated, plan.switched_off);
    Ok(Box::new(HeldBack {
        digest: held::keep(local, shape, job).await?,
        deactivated: gone + switched_off,
        gone,
        switched_off,
        active,
        first: held::first(local, shape, Kind::Gone).await?,
        first_switched_off: held::first(local, shape, Kind::SwitchedOff).await?,
    }))
}

/// How many active meters there are, counted no further than `most`.
async fn count_active(local: &Tx<'_, Local>, shape: &Shape, most: i64) -> Result<i64, DbError> {
    let sql = format!(
        "-- count the active meters
select pg_catalog.count(*) from (select from {} l where {} and l.{} limit {most}) l",
        shape.local,
        shape.local_filter,
        quote::identifier(&shape.active)
    );
    Ok(local.query_one(&sql, &[]).await?.get(0))
}
