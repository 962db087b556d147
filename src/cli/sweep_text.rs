//! Formats the result of a sync of several tenants: a line for each tenant that changed, was not synced or has a
//! warning, and below it what a person needs to know and to do.

use super::command_output::{LONGEST_NAME, on_one_line};
use super::next_commands::NextCommands;
use super::run_text::{more, rejection_line};
use super::sync_of_many::{PrintedSweep, SweepRunVerdict, TenantRunReport};
use crate::error::Failure;
use crate::make_printable;
use crate::model::Rejection;
use crate::reports::run_report::{RunReport, RunState};

/// How many tenants that were not synced are described in full, and how many tenants that only have a warning: as many
/// as `status` lists. Any further tenant has, below its line, only the command that describes it. So the text stays
/// short even if ten thousand tenants fail.
const DESCRIBED: usize = 20;

/// How many rejected rows of one tenant are printed.
const REJECTED: usize = 5;

/// The longest result of a run that is printed, in characters; a longer one is cut.
const LONGEST_SUMMARY: usize = 300;

/// Returns the text about a sync of several tenants. Reads the rejected rows from the log of runs.
pub(super) async fn in_words(sweep: &PrintedSweep) -> String {
    let mut text = String::new();
    let (mut failed, mut warned) = (0, 0);
    let mut is_readable = true;
    for run in &sweep.runs {
        text += &format!("{}\n", line(run));
        let described = match (run.result(), run.warning()) {
            (SweepRunVerdict::Failed, _) => &mut failed,
            (SweepRunVerdict::Succeeded | SweepRunVerdict::Unchanged, Some(_)) => &mut warned,
            (SweepRunVerdict::Succeeded | SweepRunVerdict::Unchanged, None) => continue,
        };
        *described += 1;
        let below = match *described <= DESCRIBED {
            true => description(run, &rejected(run, &mut is_readable).await),
            false => vec![pointer(run)],
        };
        for line in below {
            text += &format!("            {}\n", on_one_line(&line));
        }
    }
    for warning in &sweep.warnings {
        text += &format!("warning     {warning}\n");
    }
    text + &format!("{}\n", sweep.summary)
}

/// Formats the result of a tenant's run on one line.
fn line(run: &TenantRunReport) -> String {
    let name = run.name.as_ref().map_or_else(String::new, |name| {
        format!(" ({})", make_printable::line(name, LONGEST_NAME))
    });
    let code = error(run).map_or_else(String::new, |error| format!(" [{}]", error.code));
    let report = run.run.as_ref();
    let word = report.map_or("failed", word);
    let message = error(run).map_or("", |error| error.message.as_str());
    let text = report.map_or(message, |report| report.summary.as_str());
    let text = make_printable::line(text, LONGEST_SUMMARY);
    format!("{word:<11} {}{name}: {text}{code}", run.tenant_id)
}

fn word(run: &RunReport) -> &'static str {
    match (run.state, run.outcome) {
        (RunState::AlreadyRunning, _) => "running",
        (RunState::Finished | RunState::Running, Some(outcome)) => outcome.as_str(),
        (RunState::Finished | RunState::Running, None) => "unknown",
    }
}

fn error(run: &TenantRunReport) -> Option<&Failure> {
    let of_run = run.run.as_ref().map(|report| report.error.as_ref());
    of_run.unwrap_or(run.error.as_ref())
}

/// Returns the first rejected rows of the run. If the log cannot be read, returns none, and sets `is_readable` to
/// `false`, so that the log is not asked for each tenant.
async fn rejected(run: &TenantRunReport, is_readable: &mut bool) -> Vec<Rejection> {
    let report = run.run.as_ref();
    let Some(report) = report.filter(|report| *is_readable && report.counts.rejected > 0) else {
        return Vec::new();
    };
    match run.mirror.run(report.run_id).await {
        Ok(detail) => {
            let rejected = detail.map(|detail| detail.rejected);
            rejected.into_iter().flatten().take(REJECTED).collect()
        }
        Err(_) => {
            *is_readable = false;
            Vec::new()
        }
    }
}

/// Returns the lines to print below the line of the tenant: its rejected rows, its warning, what to do, and the run's
/// id.
fn description(run: &TenantRunReport, rejected: &[Rejection]) -> Vec<String> {
    let commands = NextCommands::of_tenant(&run.tenant_id);
    let mut lines: Vec<String> = rejected.iter().map(rejection_line).collect();
    if let Some(report) = &run.run {
        let more = more(report.counts.rejected, rejected.len());
        if more > 0 {
            let command = commands.show_run(report.run_id);
            lines.push(format!("... {more} more rejected rows: {command}"));
        }
    }
    lines.extend(run.warning().map(|warning| format!("warning: {warning}")));
    if run.result() != SweepRunVerdict::Failed {
        return lines;
    }
    let code = error(run).map(|error| error.code);
    lines.extend(error(run).map(|error| error.remedy.clone()));
    if let Some(report) = &run.run {
        let run_id = report.run_id;
        lines.extend(error(run).is_none().then(|| report.next_step.clone()));
        lines.push(format!("Run {run_id}"));
        let awaits_decision = report.held_back.as_ref().map(|_| run_id);
        lines.extend(commands.let_pass(code, awaits_decision));
    }
    lines
}

/// Returns the line to print below the line of a tenant that is not described: the command that describes it.
fn pointer(run: &TenantRunReport) -> String {
    let commands = NextCommands::of_tenant(&run.tenant_id);
    match &run.run {
        Some(report) => commands.show_run(report.run_id),
        None => commands.show_status(),
    }
}
