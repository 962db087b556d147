//! `meter-sync sync`: syncs one tenant, or all tenants if the process syncs several.

use indicatif::ProgressBar;

use super::next_commands::NextCommands;
use super::progress_bar::{STOP, TICK, progress_bar, stopped_by_signal};
use super::run_text::RunText;
use super::{CommandReport, approval_prompt, exit_codes, sweep_text, sync_of_many};
use crate::app::App;
use crate::error::{ErrorCode, Failure};
use crate::mirrors::{
    Mirror, Mirrors, RunApprovals, RunHandle, RunRequest, RunRequestOutcome, approval_of,
};
use crate::model::{DeactivationApproval, Progress, RunId, RunTrigger};
use crate::reports::run_report::RunReport;
use crate::shutdown::Shutdown;

#[derive(Debug, clap::Args)]
pub(super) struct SyncArgs {
    /// Show what a sync would change, and change no meter
    #[arg(long, env = "METER_SYNC_DRY_RUN", value_parser = clap::builder::BoolishValueParser::new())]
    dry_run: bool,
    /// Print the result as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
    // The next five flags have no environment variables, because a permission that a person gives once must not stay in
    // force.
    /// Let this run deactivate more meters than the limits allow, after it has shown some and asked on the terminal
    #[arg(long, conflicts_with = "allow_plan")]
    allow_mass_deactivation: bool,
    /// With --allow-mass-deactivation: deactivate any number of meters without asking
    #[arg(long, requires = "allow_mass_deactivation")]
    yes: bool,
    /// Let this run deactivate the meters that a refused run or a dry run showed, or some of them, but no others
    #[arg(long, value_name = "RUN_ID")]
    allow_plan: Option<RunId>,
    /// Let this run take over a local table that was last synced for another tenant
    #[arg(long)]
    allow_tenant_change: bool,
    /// Let this run change meters although the remote was restored or swapped for another and the brake is strict
    #[arg(long)]
    allow_remote_change: bool,
    /// Why you sync; stored in the log
    #[arg(long, value_name = "TEXT", env = "METER_SYNC_REASON")]
    reason: Option<String>,
}

/// How many times a sync asks for approval at most. It asks again if other meters would be deactivated by the time the
/// person has answered.
const QUESTIONS: u32 = 3;

impl SyncArgs {
    /// Requests a run and waits for its end. If the process syncs several tenants, syncs all of them.
    ///
    /// If the run of a single tenant is refused because it would deactivate too many meters, and
    /// `--allow-mass-deactivation` was given without `--yes`, asks the person at the terminal. If the person approves,
    /// requests another run. A dry run never asks.
    pub(super) async fn run(
        self,
        app: &App,
        commands: NextCommands,
        shutdown: &Shutdown,
    ) -> anyhow::Result<CommandReport> {
        match app.mirrors().only() {
            Some(mirror) => self.run_one(mirror, commands, shutdown).await,
            None => self.run_all(app.mirrors(), shutdown).await,
        }
    }

    async fn run_all(
        self,
        mirrors: &Mirrors,
        shutdown: &Shutdown,
    ) -> anyhow::Result<CommandReport> {
        let allowed = [
            ("--allow-mass-deactivation", self.allow_mass_deactivation),
            ("--allow-plan", self.allow_plan.is_some()),
            ("--allow-tenant-change", self.allow_tenant_change),
        ];
        if let Some((flag, _)) = allowed.iter().find(|(_, is_given)| *is_given) {
            let message = format!("{flag} is about one tenant, and this process keeps several.");
            let failure = Failure::new(ErrorCode::TenantRequired, message);
            return Err(failure.with_remedy("Name the tenant with --tenant.").into());
        }
        let synced = sync_of_many::run(mirrors, &self.request(&mirrors.site()), shutdown).await?;
        shutdown.finish().await;
        let report = match self.json {
            true => CommandReport::json(&synced),
            false => CommandReport::text(&sweep_text::in_words(&synced).await),
        };
        Ok(report.with_code(synced.code()))
    }

    async fn run_one(
        self,
        mirror: &Mirror,
        commands: NextCommands,
        shutdown: &Shutdown,
    ) -> anyhow::Result<CommandReport> {
        let asks = self.allow_mass_deactivation && !self.yes && !self.dry_run;
        let site = mirror.site();
        let mut run = carry_out(mirror, self.request(&site), shutdown).await?;
        for _ in 0..QUESTIONS {
            let held = run.held_back.as_ref().filter(|_| asks);
            let Some(held) = held else {
                break;
            };
            if !approval_prompt::ask_for_approval(held, shutdown.token()).await? {
                break;
            }
            run = carry_out(mirror, self.approved(&site, run.run_id), shutdown).await?;
        }
        // Waits for the background task that prunes the log after the run.
        shutdown.finish().await;
        let report = match self.json {
            true => CommandReport::json(&run),
            false => {
                let text = RunText::of_report(mirror, &run, commands).await;
                CommandReport::text(&text.to_string())
            }
        };
        Ok(report.with_code(exit_codes::of_report(&run)))
    }

