//! The library without the server: settings, one sync, its report.
//!
//! ```sh
//! cargo run --example library
//! ```
//!
//! It brings its own two databases. With yours, take the settings from where they are:
//! `Config::load(&CommandLineSettings::default())` reads the environment and the file it names.

use std::io::Write;
use std::time::Duration;

use meter_sync::config::{CommandLineSettings, Config, Environment, Setting};
use meter_sync::demo::{ServerPair, sample_data};
use meter_sync::error::Failure;
use meter_sync::mirrors::{Mirror, Mirrors, RunRequest, RunRequestOutcome};
use meter_sync::model::RunTrigger;
use meter_sync::reports::run_report::RunReport;
use tokio_util::task::TaskTracker;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let pair = ServerPair::temporary().await?;
    sample_data::fill(pair.remote_url(), pair.local_url()).await?;
    let settings = CommandLineSettings::default()
        .with(Setting::RemoteUrl, pair.remote_url())
        .with(Setting::LocalUrl, pair.local_url());

    let config = Config::load_from(&settings, &Environment::default())?;
    let mirrors = Mirrors::new(config, TaskTracker::new())?;
    let mirror = mirrors.find(None).await?;
    let plan = sync(&mirror, true).await?;
    let run = sync(&mirror, false).await?;
    let again = sync(&mirror, false).await?;

    let mut out = std::io::stdout().lock();
    writeln!(out, "dry run: {}", plan.summary)?;
    writeln!(out, "sync:    {}", run.summary)?;
    writeln!(out, "again:   {}", again.summary)?;
    writeln!(out, "{}", serde_json::to_string_pretty(&run.counts)?)?;
    pair.stop().await?;
    Ok(())
}

/// One run to its end. It goes on by itself; the ticket is for those who want to wait.
async fn sync(mirror: &Mirror, dry_run: bool) -> Result<RunReport, Failure> {
    let request = RunRequest {
        dry_run,
        actor: Some("library example".to_owned()),
        ..RunRequest::new(RunTrigger::Cli)
    };
    match mirror.request(request).await? {
        RunRequestOutcome::Started(mut ticket) => Ok(ticket.wait(Duration::from_secs(60)).await),
        RunRequestOutcome::Finished(report) | RunRequestOutcome::AlreadyRunning(report) => {
            Ok(*report)
        }
    }
}
