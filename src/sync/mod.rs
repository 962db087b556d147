//! The engine: makes the local meters of one tenant equal to the remote's.
//!
//! It works inside one remote snapshot and one local transaction that it is handed, so what it
//! writes becomes visible all at once or not at all. It knows nothing of runs, logs of runs, clocks
//! or surfaces; it is given a [`Job`] and gives back what it did.
//!
//! Data flows one way: the catalogs give a [`Shape`]; `read` relays the tenant's rows by COPY into a
//! staging table, undecoded; `plan` finds by set operations what differs; `brake` may refuse;
//! `apply` carries the plan out, row sets first and single rows only around a row that the local
//! table will not take.

use tokio::sync::watch;

use crate::config::{Limits, Mapping};
use crate::db::{Local, Remote, Tx};
use crate::meter::{Counts, Phase, Progress, Rejection, RunId, TenantId};

pub use error::SyncError;
pub use shape::Shape;
pub(crate) use shape::look;

mod apply;
mod brake;
mod convert;
mod error;
mod plan;
mod read;
mod record;
mod rejected;
mod shape;
mod swap;

/// What one sync is to do.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// The run that the changes are recorded under; its log row exists already.
    pub run_id: RunId,
    /// The tenant.
    pub tenant: &'a TenantId,
    /// Which rows and columns.
    pub mapping: &'a Mapping,
    /// How much is allowed.
    pub limits: &'a Limits,
    /// Who stands in the way if the local table has no tenant column.
    pub occupant: Occupant,
    /// Whether to plan only.
    pub dry_run: bool,
    /// Whether a person allowed a mass deactivation.
    pub allow_mass_deactivation: bool,
    /// Whether a person allowed a change of tenant.
    pub allow_tenant_change: bool,
}

/// Whose meters a local table holds that has no tenant column, and so holds one tenant's only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// Nobody's but the job's own tenant's.
    Nobody,
    /// Those of another tenant, whom it was last synced for.
    Tenant(String),
    /// It is being synced for another tenant right now.
    Running,
}

/// What a sync did; for a dry run, would do.
#[derive(Clone, Debug, Default)]
pub struct Synced {
    /// How many meters of which kind.
    pub counts: Counts,
    /// Whether fewer changes were recorded than made.
    pub changes_truncated: bool,
    /// The rows that were set aside.
    pub rejected: Vec<Rejection>,
    /// The columns whose values the local table changed as they were written.
    pub altered: Vec<String>,
}

/// How a sync ended.
#[derive(Debug)]
pub struct Done {
    /// What it did; for a dry run, would do.
    pub synced: Synced,
    /// Why the brake would hold back what a dry run planned.
    pub refusal: Option<SyncError>,
}

/// Where a sync tells how far it is.
pub type Observer = watch::Sender<Progress>;

/// Makes the local meters of the job's tenant equal to the remote's, inside the two transactions.
/// The remote one ends as soon as all is read; the caller commits the local one. Changes and rejected rows are recorded under the job's run.
pub async fn run(
    remote: Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &Job<'_>,
    observer: &Observer,
) -> Result<Done, SyncError> {
    enter(observer, Phase::Prepare);
    let shape = shape::resolve(&remote, local, job).await?;
    enter(observer, Phase::Read);
    let staged = read::stage(remote, local, &shape, job, observer).await?;
    enter(observer, Phase::Plan);
    let plan = plan::make(local, &shape, job, &staged).await?;
    let braked = brake::check(&plan, &staged, job);
    if job.dry_run {
        let synced = plan.into_synced(staged.rejected);
        let refusal = braked.err();
        return Ok(Done { synced, refusal });
    }
    braked?;
    enter(observer, Phase::Apply);
    let synced = apply::apply(local, &shape, job, plan, staged).await?;
    let refusal = None;
    Ok(Done { synced, refusal })
}

fn enter(observer: &Observer, phase: Phase) {
    observer.send_modify(|progress| progress.phase = phase);
}
