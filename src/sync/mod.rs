//! The engine: makes the local meters of one tenant equal to the remote's.
//!
//! It works inside one remote snapshot and one local transaction that it is handed, so what it
//! writes becomes visible all at once or not at all. It knows nothing of runs, logs of runs, clocks
//! or surfaces; it is given a [`Job`] and gives back what it did.
//!
//! Data flows one way: the catalogs give a [`Shape`]; `load` relays the rows straight into the table where
//! it has none yet; else `digest` finds which rows can differ; `read` relays these by COPY into a
//! staging table, undecoded; `plan` finds by set operations what differs; `brake` may refuse;
//! `apply` carries the plan out, row sets first and single rows only around a row that the local
//! table will not take.

use std::sync::OnceLock;
use std::time::Instant;

use tokio::sync::watch;

use crate::config::{Limits, Mapping, OnDrift};
use crate::db::{Local, Remote, Tx};
use crate::meter::{Counts, Permission, Phase, Progress, Rejection, RunId, TenantId};

pub use digest::{Contents, sums};
use digest::{Difference, Versions};
use drift::{ColumnReport, KnownColumns};
pub use error::SyncError;
pub(crate) use error::{HIDDEN, usage};
pub(crate) use held::SET_OF_RUN;
pub(crate) use locks::of_source as locks_of;
pub(crate) use missing::missing;
pub(crate) use plan::refuse_held_twice;
pub(crate) use policies::may_hide_rows;
use read::Staged;
pub(crate) use read::{DUPLICATES_NAMED, refuse_keys};
pub(crate) use remedy::failure;
pub use shape::Shape;
pub(crate) use shape::look;

mod altered;
mod altering_triggers;
mod apply;
mod brake;
mod broken_constraints;
mod carry;
mod collisions;
mod convert;
mod deferred;
mod digest;
pub mod drift;
mod error;
mod exchange;
mod few_values;
mod first_causes;
mod format;
mod free_values;
mod freeing;
mod held;
mod holders;
mod index_entries;
mod key;
mod load;
mod locks;
mod misfit;
mod missing;
mod outside_index;
mod parents;
mod park;
mod plan;
mod policies;
mod read;
mod reasons;
mod recode;
mod record;
mod referred_values;
mod refusals;
mod rejected;
mod relay;
mod release;
mod remedy;
mod rewritten;
mod ring_by_ring;
mod rings;
mod row_values;
mod rows;
mod shape;
mod unevaluated;
mod unsendable;

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
    /// How much is to be compared.
    pub compare: Compare,
    /// How many bits of the rows' hashes are kept: 64, but in tests that want rows to be mistaken for
    /// each other.
    pub hash_bits: u32,
    /// What the attempts before this one have shown.
    pub earlier: Earlier,
    /// Whether to plan only.
    pub dry_run: bool,
    /// Which mass deactivation a person approved.
    pub mass_deactivation: &'a Permission,
    /// Whether a person allowed a change of tenant.
    pub allow_tenant_change: bool,
    /// What the runs before it knew of the columns.
    pub known_columns: &'a KnownColumns,
    /// Set by the run as soon as it has compared its columns with these, however it ends.
    pub column_report: &'a OnceLock<ColumnReport>,
}

/// What a run that begins anew knows of its attempts before.
#[derive(Clone, Debug, Default)]
pub struct Earlier {
    /// Whether the foreign tables that the source reads were waited for.
    pub is_foreign_awaited: bool,
    /// Whether rows that are too long for the remote to send are looked for and left out.
    pub leaves_long_rows: bool,
    /// How many bytes the remote sent.
    pub bytes: i64,
}

/// Which rows a sync is to compare value by value.
#[derive(Clone, Debug, Default)]
pub enum Compare {
    /// Those that versions or digests tell apart.
    #[default]
    Differences,
    /// Those, and the rows that [`compare`] found to differ.
    Also(Extent),
    /// All of them.
    Everything,
}

/// How a sync found the rows that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// By the versions of rows, or by a digest that was equal on both sides.
    Differences,
    /// By digests of what all rows hold.
    Contents,
    /// By comparing every value of every row.
    Everything,
}

/// The rows that are staged and compared value by value; the others are known to be equal.
#[derive(Clone, Debug)]
pub struct Extent {
    /// How many meters the remote holds within it and without; not known yet where all are read.
    pub(crate) remote_rows: Option<i64>,
    /// The condition that picks them on the remote, for a row named `r`.
    pub(crate) remote: String,
    /// The same here, for a row named `l`.
    pub(crate) local: String,
}

impl Extent {
    fn everything() -> Self {
        Self {
            remote_rows: None,
            remote: "true".to_owned(),
            local: "true".to_owned(),
        }
    }

    fn nothing(remote_rows: i64) -> Self {
        Self {
            remote_rows: Some(remote_rows),
            remote: "false".to_owned(),
            local: "false".to_owned(),
        }
    }

    /// The rows of both.
    fn or(self, other: &Self) -> Self {
        Self {
            remote_rows: self.remote_rows,
            remote: format!("({} or {})", self.remote, other.remote),
            local: format!("({} or {})", self.local, other.local),
        }
    }
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
    /// The rows that were rejected.
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
    /// How the rows that differ were found.
    pub compared: Compared,
}

