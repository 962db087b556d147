//! `meter-sync status`: the same answer that every surface gives.

use super::Report;
use crate::app::App;
use crate::meter::RunId;
use crate::runs::report::summary;
use crate::runs::status::{Health, RunRecord, Status, StatusQuery};

#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Print the status as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
    /// How many past runs to list
    #[arg(long, env = "METER_SYNC_HISTORY", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=50))]
    history: u32,
    /// Show this run and its changes
    #[arg(long, value_name = "RUN_ID", env = "METER_SYNC_RUN")]
    run: Option<RunId>,
}

impl StatusArgs {
    /// Asks the local database and prints the answer.
    pub(super) async fn run(self, app: &App) -> anyhow::Result<Report> {
        let query = StatusQuery {
            history: self.history,
            run_id: self.run,
            include_changes: self.run.is_some(),
            ..StatusQuery::default()
        };
        let status = app.runs().status(&query).await?;
        let report = if self.json {
            Report::json(&status)
        } else {
            Report::text(in_words(&status))
        };
        Ok(report.with_code(code(status.health)))
    }
}

fn code(health: Health) -> u8 {
    match health {
        Health::Ok | Health::Late | Health::Paused => 0,
        Health::NeverRun | Health::Failing | Health::Stale => 1,
        Health::NotConfigured => 2,
    }
}

fn in_words(status: &Status) -> String {
    let mut text = format!("{}\n{}\n", status.summary, status.next_step);
    if let Some(tenant) = &status.tenant {
        let name = tenant
            .name
            .as_ref()
            .map_or_else(String::new, |name| format!(" ({name})"));
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
    if let Some(at) = status.compared_at {
        text += &format!("compared   {}\n", at.format("%Y-%m-%d %H:%M:%S UTC"));
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
    let outcome = run.outcome.map_or("running", crate::meter::Outcome::as_str);
    let started = run.started_at.format("%Y-%m-%d %H:%M:%S");
    format!(
        "{started}  {outcome:<11} {:<8} {}  {}",
        run.trigger,
        run.run_id,
        summary(run)
    )
}
