//! Runs the `meter-sync` command: parses its arguments, carries it out, prints one report and returns the exit code.

use std::process::ExitCode;

use meter_sync::cli::{Cli, CommandReport};

fn main() -> ExitCode {
    let report = match Cli::read() {
        Ok(cli) => cli.run(),
        Err(usage) => CommandReport::of_usage(&usage),
    };
    report.print()
}
