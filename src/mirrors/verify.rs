//! Verifies on request that both sides hold the same meters: compares the contents of all rows by digests, or also every
//! value. Changes no meter, and stores the result for the status.
//!
//! Syncs may run meanwhile. If one ends during a comparison, the sides may have been read before and after it, so a
//! difference then counts only after another comparison.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::db::{Local, Tx};
use crate::engine::{
    ContentsComparison, ContentsVerdict, DigestHashing, RowsToCompare, VerificationSql,
};
use crate::error::{ErrorCode, Failure};
use crate::model::{Progress, ProofMethod, RunOutcome, RunTrigger, saturating_i64};
use crate::reports::run_report::{RunReport, RunState};
use crate::reports::verify_report::{
    INCOMPARABLE, UNEXPLAINED, UNFOUND, VerifyFinding, VerifyReport,
};
use crate::store::proofs::{self, StoredComparison};
use crate::store::{migrations, watermarks};
use crate::telemetry::run_metrics;
use crate::tenants;
use crate::tenants::run_scope::RunScope;

use super::run::compare_both_sides::{NewestRuns, to_store};
use super::run::execute;
use super::{Mirror, RunRequest};

/// A request to verify that both sides hold the same meters.
#[derive(Clone, Debug)]
pub struct VerifyRequest {
    /// Whether to compare every value, after the digests. A dry run does that.
    pub every_value: bool,
    /// What asks for it. The log names it with the dry run.
    pub trigger: RunTrigger,
    /// The person or program that asks for it; `None` if unknown.
    pub actor: Option<String>,
}

/// How often the contents are compared if they differ and a sync ends meanwhile.
const ATTEMPTS: u32 = 3;
/// The pause between two looks whether a run is still in progress.
const PAUSE: Duration = Duration::from_millis(100);
/// The reason of the dry run that compares every value, as the log shows it.
const REASON: &str = "to verify every value";

/// What comparing the contents found.
struct ComparedContents {
    comparison: ContentsComparison,
    /// Whether a sync ended during the last attempt.
    was_disturbed: bool,
}

