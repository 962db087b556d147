//! Compares the contents of all rows of both sides, by hashes, after a run. This is due when the last such comparison
//! was too long ago.
//!
//! The run itself has ended by then: it is logged, and its lock is released. If the comparison fails, the run only gets
//! a warning, and the comparison is tried again after a later run. If contents differ, a second run corrects them. The
//! second run compares the differing rows value by value, under the same rules as any other run.

use std::sync::OnceLock;
use std::time::Instant;

use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::db::{Local, Tx};
use crate::engine::column_drift::KnownColumns;
use crate::engine::{
    self, ContentsComparison, EarlierAttempts, RowsToCompare, SyncError, SyncJob, TableHolder,
};
use crate::error::{ErrorCode, Failure};
use crate::model::{DeactivationApproval, Progress, RunId};

use super::execute::RunToCompare;
use super::run_task::RunTask;
use crate::mirrors::{RunApprovals, RunRequest};
use crate::reports::join_warnings::joined;
use crate::reports::run_report;
use crate::store::log;
use crate::telemetry::run_metrics;

impl RunToCompare<'_> {
    /// Compares the contents of both sides and, if they differ, does a second run that corrects them. Adds the result
    /// to the log row and the report of the run that has ended.
    pub(crate) async fn compare_contents(&mut self) {
        let limit = self.context.mirror.config().limits.run_timeout;
        let read = watch::Sender::new(Progress::start(Instant::now()));
        let contents = match tokio::time::timeout(limit, self.compare(&read)).await {
            Ok(compared) => compared.map_err(Failure::from),
            Err(_elapsed) => Err(Failure::new(
                ErrorCode::RemoteTimeout,
                format!("The comparison did not end within {limit:?}."),
            )
            .with_remedy("Raise METER_SYNC_RUN_TIMEOUT.")),
        };
        let bytes = read.borrow().remote_bytes;
        let is_equal = matches!(contents, Ok(ContentsComparison::Equal));
        let warning = match contents {
            Ok(ContentsComparison::Equal | ContentsComparison::Unsettled) => None,
            Ok(ContentsComparison::Differing(compare)) => self.start_correcting_run(compare).await,
            Ok(ContentsComparison::Incomparable) => Some(INCOMPARABLE.to_owned()),
            Ok(ContentsComparison::Unfound) => Some(UNFOUND.to_owned()),
            Err(failure) => Some(not_compared(&failure)),
        };
        self.note(is_equal, warning, bytes).await;
    }

    /// Compares the contents of both sides, and writes nothing. Adds the bytes that the remote sends to `read`.
    async fn compare(
        &self,
        read: &engine::ProgressSender,
    ) -> Result<ContentsComparison, SyncError> {
        let mirror = self.context.mirror;
        let mapping = mirror.mapping();
        let job = SyncJob {
            // This id belongs to no run. Hashes are seeded with it, and the seed must be a new one.
            run_id: RunId::at(self.context.now()),
            tenant: &self.scope.tenant.given,
            mapping,
            limits: &mirror.config().limits,
            table_holder: TableHolder::Nobody,
            compare: RowsToCompare::Differences,
            hash_bits: u64::BITS,
            earlier: EarlierAttempts::default(),
            dry_run: true,
            mass_deactivation: &DeactivationApproval::None,
            allow_tenant_change: false,
            allow_remote_change: false,
            known_columns: &KnownColumns::default(),
            column_report: &OnceLock::new(),
            remote_change: &OnceLock::new(),
        };
        let (one, other) = Uuid::new_v4().as_u64_pair();
        // The local transaction comes first, as in a run and a sweep. Otherwise, behind poolers with few connections,
        // one of them could hold what the other waits for.
        let mut local = self.context.local.connect().await?;
        let tx = local.begin_for_run("compare contents").await?;
        let mut remote = self.context.remote.connect().await?;
        let locks = engine::locks_of(&mut remote, &mapping.source, false).await?;
        let snapshot = remote.snapshot("compare contents", &locks).await?;
        let compared = engine::compare(snapshot, &tx, &job, [one, other], read).await;
        drop(tx);
        remote.discard();
        compared
    }

    /// Does a second run that compares the differing rows value by value, and waits for its end. Returns a warning to
    /// add to the first run; `None` if the second run found nothing to change, or did not start.
    async fn start_correcting_run(&self, compare: RowsToCompare) -> Option<String> {
        let asked = self.context.request;
        let request = RunRequest {
            reason: Some(format!(
                "Comparing contents found a difference after run {}.",
                self.context.record.run_id
            )),
            dry_run: false,
            allow: RunApprovals::default(),
            idempotency_key: None,
            compare,
            ..asked.clone()
        };
        let correcting = RunTask::new(self.context.mirror, &request)?;
        let (begun, _) = oneshot::channel();
        let record = Box::pin(correcting.run_once(begun)).await?.end.record;
        let is_settled = record.error.is_none() && record.counts.changes() == 0;
        (!is_settled).then(|| {
            format!(
                "Comparing contents after this run found a difference. Look at run {}, which was to put it right: {}",
                record.run_id,
                run_report::summary(&record)
            )
        })
    }

    /// Adds the result of the comparison to the log row and the report of the run that ended before it. `bytes` is what
    /// the remote sent.
    async fn note(&mut self, is_equal: bool, warning: Option<String>, bytes: i64) {
        let run_id = self.context.record.run_id;
        if let Some(warning) = &warning {
            tracing::warn!(run.id = %run_id, "{warning}");
        }
        run_metrics::read(bytes);
        let log = async |tx: &Tx<'_, Local>| {
            log::compared_after(tx, run_id, is_equal, warning.as_deref(), bytes).await
        };
        let logged = self.context.local.write("log a comparison", log).await;
        if let Err(error) = logged {
            let failure = error.failure();
            tracing::warn!(run.id = %run_id, error = %failure, error.code = %failure.code, "the comparison of contents could not be logged");
        }
        let record = &mut self.end.record;
        record.remote_bytes += bytes;
        record.warning = joined([record.warning.take(), warning]);
    }
}

fn not_compared(failure: &Failure) -> String {
    format!(
        "The run did what it was to do; the contents of both sides could not be compared after it. {} {} A later run tries again.",
        failure.message, failure.remedy
    )
}

const INCOMPARABLE: &str = "\
The contents of both sides cannot be compared by digests: a remote value does not become a value of its local column's \
type. Mend the remote row or the type, or leave the column out of METER_SYNC_COLUMNS.";

const UNFOUND: &str = "\
The contents of both sides differ, and in which rows could not be found out in time. Raise METER_SYNC_STATEMENT_TIMEOUT; \
a later run tries again.";
