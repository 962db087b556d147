//! What a sync would change, without changing a meter: a dry run and its plan, line by line.
//!
//! ```sh
//! cargo run --example plan_only
//! ```
//!
//! It brings its own two databases. Where `METER_SYNC_REMOTE_URL` is set it looks at yours instead; the
//! dry run is then written to your run log, and nothing else is.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use meter_sync::config::{CommandLineSettings, Config, Environment, Setting};
use meter_sync::demo::{ServerPair, sample_data};
use meter_sync::mirrors::{Mirrors, RunRequest, RunRequestOutcome};
use meter_sync::model::{Change, RunTrigger};
use meter_sync::reports::status::StatusQuery;
use tokio_util::task::TaskTracker;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if std::env::var_os("METER_SYNC_REMOTE_URL").is_some() {
        return print_plan(Config::load(&CommandLineSettings::default())?).await;
    }
    let pair = ServerPair::temporary().await?;
    sample_data::fill(pair.remote_url(), pair.local_url()).await?;
    let settings = CommandLineSettings::default()
        .with(Setting::RemoteUrl, pair.remote_url())
        .with(Setting::LocalUrl, pair.local_url());
    let config = Config::load_from(&settings, &Environment::default())?;
    let printed = print_plan(config).await;
    pair.stop().await?;
    printed
}

async fn print_plan(config: Config) -> anyhow::Result<()> {
    let mirrors = Mirrors::new(config, TaskTracker::new())?;
    let mirror = mirrors.find(None).await?;
    let request = RunRequest {
        dry_run: true,
        actor: Some("plan_only example".to_owned()),
        ..RunRequest::new(RunTrigger::Cli)
    };
    let report = match mirror.request(request).await? {
        RunRequestOutcome::Started(mut ticket) => ticket.wait(Duration::from_secs(600)).await,
        RunRequestOutcome::Finished(report) | RunRequestOutcome::AlreadyRunning(report) => *report,
    };
    let query = StatusQuery {
        run_id: Some(report.run_id),
        include_changes: true,
        changes_limit: 200,
        ..StatusQuery::default()
    };
    let status = mirror.status(&query).await?;
    let mut out = std::io::stdout().lock();
    for change in status.changes.context("the plan is in the run log")? {
        writeln!(out, "{}", line(&change)?)?;
    }
    writeln!(out, "{}", report.summary)?;
    Ok(())
}

fn line(change: &Change) -> anyhow::Result<String> {
    let key = serde_json::to_string(&change.key)?;
    let (before, after) = (
        serde_json::to_string(&change.before)?,
        serde_json::to_string(&change.after)?,
    );
    Ok(format!("{:?} {key} {before} -> {after}", change.action).to_lowercase())
}
