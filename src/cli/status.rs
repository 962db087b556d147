//! `meter-sync status`: prints the status of the sync. The MCP tool, the REST API and the web page show the same
//! status.

use super::command_output::LONGEST_NAME;
use super::next_commands::NextCommands;
use super::run_text::{RunText, SHOWN};
use super::status_of_many::of_all;
use super::{CommandReport, exit_codes, find_mirror};
use crate::app::App;
use crate::arguments::bounds::HISTORY;
use crate::error::{ErrorCode, Failure};
use crate::make_printable;
use crate::mirrors::Mirror;
use crate::model::{HeldDeactivations, RunId, RunRecord};
use crate::reports::run_report::summary;
use crate::reports::status::{Status, StatusQuery};

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Print the status as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
    /// How many past runs to list, newest first
    #[arg(long, value_name = "N", env = "METER_SYNC_HISTORY", default_value_t = StatusQuery::default().history, value_parser = clap::value_parser!(u32).range(i64::from(HISTORY.min())..=HISTORY.max().into()))]
    history: u32,
    /// Show this run with its changes and rejected rows, and exit with the exit code of the run
    #[arg(long, value_name = "RUN_ID", env = "METER_SYNC_RUN")]
    run: Option<RunId>,
}

impl StatusArgs {
    /// Reports the status of the tenant; with `--run`, reports that run instead. If the process syncs several tenants,
    /// and neither `--run` nor a `--history` other than the default is given, reports the status of all tenants.
    pub(super) async fn run(
        self,
        app: &App,
        commands: NextCommands,
    ) -> anyhow::Result<CommandReport> {
        let mirrors = app.mirrors();
        let query = StatusQuery {
            history: self.history,
            run_id: self.run,
            ..StatusQuery::default()
        };
        if !query.is_about_runs() && mirrors.only().is_none() {
            return Ok(of_all(mirrors, self.json).await);
        }
        let mirror = &find_mirror(mirrors).await?;
        match (self.run, self.json) {
            (Some(id), true) => run_as_json(mirror, id).await,
            (Some(id), false) => run_in_words(mirror, id, commands).await,
            (None, as_json) => {
                let status = mirror.status(&query).await?;
                let report = match as_json {
                    true => CommandReport::json(&status),
                    false => {
                        let let_pass = let_pass(mirror, &status, &commands).await;
                        CommandReport::text(&in_words(&status, &let_pass))
                    }
                };
                Ok(report.with_code(exit_codes::of_health(status.health)))
            }
        }
    }
}

/// Reports the status with one run, its changes and its rejected rows, as JSON. If the local database is down, the
/// status lacks the run, and the exit code is 1.
async fn run_as_json(mirror: &Mirror, id: RunId) -> anyhow::Result<CommandReport> {
    let query = StatusQuery {
        run_id: Some(id),
        include_changes: true,
        changes_limit: SHOWN,
        ..StatusQuery::default()
    };
    let status = mirror.status(&query).await?;
    let is_running = status
        .running
        .as_ref()
        .is_some_and(|running| running.run_id == id);
    let run = status.history.iter().find(|run| run.run_id == id);
    let code = match run {
        _ if is_running => exit_codes::ALREADY_RUNNING,
        Some(run) => exit_codes::of_outcome(run.outcome, run.error.as_ref()),
        None => exit_codes::FAILED,
    };
    Ok(CommandReport::json(&status).with_code(code))
}

async fn run_in_words(
    mirror: &Mirror,
    id: RunId,
    commands: NextCommands,
) -> anyhow::Result<CommandReport> {
    let detail = mirror.run(id).await?.ok_or_else(|| no_such_run(id))?;
    let run = &detail.run;
    let code = match run.outcome {
        None => exit_codes::ALREADY_RUNNING,
        Some(outcome) => exit_codes::of_outcome(Some(outcome), run.error.as_ref()),
    };
    let started = run.started_at.format("%Y-%m-%d %H:%M:%S UTC");
    let header = format!("started    {started}, trigger {}\n", run.trigger);
    let text = RunText::of_detail(mirror, detail, commands).await?;
    Ok(CommandReport::text(&format!("{header}{text}")).with_code(code))
}