impl Mirror {
    /// Compares all meters of both sides, stores the result and reports it.
    ///
    /// Fails if the contents cannot be compared, if this process may start no runs or is verifying the mirror already, or,
    /// with `every_value`, if another run is in progress.
    pub async fn verify(&self, request: &VerifyRequest) -> Result<VerifyReport, Failure> {
        self.may_sync()?;
        let _alone = self.shared.verifying.try_lock().map_err(|_held| busy())?;
        let begun = Instant::now();
        let scope = self.scope_of_verification().await?;
        // What it proves is true of the time before it reads.
        let at = self.now();
        let limit = self.config().limits.run_timeout;
        let mut compared = {
            let _permit = execute::permit_soon(self).await?;
            let comparing = tokio::time::timeout(limit, self.compare_undisturbed(&scope)).await;
            comparing.unwrap_or_else(|_elapsed| Err(overtime(limit)))?
        };
        let (mut proof, mut differing) = self.judge(&scope, &compared).await?;
        let mut run_id = None;
        if request.every_value {
            let run = self.compare_every_value(request).await?;
            let differences = run.counts.changes() + run.counts.rejected;
            // The dry run reads later than the digests. If they disagree, something has changed between them.
            if proof.are_equal != (differences == 0) {
                compared.was_disturbed = true;
                proof.is_unexplained = false;
            }
            proof.method = ProofMethod::EveryValue;
            proof.are_equal &= differences == 0;
            differing = Some(differences).filter(|differences| *differences > 0);
            run_id = Some(run.run_id);
        }
        let RunScope { tenant, table } = &scope;
        let store = async |tx: &Tx<'_, Local>| {
            let is_unexplained = proofs::keep(tx, &tenant.id, &table.name, at, &proof).await?;
            if is_unexplained {
                proofs::disprove(tx, scope.log()).await?;
            }
            Ok::<_, Failure>(is_unexplained)
        };
        let stored = self.local()?.write("store a comparison", store).await?;
        proof.is_unexplained = stored;
        self.note_activity();
        if proof.is_unexplained {
            tracing::error!(tenant.id = %tenant.id, "{UNEXPLAINED}");
        }
        Ok(VerifyReport::of(VerifyFinding {
            comparison: proof,
            at,
            differing,
            was_disturbed: compared.was_disturbed,
            run_id,
            duration_ms: saturating_i64(begun.elapsed().as_millis()),
        }))
    }

    /// Starts to verify as [`Self::verify`] does, and returns at once. The status tells the result. An error is logged.
    pub fn start_to_verify(&self, request: VerifyRequest) -> Result<(), Failure> {
        self.may_sync()?;
        let mirror = self.clone();
        self.tasks.spawn(async move {
            if let Err(failure) = mirror.verify(&request).await {
                tracing::warn!(error = %failure, error.code = %failure.code, "the meters could not be verified");
            }
        });
        Ok(())
    }

    /// Returns the statements with which anyone can compute the digest of each side. They compute the digests of the
    /// last comparison again, if there was one.
    pub async fn verification_sql(&self) -> Result<VerificationSql, Failure> {
        let read = async |tx: &Tx<'_, Local>| {
            let tables = migrations::tables(tx).await?;
            if !tables.any {
                return Err(no_tables());
            }
            let scope = tenants::scope(tx, self.mapping()).await?;
            let last = match tables.proofs {
                true => proofs::latest(tx, scope.log()).await?.comparison,
                false => None,
            };
            Ok::<_, Failure>((scope, last))
        };
        let (scope, last) = self.local()?.read("read the last comparison", read).await?;
        let hashing = last.map(|(_, comparison)| DigestHashing {
            seeds: comparison.seeds,
            is_portable: comparison.is_portable,
            casts: comparison.casts,
        });
        self.build_verification_sql(&scope.tenant.given, hashing)
            .await
    }

    async fn scope_of_verification(&self) -> Result<RunScope, Failure> {
        let mut connection = self.local()?.connect().await?;
        migrations::run(&mut connection).await?;
        let tx = connection.begin("verify").await?;
        tenants::scope(&tx, self.mapping()).await
    }

    /// Compares the contents until they are equal, or differ although no sync ended meanwhile; at most [`ATTEMPTS`]
    /// times.
    async fn compare_undisturbed(&self, scope: &RunScope) -> Result<ComparedContents, Failure> {
        let mut attempt = 1;
        loop {
            let before = self.newest_runs(scope).await?;
            let (read, _) = watch::channel(Progress::start(Instant::now()));
            let comparison = self.compare_both_sides(&scope.tenant.given, &read).await?;
            run_metrics::read(read.borrow().remote_bytes);
            let mut was_disturbed = false;
            if !comparison.are_equal() {
                let after = self.newest_runs(scope).await?;
                let is_settled = !matches!(comparison.verdict, ContentsVerdict::Unsettled);
                was_disturbed = !(is_settled && after.is_undisturbed_since(before));
            }
            if !was_disturbed || attempt == ATTEMPTS {
                return Ok(ComparedContents {
                    comparison,
                    was_disturbed,
                });
            }
            attempt += 1;
            while self.newest_runs(scope).await?.is_running {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn newest_runs(&self, scope: &RunScope) -> Result<NewestRuns, Failure> {
        let read = async |tx: &Tx<'_, Local>| NewestRuns::read(tx, scope).await;
        Ok(self.local()?.read("look for newer runs", read).await?)
    }

    /// Returns what to store of a comparison, and how many meters differ. If they differ although nothing has changed,
    /// deletes the watermark, so that the next sync compares contents and corrects them.
    async fn judge(
        &self,
        scope: &RunScope,
        compared: &ComparedContents,
    ) -> Result<(StoredComparison, Option<i64>), Failure> {
        let comparison = &compared.comparison;
        let is_unexplained = comparison.is_unexplained() && !compared.was_disturbed;
        let differing = match &comparison.verdict {
            ContentsVerdict::Equal | ContentsVerdict::Unsettled => None,
            ContentsVerdict::Differing(difference) => {
                if is_unexplained {
                    let (tenant, table) = (&scope.tenant.given, &difference.local_table);
                    let forget =
                        async |tx: &Tx<'_, Local>| watermarks::forget(tx, tenant, table).await;
                    self.local()?.write("forget the versions", forget).await?;
                }
                difference.meters
            }
            ContentsVerdict::Incomparable => return Err(incomparable(INCOMPARABLE)),
            ContentsVerdict::Unfound => return Err(incomparable(UNFOUND)),
        };
        let proof = to_store(comparison).ok_or_else(|| incomparable(INCOMPARABLE))?;
        let proof = StoredComparison {
            is_unexplained,
            ..proof
        };
        Ok((proof, differing))
    }

    /// Compares every value of every meter, by a dry run.
    async fn compare_every_value(&self, request: &VerifyRequest) -> Result<RunReport, Failure> {
        let request = RunRequest {
            actor: request.actor.clone(),
            reason: Some(REASON.to_owned()),
            dry_run: true,
            compare: RowsToCompare::Everything,
            ..RunRequest::new(request.trigger)
        };
        let run = self.run_to_end(request, false).await?;
        match (run.state, run.outcome) {
            (RunState::Finished, Some(RunOutcome::DryRun)) => Ok(run),
            (RunState::AlreadyRunning, _) => {
                let failure = Failure::new(ErrorCode::AlreadyRunning, run.summary);
                Err(failure.with_remedy("Verify again when the run has ended."))
            }
            (RunState::Finished | RunState::Running, _) => Err(run
                .error
                .unwrap_or_else(|| Failure::new(ErrorCode::Internal, run.summary))),
        }
    }
}

fn busy() -> Failure {
    let message = "These meters are being verified already.";
    Failure::new(ErrorCode::AlreadyRunning, message)
        .with_remedy("Wait for the result, which the status tells as `verified`.")
}

fn overtime(limit: Duration) -> Failure {
    let message = format!("The comparison did not end within {limit:?}.");
    Failure::new(ErrorCode::RemoteTimeout, message).with_remedy("Raise METER_SYNC_RUN_TIMEOUT.")
}

fn incomparable(why: &str) -> Failure {
    Failure::new(ErrorCode::RemoteSchema, why)
        .with_remedy("`meter-sync sync --dry-run` names the rows that cannot be stored.")
}

fn no_tables() -> Failure {
    let message = "The tables of schema meter_sync do not exist yet.";
    Failure::new(ErrorCode::LocalSchema, message)
        .with_remedy("Run `meter-sync sync` or `meter-sync migrate` first.")
}
