//! The command line: parses the arguments, runs the command, and returns its report with the exit code.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use clap::builder::Resettable;
use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::app::App;
use crate::arguments::past_time;
use crate::config::{CommandLineSettings, Config, Environment, LogSettings};
use crate::db::Database;
use crate::error::{ErrorCode, Failure};
use crate::machine_clock;
use crate::mcp::bundle_manifest::manifest;
use crate::mirrors::{Mirror, Mirrors, RUN_ENDED};
use crate::shutdown::Shutdown;
use crate::telemetry;

use next_commands::NextCommands;

pub use command_output::CommandReport;

mod approval_prompt;
mod next_commands;
mod run_text;

mod changes;
mod check;
mod command_output;
mod config;
mod diff;
mod exit_codes;
mod meter;
mod pause;
mod progress_bar;
mod schedule;
mod status;
mod status_of_many;
mod support;
mod sweep_text;
mod sync;
mod sync_of_many;
mod verify;

/// Keeps a site's local Postgres copy of its meters equal to its organisation's rows in a central
/// Postgres, and lets assistants, people and programs see and run that sync.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, arg_required_else_help = true, after_help = format!("First steps:{DEMO_STEP}{MORE}"))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    settings: CommandLineSettings,
}

const DEMO_STEP: &str = match cfg!(feature = "demo") {
    true => "\n  meter-sync demo                 see it work, with databases of its own",
    false => "",
};
use crate::store::migrations;

const MORE: &str = "
  meter-sync check                with METER_SYNC_REMOTE_URL and METER_SYNC_LOCAL_URL set
  meter-sync sync --dry-run       see what a sync would change
  meter-sync serve                sync every hour, and serve assistants and programs

Exit codes:
  0  ok
  1  failed
  2  usage or configuration
  3  refused by the brake, or paused
  4  already running
  5  partial: some rows were rejected
Of several tenants, the first of 1, 2, 3, 5 and 4 that any of them gives.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve MCP, REST and the status page over HTTP, and sync on the schedule
    Serve,
    /// Serve MCP on standard input and output, and sync on the schedule; assistants start this command
    Stdio,
    /// Sync once; with several tenants, all of them, or only that of --tenant
    Sync(sync::SyncArgs),
    /// Show whether the meters are in sync
    ///
    /// The exit code tells the health: 0 for ok, late and paused, 2 for not_configured, 1 for any other. With --run, it
    /// is that of the run, or 4 while the run is in progress. With several tenants, this command counts them by health
    /// and lists the worst; --tenant shows one.
    Status(status::StatusArgs),
    /// Show one meter: whether and why it is inactive, what syncs have changed of it, and how it was at a time
    ///
    /// The exit code is 1 if no meter is found, or several.
    Meter(meter::MeterArgs),
    /// Show what all syncs have changed since a time
    Changes(changes::ChangesArgs),
    /// Show how the meters differ between the ends of two runs
    Diff(diff::DiffArgs),
    /// Pause the syncs: until the pause ends, no sync changes the meters, and scheduled runs are dry runs
    Pause(pause::PauseArgs),
    /// End the pause of the syncs
    Resume,
    /// Compare all meters of both sides, and change none
    ///
    /// The exit code is 0 if both sides hold the same meters, and 1 if they differ. Changes that the remote has made since
    /// the last sync are a difference, too.
    Verify(verify::VerifyArgs),
    /// Check connections, privileges, tables, TLS and clocks, and say what to do about each problem
    Check(check::CheckArgs),
    /// Show every setting, its value (without secrets) and where the value came from
    Config(config::ConfigArgs),
    /// Show the next ten times at which a sync starts by itself, in UTC and in the zone of the schedule
    Schedule(schedule::ScheduleArgs),
    /// Write one file for somebody who is asked for help: settings without secrets, checks, state and last runs
    Support(support::SupportArgs),
    /// Create or update the tables of schema meter_sync in the local database
    Migrate,
    /// Start two Postgres servers with sample meters, and serve a sync between them
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
    /// Print the MCP bundle manifest (mcp-manifest.json)
    Manifest,
}

impl Command {
    /// Returns the log filter of this command, which a setting can replace. Servers log at level `info`. Commands that
    /// print a report at their end log only warnings and errors.
    fn log_filter(&self) -> Targets {
        match self {
            // At `info`, rmcp logs every step of every conversation.
            Self::Serve | Self::Stdio => Targets::new()
                .with_default(Level::INFO)
                .with_target("rmcp", Level::WARN),
            // Log little else, so that the text on standard output stays visible.
            #[cfg(feature = "demo")]
            Self::Demo(_) => Targets::new()
                .with_default(Level::WARN)
                .with_target("meter_sync::demo", Level::INFO)
                .with_target("meter_sync::embedded", Level::INFO),
            // The report already says how the run ended.
            Self::Sync(_) => Targets::new()
                .with_default(Level::WARN)
                .with_target(RUN_ENDED, LevelFilter::OFF),
            Self::Status(_)
            | Self::Meter(_)
            | Self::Changes(_)
            | Self::Diff(_)
            | Self::Pause(_)
            | Self::Resume
            | Self::Verify(_)
            | Self::Check(_)
            | Self::Config(_)
            | Self::Schedule(_)
            | Self::Support(_)
            | Self::Migrate
            | Self::Manifest => Targets::new().with_default(Level::WARN),
        }
    }
}

