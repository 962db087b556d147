//! Opens a transaction on each side for a comparison of all rows, apart from any run. The transactions write nothing.

use std::sync::OnceLock;

use uuid::Uuid;

use crate::db::{Database, DbError, Local, Remote, Tx};
use crate::engine::column_drift::{ColumnDriftReport, KnownColumns};
use crate::engine::{
    self, ContentsComparison, DigestHashing, EarlierAttempts, RowsToCompare, SyncJob, TableHolder,
    VerificationSql,
};
use crate::error::Failure;
use crate::mirrors::Mirror;
use crate::mirrors::open_run_fate::{self, OpenRunFate};
use crate::model::{DeactivationApproval, ProofMethod, RunId, TenantId};
use crate::store::log;
use crate::store::proofs::StoredComparison;
use crate::tenants::run_scope::RunScope;

/// What the job of a comparison refers to.
#[derive(Default)]
struct ComparisonJob {
    known_columns: KnownColumns,
    column_report: OnceLock<ColumnDriftReport>,
    remote_change: OnceLock<&'static str>,
}

impl ComparisonJob {
    fn of<'a>(&'a self, mirror: &'a Mirror, tenant: &'a TenantId) -> SyncJob<'a> {
        SyncJob {
            // This id belongs to no run. Hashes are seeded with it, and the seed must be a new one.
            run_id: RunId::at(mirror.now()),
            tenant,
            mapping: mirror.mapping(),
            limits: &mirror.config().limits,
            table_holder: TableHolder::Nobody,
            compare: RowsToCompare::Differences,
            hash_bits: u64::BITS,
            earlier: EarlierAttempts::default(),
            dry_run: true,
            mass_deactivation: &DeactivationApproval::None,
            allow_tenant_change: false,
            allow_remote_change: false,
            known_columns: &self.known_columns,
            column_report: &self.column_report,
            remote_change: &self.remote_change,
        }
    }
}

impl Mirror {
    /// Compares the contents of both sides, and writes nothing. Adds the bytes that the remote sends to `read`.
    pub(crate) async fn compare_both_sides(
        &self,
        tenant: &TenantId,
        read: &engine::ProgressSender,
    ) -> Result<ContentsComparison, Failure> {
        let parts = ComparisonJob::default();
        let job = parts.of(self, tenant);
        // The local transaction comes first, as in a run and a sweep. Otherwise, behind poolers with few connections,
        // one of them could hold what the other waits for.
        let mut local = self.local()?.connect().await?;
        let tx = local.begin_for_run("compare contents").await?;
        let mut remote = self.remote()?.connect().await?;
        let locks = engine::locks_of(&mut remote, &job.mapping.source, false).await?;
        let snapshot = remote.snapshot("compare contents", &locks).await?;
        let compared = engine::compare(snapshot, &tx, &job, new_seeds(), read).await;
        drop(tx);
        remote.discard();
        Ok(compared?)
    }

    /// Builds the statements that compute the digest of each side, as the earlier comparison with this `hashing` did, or
    /// with new seeds.
    pub(crate) async fn build_verification_sql(
        &self,
        tenant: &TenantId,
        hashing: Option<DigestHashing>,
    ) -> Result<VerificationSql, Failure> {
        let parts = ComparisonJob::default();
        let job = parts.of(self, tenant);
        let mut local = self.local()?.connect().await?;
        let tx = local.begin_for_run("build a statement").await?;
        let mut remote = self.remote()?.connect().await?;
        let snapshot = remote.snapshot("build a statement", &[]).await?;
        let built = engine::verification_sql(&snapshot, &tx, &job, hashing, new_seeds()).await;
        drop(snapshot);
        remote.discard();
        Ok(built?)
    }

    fn remote(&self) -> Result<&Database<Remote>, Failure> {
        self.remote.as_ref().ok_or_else(|| self.unconfigured())
    }
}

fn new_seeds() -> [u64; 2] {
    let (one, other) = Uuid::new_v4().as_u64_pair();
    [one, other]
}

/// The newest runs of a mirror. A comparison during which they change may have seen one side before and the other side
/// after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewestRuns {
    /// The newest run that has ended, dry runs excluded.
    pub(crate) ended: Option<RunId>,
    /// Whether a run that may change meters is in progress.
    pub(crate) is_running: bool,
}

impl NewestRuns {
    pub(crate) async fn read(tx: &Tx<'_, Local>, scope: &RunScope) -> Result<Self, DbError> {
        let open = log::running(tx, scope.log()).await?;
        let is_running = match open.filter(|run| !run.dry_run) {
            Some(run) => matches!(
                open_run_fate::look_up(tx, scope, run.run_id).await?,
                OpenRunFate::InProgress
            ),
            None => false,
        };
        let ended = log::last_finished(tx, scope.log()).await?;
        Ok(Self {
            ended: ended.map(|run| run.run_id),
            is_running,
        })
    }

    /// Whether no run was in progress at this moment, nor has ended between `before` and this moment.
    pub(crate) fn is_undisturbed_since(self, before: Self) -> bool {
        self == before && !self.is_running
    }
}

/// Returns what to store of a comparison of contents; `None` if it computed no digests. Whether a difference is explained
/// is for the caller to decide.
pub(crate) fn to_store(compared: &ContentsComparison) -> Option<StoredComparison> {
    let digests = compared.digests.as_ref()?;
    let hashing = digests.hashing;
    Some(StoredComparison {
        method: ProofMethod::Contents,
        are_equal: compared.are_equal(),
        is_unexplained: false,
        remote: (digests.remote.meters, digests.remote.digest.clone()),
        local: (digests.local.meters, digests.local.digest.clone()),
        seeds: hashing.seeds,
        is_portable: hashing.is_portable,
        casts: hashing.casts,
    })
}
