//! The engine: makes the local meters of one tenant equal to the tenant's remote rows.
//!
//! It works inside one remote snapshot and one local transaction, both opened by the caller, so its writes become
//! visible all at once or not at all. It starts no runs, keeps no log of runs and has no user interface: it takes a
//! [`SyncJob`] and returns a result.
//!
//! The steps, in order:
//!
//! - `relations` reads the catalogs of both sides into a [`Relations`], and `tenant_filters` selects the tenant's rows.
//! - `first_load` copies the remote rows straight into the local table if the tenant has no local rows yet. The sync
//!   then ends.
//! - `digest` compares row versions and hashes of rows, to find which rows may differ.
//! - `read` copies these rows by COPY into a local staging table, without decoding them. `stage_new_rows` does so if
//!   only the remote has changed, and finds out which rows are missing.
//! - `carry_out` makes the local rows equal to the staged ones, by `overwrite` if both sides have the same keys, and
//!   otherwise by a plan:
//!   - `plan` finds the differences by set operations.
//!   - `brake` may refuse the plan.
//!   - `apply` carries the plan out in sets of rows. It writes rows one by one only to find those that the local table
//!     refuses.

use std::sync::OnceLock;
use std::time::Instant;

use tokio::sync::watch;

use crate::config::{Limits, Mapping};
use crate::db::{Local, Remote, Tx};
use crate::model::{
    CompareMethod, Counts, DeactivationApproval, Phase, Progress, ProofMethod, Rejection, RunId,
    TenantId,
};

use carry_out::StagedDifferences;
use check_and_read_versions::check_and_read_versions;
use column_drift::{ColumnDriftReport, KnownColumns};
pub use compare_both_sides::{compare, verification_sql};
use detect_replaced_remote::RemoteComparison;
pub(crate) use detect_replaced_remote::{UNIDENTIFIED, look_up as look_up_remote};
pub use digest::{
    ContentsComparison, ContentsDifference, ContentsDigests, ContentsVerdict, DigestHashing,
    SideDigest, VerificationSql, compare_sums,
};
use digest::{RowsThatMayDiffer, VersionsOfBothSides};
pub(crate) use error::ROW_SECURITY_REMEDY;
pub use error::SyncError;
use find_gone_meters::MissingMeters;
pub(crate) use plan::refuse_duplicate_local_keys;
pub(crate) use read::{DUPLICATES_NAMED, refuse_keys};
pub use relations::Relations;
pub(crate) use relations::detect_row_security::may_hide_rows;
pub(crate) use relations::explain_missing_names::missing;
pub(crate) use relations::lock_relations::of_source as locks_of;
pub(crate) use relations::look_up;
pub(crate) use relations::refuse_unsuited_distribution::{
    create_distributed_table, refuse_others as refuse_other_distributions,
};
pub use rows_to_compare::{RowSelection, RowsToCompare};
use run_context::RunContext;
pub(crate) use source_remedy::failure;
pub use sweep::{
    BATCHES_AT_ONCE, LocalTableFinding, SweepResult, SweptMirror, TABLES_AT_ONCE,
    TablePerTenantSweep, sweep,
};
pub use tenant_filters::TenantFilters;
pub(crate) use tenant_filters::try_tenant;

mod relations;
mod resolve_scope;
mod rows_to_compare;
mod sweep;
mod tenant_filters;

mod apply;
mod brake;
mod carry_out;
mod check_and_read_versions;
pub mod column_drift;
mod compare_both_sides;
mod copy_distributed_rows;
mod detect_replaced_remote;
mod digest;
mod error;
mod find_gone_meters;
mod find_missing_rows;
mod first_load;
mod overwrite;
mod plan;
mod planned_deactivations;
mod read;
mod record_changes;
mod remote_replacement;
mod row_difference_sql;
mod run_context;
mod source_remedy;
mod stage_local_rows;
mod stage_new_rows;
mod why_value_refused;
mod write_by_halving;

