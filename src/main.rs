//! The `meter-sync` command: parse, run, one printed report, exit code.

use std::io::Write;
use std::process::ExitCode;

use meter_sync::cli::{Cli, Report};

fn main() -> ExitCode {
    let report = match Cli::read() {
        Ok(cli) => cli.run(),
        Err(usage) => Report::of_usage(&usage),
    };
    // Whoever read our output may be gone; there is nobody left to tell.
    drop(std::io::stdout().write_all(report.stdout.as_bytes()));
    drop(std::io::stderr().write_all(report.stderr.as_bytes()));
    report.code
}