impl Cli {
    /// Parses the command line. A flag that is absent takes its value from its environment variable; an empty variable
    /// counts as not set.
    pub fn read() -> Result<Self, clap::Error> {
        let environment = Environment::of_process();
        let unset = |arg: Arg| match arg.get_env().is_some_and(|name| environment.is_blank(name)) {
            true => arg.env(Resettable::Reset),
            false => arg,
        };
        let command = Self::command().mut_args(unset);
        let command = command.mut_subcommands(|command| command.mut_args(unset));
        Self::from_arg_matches(&command.try_get_matches()?)
    }

    /// Returns the names of the environment variables that flags of any command read.
    fn variables() -> BTreeSet<String> {
        let command = Self::command();
        let commands = std::iter::once(&command).chain(command.get_subcommands());
        let arguments = commands.flat_map(clap::Command::get_arguments);
        let names = arguments.filter_map(Arg::get_env);
        names
            .filter_map(|name| name.to_str().map(str::to_owned))
            .collect()
    }

    /// Runs the command and returns its report.
    pub fn run(self) -> CommandReport {
        let log = LogSettings::load(&self.settings);
        let logging = telemetry::start(&log, self.command.log_filter());
        let begun = logging.and_then(|logging| Ok((logging, runtime()?)));
        let (logging, runtime) = match begun {
            Ok(begun) => begun,
            Err(error) => return CommandReport::of_error(error.into()),
        };
        let report = runtime.block_on(Box::pin(self.dispatch()));
        // A read of standard input cannot be cancelled, so the runtime does not wait for its tasks.
        runtime.shutdown_background();
        // Dropping this flushes the log, so that the error report is printed after the log lines about the error.
        drop(logging);
        report.unwrap_or_else(CommandReport::of_error)
    }

    async fn dispatch(self) -> anyhow::Result<CommandReport> {
        let shutdown = Shutdown::new();
        if !matches!(self.command, Command::Manifest) {
            let environment = Environment::of_process();
            environment.refuse_unknown(&Self::variables())?;
        }
        let load = || Config::load(&self.settings);
        let commands = NextCommands::repeating(&self.settings);
        match self.command {
            Command::Manifest => return Ok(CommandReport::json(&manifest())),
            #[cfg(feature = "demo")]
            Command::Demo(demo) => {
                shutdown.on_signal()?;
                Box::pin(crate::demo::run(demo, &self.settings, shutdown)).await?;
            }
            Command::Check(args) => return Ok(args.run(&load()?).await),
            Command::Config(args) => return args.run(&self.settings),
            Command::Schedule(args) => return Ok(args.run(&load()?)),
            Command::Support(args) => {
                return args
                    .run(&self.settings, &App::build(load()?, shutdown)?)
                    .await;
            }
            Command::Migrate => return migrate(&load()?).await,
            Command::Serve => {
                shutdown.on_signal()?;
                App::build(load()?, shutdown)?.serve().await?;
            }
            Command::Stdio => {
                shutdown.on_signal()?;
                Box::pin(App::build(load()?, shutdown)?.stdio()).await?;
            }
            Command::Sync(args) => {
                let config = load()?;
                config.require_databases()?;
                shutdown.on_signal()?;
                let app = App::build(config, shutdown.clone())?;
                return args.run(&app, commands, &shutdown).await;
            }
            Command::Status(args) => {
                return args.run(&App::build(load()?, shutdown)?, commands).await;
            }
            Command::Meter(args) => return args.run(&App::build(load()?, shutdown)?).await,
            Command::Changes(args) => return args.run(&App::build(load()?, shutdown)?).await,
            Command::Diff(args) => return args.run(&App::build(load()?, shutdown)?).await,
            Command::Pause(args) => return args.run(&App::build(load()?, shutdown)?).await,
            Command::Resume => return pause::resume(&App::build(load()?, shutdown)?).await,
            Command::Verify(args) => return args.run(&App::build(load()?, shutdown)?).await,
        }
        Ok(CommandReport::default())
    }
}

/// Finds the mirror that a command is about: that of `--tenant`, or the only one of the process.
async fn find_mirror(mirrors: &Mirrors) -> Result<Mirror, Failure> {
    let found = mirrors.find(None).await;
    found.map_err(|failure| match failure.code == ErrorCode::TenantRequired {
        true => failure.with_remedy("Name the tenant with --tenant."),
        false => failure,
    })
}

/// Parses a time in the past that a flag gives.
fn parse_past_time(text: &str) -> Result<DateTime<Utc>, String> {
    past_time::parse("it", text, machine_clock::now()).map_err(|refused| refused.0)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}

async fn migrate(config: &Config) -> anyhow::Result<CommandReport> {
    let (_, local) = config.require_databases()?;
    let local = Database::new(local, &config.limits)?;
    let mut connection = local.connect().await?;
    let text = match migrations::run(&mut connection).await? {
        migrations::MigrationResult::Current => {
            "The tables of schema meter_sync are up to date.\n".to_owned()
        }
        migrations::MigrationResult::Applied(steps) => {
            format!("The tables of schema meter_sync were brought up to date ({steps} steps).\n")
        }
    };
    Ok(CommandReport::text(&text))
}