/// The input of one sync.
#[derive(Clone, Debug)]
pub struct SyncJob<'a> {
    /// The run under which changes are recorded. The log must have a row for it, unless nothing is recorded (as in
    /// [`compare`]).
    pub run_id: RunId,
    /// The tenant whose meters are synced.
    pub tenant: &'a TenantId,
    /// The settings that select the tables, rows and columns.
    pub mapping: &'a Mapping,
    /// Timeouts, and limits on deactivations, rejected rows and recorded changes.
    pub limits: &'a Limits,
    /// Whether the local table belongs to another tenant. Matters only if the table has no tenant column.
    pub table_holder: TableHolder,
    /// Which rows to compare value by value.
    pub compare: RowsToCompare,
    /// How many bits of each row hash to keep: 64, except in tests that provoke hash collisions.
    pub hash_bits: u32,
    /// What the run found out in earlier attempts.
    pub earlier: EarlierAttempts,
    /// Whether to stop after the plan, without changing any meter.
    pub dry_run: bool,
    /// Which deactivations a person approved, so that the brake does not refuse them.
    pub mass_deactivation: &'a DeactivationApproval,
    /// Whether a person allowed the local table to be synced for this tenant although it was last synced for another
    /// one.
    pub allow_tenant_change: bool,
    /// Whether a person allowed a sync although the remote was restored or swapped for another.
    pub allow_remote_change: bool,
    /// The columns that earlier runs synced, as recorded then.
    pub known_columns: &'a KnownColumns,
    /// Receives the result of comparing the columns with `known_columns`, even if the run fails later.
    pub column_report: &'a OnceLock<ColumnDriftReport>,
    /// Receives a warning if the remote was restored or swapped for another, or if a strict brake cannot find that out,
    /// even if the run fails later.
    pub remote_change: &'a OnceLock<&'static str>,
}

/// What a run found out in earlier attempts. A run starts over with a new remote snapshot if a remote table was
/// rewritten while the run read, or if a row was too long to send.
#[derive(Clone, Debug, Default)]
pub struct EarlierAttempts {
    /// Whether the run waited, before it took the snapshot, for sessions that were rewriting foreign tables which the
    /// source reads.
    pub is_foreign_awaited: bool,
    /// Whether to look for rows that are too long for the remote to send, and leave them out.
    pub leaves_long_rows: bool,
    /// How many bytes the remote sent in the earlier attempts.
    pub bytes: i64,
}

/// Which other tenant, if any, uses a local table without a tenant column. Such a table holds the meters of one tenant
/// only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableHolder {
    /// No other tenant: the job's tenant may use the table.
    Nobody,
    /// Another tenant, for which the table was last synced.
    Tenant(String),
    /// Another tenant, for which another run is syncing the table right now.
    Running,
}

/// What a sync did, or what it would do if this was a dry run.
#[derive(Clone, Debug, Default)]
pub struct SyncResult {
    /// How many meters were inserted, updated, deactivated and so on.
    pub counts: Counts,
    /// Whether fewer changes were recorded than made.
    pub changes_truncated: bool,
    /// The rows that were rejected.
    pub rejected: Vec<Rejection>,
    /// The columns in which the local table stored other values than the sync wrote, for instance because a trigger
    /// changed them.
    pub altered: Vec<String>,
}

/// What [`run`] returns: the changes, a refusal that a dry run found, and how the differing rows were found.
#[derive(Debug)]
pub struct FinishedSync {
    /// What the sync did, or what it would do if this was a dry run.
    pub synced: SyncResult,
    /// Why the brake would refuse the plan of this dry run. `None` if the brake would let the plan pass, or if this was
    /// no dry run.
    pub refusal: Option<SyncError>,
    /// How the rows that differ were found.
    pub compared: CompareMethod,
    /// How it is known that both sides are equal after the sync; `None` if rows were rejected, or if the local table
    /// changed values as they were written.
    pub proved: Option<ProofMethod>,
}

/// The channel on which a sync publishes its progress.
pub type ProgressSender = watch::Sender<Progress>;

