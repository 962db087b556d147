//! Compares the contents of all rows of both sides, by hashes, after a run. This is due when the last such comparison
//! was too long ago.
//!
//! The run itself has ended by then: it is logged, and its lock is released. If the comparison fails, the run only gets
//! a warning, and the comparison is tried again after a later run. If contents differ, a second run corrects them. The
//! second run compares the differing rows value by value, under the same rules as any other run.

use std::time::Instant;

use tokio::sync::{oneshot, watch};

use crate::db::{Local, Tx};
use crate::engine::{ContentsComparison, ContentsVerdict, RowsToCompare};
use crate::error::{ErrorCode, Failure};
use crate::model::Progress;

use super::compare_both_sides::{NewestRuns, to_store};
use super::execute::RunToCompare;
use super::run_task::RunTask;
use crate::mirrors::{RunApprovals, RunRequest};
use crate::reports::join_warnings::joined;
use crate::reports::run_report;
use crate::reports::verify_report::{INCOMPARABLE, UNEXPLAINED, UNFOUND};
use crate::store::log::{self, ComparisonAfterRun};
use crate::store::proofs::{self, StoredComparison};
use crate::telemetry::run_metrics;
use crate::tenants::run_scope::RunScope;

impl RunToCompare<'_> {
    /// Compares the contents of both sides and, if they differ, does a second run that corrects them. Adds the result
    /// to the log row and the report of the run that has ended.
    pub(crate) async fn compare_contents(&mut self) {
        let limit = self.context.mirror.config().limits.run_timeout;
        let read = watch::Sender::new(Progress::start(Instant::now()));
        let (mirror, tenant) = (self.context.mirror, &self.scope.tenant.given);
        let comparing = mirror.compare_both_sides(tenant, &read);
        let contents = match tokio::time::timeout(limit, comparing).await {
            Ok(compared) => compared,
            Err(_elapsed) => Err(Failure::new(
                ErrorCode::RemoteTimeout,
                format!("The comparison did not end within {limit:?}."),
            )
            .with_remedy("Raise METER_SYNC_RUN_TIMEOUT.")),
        };
        let bytes = read.borrow().remote_bytes;
        let mut is_unexplained = match &contents {
            Ok(compared) => compared.is_unexplained() && self.is_last_run().await,
            Err(_) => false,
        };
        let proof = contents.as_ref().ok().and_then(to_store);
        let are_equal = contents.as_ref().is_ok_and(ContentsComparison::are_equal);
        let warning = match contents.map(|compared| compared.verdict) {
            Ok(ContentsVerdict::Equal | ContentsVerdict::Unsettled) => None,
            Ok(ContentsVerdict::Differing(found)) => self.start_correcting_run(found.rows).await,
            Ok(ContentsVerdict::Incomparable) => Some(INCOMPARABLE.to_owned()),
            Ok(ContentsVerdict::Unfound) => Some(UNFOUND.to_owned()),
            Err(failure) => Some(not_compared(&failure)),
        };
        // If the second run found every value equal, only the digests differed.
        is_unexplained &= warning.is_some();
        let proof = proof.map(|proof| StoredComparison {
            is_unexplained,
            ..proof
        });
        let result = ComparisonAfterRun {
            are_equal,
            is_unexplained,
            warning,
            remote_bytes: bytes,
        };
        self.note(result, proof).await;
    }

    /// Whether the run is still the mirror's last one, and no other is in progress. If that cannot be read, it counts
    /// as if another run had ended.
    async fn is_last_run(&self) -> bool {
        let read = async |tx: &Tx<'_, Local>| NewestRuns::read(tx, &self.scope).await;
        let newest = self.context.local.read("look for later runs", read).await;
        let this = NewestRuns {
            ended: Some(self.context.record.run_id),
            is_running: false,
        };
        newest.is_ok_and(|newest: NewestRuns| newest.is_undisturbed_since(this))
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

    /// Stores the proof, and adds the result of the comparison to the log row and the report of the run that ended before
    /// it.
    async fn note(&mut self, result: ComparisonAfterRun, proof: Option<StoredComparison>) {
        let run_id = self.context.record.run_id;
        if let Some(warning) = &result.warning {
            tracing::warn!(run.id = %run_id, "{warning}");
        }
        if result.is_unexplained {
            tracing::error!(run.id = %run_id, "{UNEXPLAINED}");
        }
        run_metrics::read(result.remote_bytes);
        let RunScope { tenant, table } = &self.scope;
        let record = &self.end.record;
        let ended = record.finished_at.unwrap_or(record.started_at);
        let log = async |tx: &Tx<'_, Local>| {
            if let Some(proof) = &proof {
                proofs::keep(tx, &tenant.id, &table.name, ended, proof).await?;
            }
            log::compared_after(tx, run_id, &result).await
        };
        let logged = self.context.local.write("log a comparison", log).await;
        if let Err(error) = logged {
            let failure = error.failure();
            tracing::warn!(run.id = %run_id, error = %failure, error.code = %failure.code, "the comparison of contents could not be logged");
        }
        let record = &mut self.end.record;
        record.remote_bytes += result.remote_bytes;
        record.warning = joined([record.warning.take(), result.warning]);
    }
}

fn not_compared(failure: &Failure) -> String {
    format!(
        "The run did what it was to do; the contents of both sides could not be compared after it. {} {} A later run tries again.",
        failure.message, failure.remedy
    )
}
