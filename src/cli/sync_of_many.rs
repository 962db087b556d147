//! `meter-sync sync` with several tenants: checks all tenants in one sweep, syncs those that may differ, and reports
//! those that changed or failed. `sweep_text` puts the report into words.

use serde::Serialize;

use super::exit_codes;
use super::progress_bar::{STOP, progress_bar, stopped_by_signal};
use crate::error::{ErrorCode, Failure};
use crate::mirrors::{Mirror, Mirrors, RunRequest, TenantAndMirror};
use crate::model::RunOutcome;
use crate::reports::run_report::RunReport;
use crate::shutdown::Shutdown;

/// The result of a sweep (a check of all tenants, with a run for each that may differ), as `sync --json` prints it.
#[derive(Debug, Default, Serialize)]
pub(super) struct PrintedSweep {
    /// The result in one sentence.
    pub(super) summary: String,
    /// The number of tenants.
    tenants: i64,
    /// The number of tenants that needed no change. In a dry run: the number that would need none.
    unchanged: i64,
    /// The number of tenants that a run changed without an error. In a dry run: the number that a sync would change.
    succeeded: i64,
    /// The number of tenants that were not synced, or only partially.
    failed: i64,
    /// The runs that changed meters, failed or have a warning, in the order in which they ended. All others are only
    /// counted.
    pub(super) runs: Vec<TenantRunReport>,
    /// One sentence for each tenant that was left out because it cannot be synced, with the reason.
    pub(super) warnings: Vec<String>,
}

/// The result of one tenant's run in a sweep.
#[derive(Debug, Serialize)]
pub(super) struct TenantRunReport {
    pub(super) tenant_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// The tenant's mirror, to read the rejected rows of the run.
    #[serde(skip)]
    pub(super) mirror: Mirror,
    /// The report of the run; absent if no run could be requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<RunReport>,
    /// The reason why no run could be requested; absent if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Failure>,
}

/// The result of a tenant's run. It decides which count of [`PrintedSweep`] the run is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SweepRunVerdict {
    Unchanged,
    Succeeded,
    Failed,
}

/// Sweeps all tenants: finds the tenants whose sides may differ, runs a sync for each, and waits for the runs to end. A
/// stop signal cancels the runs and returns an error.
pub(super) async fn run(
    mirrors: &Mirrors,
    request: &RunRequest,
    shutdown: &Shutdown,
) -> Result<PrintedSweep, Failure> {
    let bar = progress_bar();
    let mut synced = PrintedSweep::default();
    let mut ended = 0;
    let sweep = Box::pin(mirrors.sweep(request, |known, run| {
        ended += 1;
        bar.set_message(format!("{ended} runs"));
        synced.add(TenantRunReport::of(known, run));
    }));
    let swept = shutdown.token().run_until_cancelled(sweep).await;
    bar.finish_and_clear();
    let Some(swept) = swept else {
        mirrors.cancel_all();
        drop(tokio::time::timeout(STOP, shutdown.finish()).await);
        return Err(stopped_by_signal());
    };
    let record = swept?.record;
    if let Some(failure) = record.error {
        return Err(failure);
    }
    synced.tenants = record.counts.mirrors;
    synced.unchanged += record.counts.unchanged;
    synced.summary = synced.summarize(request.dry_run);
    let refused = mirrors.refused(None).into_iter();
    synced.warnings = refused.map(|failure| failure.in_words()).collect();
    Ok(synced)
}

impl PrintedSweep {
    fn add(&mut self, run: TenantRunReport) {
        match run.result() {
            SweepRunVerdict::Unchanged => self.unchanged += 1,
            SweepRunVerdict::Succeeded => self.succeeded += 1,
            SweepRunVerdict::Failed => self.failed += 1,
        }
        if run.result() != SweepRunVerdict::Unchanged || run.warning().is_some() {
            self.runs.push(run);
        }
    }

    fn summarize(&self, dry_run: bool) -> String {
        let Self {
            tenants,
            unchanged,
            succeeded,
            failed,
            ..
        } = self;
        let (synced, not_synced) = match dry_run {
            true => ("would change", "could not be planned or would be refused"),
            false => ("synced", "not synced in full"),
        };
        format!(
            "{tenants} tenants: {unchanged} unchanged, {succeeded} {synced}, {failed} {not_synced}."
        )
    }

    /// Returns the worst exit code of the runs. Each tenant that was left out counts as a failed run.
    pub(super) fn code(&self) -> u8 {
        let left_out = self.warnings.iter().map(|_| exit_codes::FAILED);
        exit_codes::worst(self.runs.iter().map(TenantRunReport::code).chain(left_out))
    }
}

impl TenantRunReport {
    fn of(known: &TenantAndMirror, run: Result<RunReport, Failure>) -> Self {
        let (run, error) = match run {
            Ok(run) => (Some(run), None),
            Err(failure) => (None, Some(failure)),
        };
        Self {
            tenant_id: known.id.as_str().to_owned(),
            name: known.name.clone(),
            mirror: known.mirror.clone(),
            run,
            error,
        }
    }

    /// Returns what else deserves attention about the run.
    pub(super) fn warning(&self) -> Option<&String> {
        self.run.as_ref()?.warning.as_ref()
    }

    pub(super) fn result(&self) -> SweepRunVerdict {
        match &self.run {
            Some(run) if self.code() == 0 => match run.outcome {
                Some(RunOutcome::NoChange) => SweepRunVerdict::Unchanged,
                Some(RunOutcome::DryRun) if run.changes_total == 0 => SweepRunVerdict::Unchanged,
                Some(
                    RunOutcome::Succeeded
                    | RunOutcome::Partial
                    | RunOutcome::Failed
                    | RunOutcome::Refused
                    | RunOutcome::Interrupted
                    | RunOutcome::DryRun
                    | RunOutcome::Unknown,
                )
                | None => SweepRunVerdict::Succeeded,
            },
            Some(_) | None => SweepRunVerdict::Failed,
        }
    }

    fn code(&self) -> u8 {
        let error = self.error.as_ref().map(|error| error.code);
        match &self.run {
            Some(run) => exit_codes::of_report(run),
            None => exit_codes::of_error(error.unwrap_or(ErrorCode::Internal)),
        }
    }
}