    fn request(&self, site: &str) -> RunRequest {
        let (mass_deactivation, approval) = match self.allow_plan {
            Some(shown) => (DeactivationApproval::OfRun(shown), Some(approval_of(shown))),
            None if self.allow_mass_deactivation && (self.yes || self.dry_run) => {
                (DeactivationApproval::Any, Some(ANY_NUMBER.to_owned()))
            }
            None => (DeactivationApproval::None, None),
        };
        RunRequest {
            actor: Some(approval_prompt::account(site)),
            dry_run: self.dry_run,
            reason: self.reason_with(self.allowed(approval).filter(|_| !self.dry_run)),
            allow: RunApprovals {
                mass_deactivation,
                tenant_change: self.allow_tenant_change,
                remote_change: self.allow_remote_change,
            },
            ..RunRequest::new(RunTrigger::Cli)
        }
    }

    /// Returns the request for another run, which may make the deactivations that the run `shown` held back for
    /// approval.
    fn approved(&self, site: &str, shown: RunId) -> RunRequest {
        let request = self.request(site);
        RunRequest {
            reason: self.reason_with(self.allowed(Some(approval_of(shown)))),
            allow: RunApprovals {
                mass_deactivation: DeactivationApproval::OfRun(shown),
                ..request.allow
            },
            ..request
        }
    }

    /// Returns what a person allowed this run, for the log: `approval`, and that the remote may be another one.
    fn allowed(&self, approval: Option<String>) -> Option<String> {
        let remote = self.allow_remote_change.then(|| ANOTHER_REMOTE.to_owned());
        let allowed: Vec<_> = approval.into_iter().chain(remote).collect();
        (!allowed.is_empty()).then(|| allowed.join("; "))
    }

    /// Returns the reason for the run log: the text of `--reason`, followed by `approval`, which says what was
    /// approved. `None` if there is neither.
    fn reason_with(&self, approval: Option<String>) -> Option<String> {
        match (&self.reason, approval) {
            (Some(reason), Some(approval)) => Some(format!("{reason} ({approval})")),
            (reason, approval) => reason.clone().or(approval),
        }
    }
}

/// The reason in the log for a run that was allowed to deactivate any number of meters.
const ANY_NUMBER: &str = "any number of deactivations was allowed beforehand";

/// The reason in the log for a run that was allowed although the remote is another one.
const ANOTHER_REMOTE: &str = "another remote was allowed";

/// Requests a run, shows its progress and waits for its end. A stop signal cancels the run; error if the run then does
/// not end within [`STOP`].
async fn carry_out(
    mirror: &Mirror,
    request: RunRequest,
    shutdown: &Shutdown,
) -> Result<RunReport, Failure> {
    let bar = progress_bar();
    let stopped = shutdown.token();
    let requested = stopped.run_until_cancelled(mirror.request(request));
    let report = match requested.await.ok_or_else(stopped_by_signal)?? {
        RunRequestOutcome::Finished(report) | RunRequestOutcome::AlreadyRunning(report) => *report,
        RunRequestOutcome::Started(mut ticket) => {
            match stopped.run_until_cancelled(follow(&mut ticket, &bar)).await {
                Some(report) => report,
                None => {
                    mirror.cancel_here(ticket.run_id());
                    let ended = tokio::time::timeout(STOP, ended(&mut ticket)).await;
                    ended.map_err(|_elapsed| stopped_by_signal())?
                }
            }
        }
    };
    bar.finish_and_clear();
    Ok(mirror.report_with_names(report).await)
}

/// Waits until the run has ended and returns its report. After some runs, all rows of both sides are compared; unlike
/// [`follow`], this function does not wait for that comparison.
async fn ended(ticket: &mut RunHandle) -> RunReport {
    loop {
        let report = ticket.wait(TICK).await;
        if report.is_over() || ticket.is_over() {
            return report;
        }
    }
}

/// Shows the progress of a run until its end, and returns its report. After some runs, all rows of both sides are
/// compared; this function waits for that comparison, too, because it would stop if this process exited.
async fn follow(ticket: &mut RunHandle, bar: &ProgressBar) -> RunReport {
    let progress = ticket.progress();
    loop {
        let report = ticket.wait(TICK).await;
        if ticket.is_over() {
            return report;
        }
        let Progress {
            phase,
            rows,
            remote_bytes,
            ..
        } = *progress.borrow();
        let kilobytes = remote_bytes / 1000;
        bar.set_message(format!(
            "{phase}: {rows} rows, {kilobytes} kB from the remote"
        ));
    }
}