/// Where a sync tells how far it is.
pub type Observer = watch::Sender<Progress>;

/// Makes the local meters of the job's tenant equal to the remote's, inside the two transactions.
/// The remote one ends as soon as all is read; the caller commits the local one. Changes and rejected
/// rows are recorded under the job's run.
pub async fn run(
    remote: Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &Job<'_>,
    observer: &Observer,
) -> Result<Done, SyncError> {
    enter(observer, Phase::Prepare);
    if local.is_replica() {
        return Err(SyncError::TriggersOff);
    }
    let shape = shape::resolve(&remote, local, job).await?;
    if shape.may_be_foreign && !job.earlier.is_foreign_awaited {
        return Err(SyncError::Rewritten(shape.remote_from));
    }
    look_for_drift(&shape, job)?;
    enter(observer, Phase::Read);
    let versions = Versions::read(&remote, local, &shape, job).await?;
    if !job.dry_run
        && let Some(loaded) = Box::pin(load::load(&remote, local, &shape, job, observer)).await?
    {
        rewritten::end_reading(remote).await?;
        digest::remember_load(local, &shape, job, versions, &loaded).await?;
        return Ok(Done::of(loaded, Compared::Everything));
    }
    let (difference, compared) = {
        let _told = relay::Telling {
            remote: &remote,
            observer,
            before: job.earlier.bytes,
        };
        digest::find(&remote, local, &shape, job, versions.as_ref()).await?
    };
    let extent = match difference {
        Difference::None(rows) => {
            rewritten::end_reading(remote).await?;
            let synced = Synced::unchanged(rows);
            if !job.dry_run {
                digest::remember(local, &shape, job, versions, (false, &synced)).await?;
            }
            return Ok(Done::of(synced, compared));
        }
        Difference::Within(extent) => extent,
        Difference::Unclear => Extent::everything(),
    };
    let staged = read::stage(remote, local, (&shape, &extent), job, observer).await?;
    let found = (extent, staged, compared);
    Box::pin(carry_out(local, (&shape, versions), job, found, observer)).await
}

/// Plans what the staged rows change, and changes it unless the brake holds it back.
async fn carry_out(
    local: &Tx<'_, Local>,
    (shape, versions): (&Shape, Option<Versions<'_>>),
    job: &Job<'_>,
    (extent, staged, compared): (Extent, Staged, Compared),
    observer: &Observer,
) -> Result<Done, SyncError> {
    enter(observer, Phase::Plan);
    local.hold_rows().await?;
    let shape = &locks::hold_to_write(local, shape, job).await?;
    let plan = plan::make(local, shape, job, &extent, &staged).await?;
    let braked = brake::check(local, shape, job, &plan, &staged).await;
    if job.dry_run {
        let refusal = match braked {
            Err(error) if !error.is_refusal() => return Err(error),
            braked => braked.err(),
        };
        record::changes(local, shape, job, &plan).await?;
        let done = Done::of(plan.into_synced(job, staged.rejected), compared);
        return Ok(Done { refusal, ..done });
    }
    braked?;
    record::changes(local, shape, job, &plan).await?;
    enter(observer, Phase::Apply);
    let synced = apply::apply(local, shape, job, plan, staged).await?;
    digest::remember(local, shape, job, versions, (true, &synced)).await?;
    Ok(Done::of(synced, compared))
}

fn look_for_drift(shape: &Shape, job: &Job<'_>) -> Result<(), SyncError> {
    let report = drift::compare(job.known_columns, shape, job.mapping);
    let report = job.column_report.get_or_init(|| report);
    match (report.drifted(), job.mapping.on_drift) {
        (drifted, OnDrift::Fail) if !drifted.is_empty() => {
            Err(SyncError::Drift(drift::failure(&drifted, shape)))
        }
        (_, OnDrift::Fail | OnDrift::Warn) => Ok(()),
    }
}

/// Compares what all rows of both sides hold, by two digests of these seeds, and writes nothing. The seeds are to be
/// fresh: rows that passed for equal under others do not under these. How many bytes the remote sent is told also where the
/// comparison fails or is given up.
///
/// The local transaction need not hold a lock: each side is read at one moment. Where a sync is in progress meanwhile, its
/// changes may come out as a difference, and a sync of that difference finds nothing to do.
pub async fn compare(
    remote: Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &Job<'_>,
    seeds: [u64; 2],
    observer: &Observer,
) -> Result<Contents, SyncError> {
    let contents = {
        let _told = relay::Telling {
            remote: &remote,
            observer,
            before: 0,
        };
        let shape = shape::resolve(&remote, local, job).await?;
        digest::compare_contents(&remote, local, &shape, job, seeds).await?
    };
    rewritten::end_reading(remote).await?;
    Ok(contents)
}

impl Done {
    fn of(synced: Synced, compared: Compared) -> Self {
        Self {
            synced,
            refusal: None,
            compared,
        }
    }
}

impl Synced {
    fn unchanged(rows: i64) -> Self {
        Self {
            counts: Counts {
                unchanged: rows,
                ..Counts::default()
            },
            ..Self::default()
        }
    }
}

fn enter(observer: &Observer, phase: Phase) {
    observer.send_modify(|progress| progress.enter(phase, Instant::now()));
}
