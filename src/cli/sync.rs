//! `meter-sync sync`: one run from the command line.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::run::RunText;
use super::{Report, exit, person};
use crate::app::App;
use crate::error::{ErrorCode, Failure};
use crate::meter::{Permission, Progress, RunId, Trigger};
use crate::runs::report::RunReport;
use crate::runs::{Allow, Request, Requested, Ticket, approval_of};
use crate::shutdown::Shutdown;

#[derive(Debug, clap::Args)]
pub(super) struct SyncArgs {
    /// Show what would change and write nothing to the meters
    #[arg(long, env = "METER_SYNC_DRY_RUN", value_parser = clap::builder::BoolishValueParser::new())]
    dry_run: bool,
    /// Print the run as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
    // No variables for the next four: what a person allows once must not stay allowed.
    /// Let this run deactivate more meters than the brake allows: shows which and asks on the terminal
    #[arg(long, conflicts_with = "allow_plan")]
    allow_mass_deactivation: bool,
    /// With --allow-mass-deactivation: ask nothing and let any number of meters be deactivated
    #[arg(long, requires = "allow_mass_deactivation")]
    yes: bool,
    /// Let this run deactivate the meters that a refused run or a dry run showed, or fewer; if others are due, it is refused again
    #[arg(long, value_name = "RUN_ID")]
    allow_plan: Option<RunId>,
    /// Let this run turn a table that was last synced for another tenant over to this one
    #[arg(long)]
    allow_tenant_change: bool,
    /// Why you sync, for the log
    #[arg(long, value_name = "TEXT", env = "METER_SYNC_REASON")]
    reason: Option<String>,
}

/// Where other meters are due each time the question is answered, it comes so often at most.
const QUESTIONS: u32 = 3;

impl SyncArgs {
    /// Requests a run and stays with it to its end. Where the brake refuses it and a person at the terminal may let it pass,
    /// asks, and requests a second one.
    pub(super) async fn run(self, app: &App, shutdown: &Shutdown) -> anyhow::Result<Report> {
        let asks = self.allow_mass_deactivation && !self.yes && !self.dry_run;
        let mut run = carry_out(app, self.request(app), shutdown).await?;
        for _ in 0..QUESTIONS {
            let held = run.held_back.as_ref().filter(|_| asks);
            let Some(held) = held else {
                break;
            };
            if !person::lets_pass(held, shutdown.token()).await? {
                break;
            }
            run = carry_out(app, self.approved(app, run.run_id), shutdown).await?;
        }
        // Behind the run the log is pruned.
        shutdown.finish().await;
        let report = match self.json {
            true => Report::json(&run),
            false => Report::text(&RunText::of_report(app.runs(), &run).await.to_string()),
        };
        Ok(report.with_code(exit::of_report(&run)))
    }

    fn request(&self, app: &App) -> Request {
        let (mass_deactivation, approval) = match self.allow_plan {
            Some(shown) => (Permission::Shown(shown), Some(approval_of(shown))),
            None if self.allow_mass_deactivation && (self.yes || self.dry_run) => {
                (Permission::Any, Some(ANY_NUMBER.to_owned()))
            }
            None => (Permission::None, None),
        };
        Request {
            actor: Some(person::account(&app.runs().site())),
            dry_run: self.dry_run,
            reason: self.reason_with(approval.filter(|_| !self.dry_run)),
            allow: Allow {
                mass_deactivation,
                tenant_change: self.allow_tenant_change,
            },
            ..Request::new(Trigger::Cli)
        }
    }

    /// The same request with the deactivations let pass that a run showed.
    fn approved(&self, app: &App, shown: RunId) -> Request {
        let request = self.request(app);
        Request {
            reason: self.reason_with(Some(approval_of(shown))),
            allow: Allow {
                mass_deactivation: Permission::Shown(shown),
                ..request.allow
            },
            ..request
        }
    }

    /// Why, for the log: what the caller says, and what was approved.
    fn reason_with(&self, approval: Option<String>) -> Option<String> {
        match (&self.reason, approval) {
            (Some(reason), Some(approval)) => Some(format!("{reason} ({approval})")),
            (reason, approval) => reason.clone().or(approval),
        }
    }
}

/// The reason of a run that was let deactivate whatever is gone, for the log.
const ANY_NUMBER: &str = "any number of deactivations was allowed beforehand";

/// Requests a run and waits for its end.
async fn carry_out(app: &App, request: Request, shutdown: &Shutdown) -> anyhow::Result<RunReport> {
    let stopped = shutdown.token();
    let requested = stopped.run_until_cancelled(app.runs().request(request));
    let report = match requested.await.ok_or_else(stopped_by_signal)?? {
        Requested::Finished(report) | Requested::AlreadyRunning(report) => *report,
        Requested::Started(mut ticket) => {
            match stopped.run_until_cancelled(follow(&mut ticket)).await {
                Some(report) => report,
                None => {
                    app.runs().cancel(ticket.run_id());
                    let ended = tokio::time::timeout(STOP, ended(&mut ticket)).await;
                    ended.map_err(|_elapsed| stopped_by_signal())?
                }
            }
        }
    };
    Ok(app.runs().report_with_names(report).await)
}

/// The report of a run once it has ended, though its contents may still be compared.
async fn ended(ticket: &mut Ticket) -> RunReport {
    loop {
        let report = ticket.wait(TICK).await;
        if report.is_over() || ticket.is_over() {
            return report;
        }
    }
}

/// How long a run that was told to stop is waited for. A run that is being committed goes on to its end; any other is
/// rolled back at once.
const STOP: Duration = Duration::from_secs(2);

fn stopped_by_signal() -> Failure {
    Failure::new(
        ErrorCode::Interrupted,
        "The sync was stopped before it was known how its run ended.",
    )
    .with_remedy("Ask `meter-sync status` how it ended; a run that did not commit is rolled back.")
}

/// How often the shown progress is brought up to date.
const TICK: Duration = Duration::from_millis(100);

/// Waits for the end of a run, and of the comparison of contents after it, which ends with this process; on a terminal
/// shows how far the run is.
async fn follow(ticket: &mut Ticket) -> RunReport {
    let progress = ticket.progress();
    let bar = if std::io::stderr().is_terminal() {
        spinner()
    } else {
        ProgressBar::hidden()
    };
    loop {
        let report = ticket.wait(TICK).await;
        if ticket.is_over() {
            bar.finish_and_clear();
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

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}