fn no_such_run(id: RunId) -> Failure {
    let message = format!("There is no run {id} of this tenant and table in the log.");
    Failure::new(ErrorCode::ConfigInvalid, message)
        .with_remedy("Leave --run out to list the latest runs with their ids.")
}

/// Returns the lines that tell a person how to let the last sync pass, if it was refused and no other one is in
/// progress.
async fn let_pass(mirror: &Mirror, status: &Status, commands: &NextCommands) -> Vec<String> {
    let Some(last) = status
        .last_run
        .as_ref()
        .filter(|_| status.running.is_none())
    else {
        return Vec::new();
    };
    let awaits_decision = match &status.held_back {
        // If the log cannot be read, the status says so, and names no command.
        Some(_) => mirror.run(last.run_id).await.ok().flatten(),
        None => None,
    };
    let awaits_decision = awaits_decision.filter(|detail| detail.awaits_decision);
    let code = last.error.as_ref().map(|error| error.code);
    commands.let_pass(code, awaits_decision.map(|_| last.run_id))
}

/// Describes the status. `let_pass` are the lines about how a person lets the last sync pass.
fn in_words(status: &Status, let_pass: &[String]) -> String {
    let mut text = format!("{}\n{}\n", status.summary, status.next_step);
    let held = status.held_back.as_ref();
    if let Some(gone_to) = held.and_then(HeldDeactivations::gone_to_in_words) {
        text += &format!("{gone_to}\n");
    }
    for line in let_pass {
        text += &format!("{line}\n");
    }
    if let Some(tenant) = &status.tenant {
        let name = tenant.name.as_ref().map_or_else(String::new, |name| {
            format!(" ({})", make_printable::line(name, LONGEST_NAME))
        });
        text += &format!("tenant     {}{name}\n", tenant.id);
    }
    if let Some(meters) = &status.meters {
        text += &format!(
            "meters     {} active, {} inactive\n",
            meters.active, meters.inactive
        );
    }
    text += &format!(
        "schedule   {} {}\n",
        status.schedule.line, status.schedule.timezone
    );
    if let Some(next) = status.next_run_at {
        text += &format!("next run   {}\n", next.format("%Y-%m-%d %H:%M:%S UTC"));
    }
    if let Some(pause) = &status.paused {
        let until = pause.until.map_or_else(String::new, |at| {
            format!(" until {}", at.format("%Y-%m-%d %H:%M:%S UTC"))
        });
        let since = pause.since.format("%Y-%m-%d %H:%M:%S UTC");
        text += &format!("paused     since {since}{until}\n");
    }
    if let Some(at) = status.checked_at {
        text += &format!("checked    {}\n", at.format("%Y-%m-%d %H:%M:%S UTC"));
    }
    if let Some(at) = status.verified_at {
        text += &format!("compared   {}\n", at.format("%Y-%m-%d %H:%M:%S UTC"));
    }
    if let Some(proof) = &status.verified {
        let at = proof.at.format("%Y-%m-%d %H:%M:%S UTC");
        text += &format!("verified   {at} by {}", proof.by.in_words());
        if let Some(digest) = &proof.digest {
            text += &format!(", {} meters with digest {digest}", proof.meters);
        }
        text += "\n";
    }
    for warning in &status.warnings {
        text += &format!("warning    {warning}\n");
    }
    for run in &status.history {
        text += &format!("{}\n", line(run));
    }
    text
}

fn line(run: &RunRecord) -> String {
    let outcome = run
        .outcome
        .map_or("running", crate::model::RunOutcome::as_str);
    let started = run.started_at.format("%Y-%m-%d %H:%M:%S");
    format!(
        "{started}  {outcome:<11} {:<8} {}  {}",
        run.trigger,
        run.run_id,
        summary(run)
    )
}