/// Makes the local meters of the job's tenant equal to the tenant's remote rows, inside the two transactions.
///
/// The remote transaction ends as soon as everything is read; the caller commits the local one. If the plan deactivates
/// meters that the remote no longer has, the remote is then asked once where they went (`find_gone_meters`).
///
/// Changes are recorded under the job's run. Rejected rows are only returned: the caller logs them.
pub async fn run(
    remote: Tx<'_, Remote>,
    local: &Tx<'_, Local>,
    job: &SyncJob<'_>,
    observer: &ProgressSender,
) -> Result<FinishedSync, SyncError> {
    enter(observer, Phase::Prepare);
    if local.is_replica() {
        return Err(SyncError::TriggersDisabled);
    }
    let resolved = Box::pin(resolve_scope::resolve(&remote, local, job));
    let (relations, scope, here) = resolved.await?;
    let run = &RunContext {
        local,
        relations: &relations,
        scope: &scope,
        job,
        observer,
    };
    let (mut versions, may_identify) =
        Box::pin(check_and_read_versions(&remote, run, &here)).await?;
    let comparison =
        detect_replaced_remote::look(&remote, run, versions.as_mut(), may_identify).await?;
    if let Some(versions) = versions.as_mut() {
        versions.close_unneeded_keys(&remote, local).await?;
    }
    if !job.dry_run
        && !comparison.has_changed()
        && let Some(loaded) = Box::pin(first_load::load(&remote, run)).await?
    {
        read::commit_unless_rewritten::commit_unless_rewritten(remote).await?;
        comparison.remember(run, versions.as_ref()).await?;
        digest::remember_load(run, versions, &loaded).await?;
        return Ok(FinishedSync::of(loaded, CompareMethod::Everything));
    }
    let (difference, compared) = {
        let _told = read::relay_rows::ReadProgressReporter {
            remote: &remote,
            observer,
            before: job.earlier.bytes,
        };
        digest::find(&remote, run, versions.as_ref()).await?
    };
    let (selection, staged, remote) = match difference {
        RowsThatMayDiffer::None(rows) => {
            read::commit_unless_rewritten::commit_unless_rewritten(remote).await?;
            return end_unchanged(run, versions, &comparison, rows, compared).await;
        }
        RowsThatMayDiffer::NewOrMissing(found) => {
            Box::pin(stage_new_rows::stage(remote, run, &found)).await?
        }
        RowsThatMayDiffer::Within(selection) => read::stage(remote, run, selection).await?,
        RowsThatMayDiffer::Unclear => read::stage(remote, run, RowSelection::everything()).await?,
    };
    let found = StagedDifferences {
        selection,
        staged,
        remote: Some(remote),
        compared,
        comparison,
        gone: MissingMeters::default(),
    };
    Box::pin(carry_out::carry_out(run, versions, found)).await
}

/// Ends a sync that found no difference. `rows` is the number of remote meters.
async fn end_unchanged(
    run: &RunContext<'_>,
    versions: Option<VersionsOfBothSides<'_>>,
    comparison: &RemoteComparison,
    rows: i64,
    compared: CompareMethod,
) -> Result<FinishedSync, SyncError> {
    let synced = SyncResult::unchanged(rows);
    // Otherwise, one digest a side of the contents of all rows was equal.
    let proved = match versions
        .as_ref()
        .is_some_and(VersionsOfBothSides::show_no_change)
    {
        true => ProofMethod::Versions,
        false => ProofMethod::Contents,
    };
    comparison.warn(run, None);
    if !run.job.dry_run && !comparison.waits_for_a_person(run) {
        comparison.remember(run, versions.as_ref()).await?;
        digest::remember(run, versions, false, &synced, None).await?;
    }
    Ok(FinishedSync {
        proved: Some(proved),
        ..FinishedSync::of(synced, compared)
    })
}

impl FinishedSync {
    fn of(synced: SyncResult, compared: CompareMethod) -> Self {
        let are_equal = synced.rejected.is_empty() && synced.altered.is_empty();
        let proved = match compared {
            CompareMethod::Differences => ProofMethod::Versions,
            CompareMethod::Contents => ProofMethod::Contents,
            CompareMethod::Everything => ProofMethod::EveryValue,
        };
        Self {
            synced,
            refusal: None,
            compared,
            proved: are_equal.then_some(proved),
        }
    }
}

impl SyncResult {
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

fn enter(observer: &ProgressSender, phase: Phase) {
    observer.send_modify(|progress| progress.enter(phase, Instant::now()));
}
