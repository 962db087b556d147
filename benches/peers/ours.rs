//! meter-sync as its users run it: the program, once, as a fresh process.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use meter_sync::config::Setting;
use serde_json::Value;

use crate::case::Case;
use crate::data::{ChangedMeters, TENANT};
use crate::peer::Site;

pub(crate) const METHOD: &str = "`meter-sync sync --json`, a fresh process each time";

pub(crate) fn command(site: Site<'_>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meter-sync"));
    command.args(["sync", "--json"]).env_clear();
    command.env(Setting::RemoteUrl.env(), site.remote_url);
    command.env(Setting::LocalUrl.env(), site.local_url);
    command.env(Setting::TenantId.env(), TENANT.to_string());
    command
}

/// The same, on the day's run that compares everything.
pub(crate) fn full_compare(mut command: Command) -> Command {
    command.env(Setting::FullCompare.env(), "0s");
    command
}

/// The bytes from the remote that the report of a run tells, once it tells what was to be done.
pub(crate) fn check(report: &str, case: Case, meters: u64, changed: ChangedMeters) -> Result<u64> {
    let report: Value = serde_json::from_str(report).context("the report is not JSON")?;
    let get = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64);
    let expected = if case == Case::First {
        ChangedMeters {
            inserted: meters,
            ..ChangedMeters::default()
        }
    } else {
        changed
    };
    let outcome = match expected == ChangedMeters::default() {
        true => "no_change",
        false => "succeeded",
    };
    let told = ChangedMeters {
        inserted: get("/counts/inserted").unwrap_or_default(),
        updated: get("/counts/updated").unwrap_or_default(),
        gone: get("/counts/deactivated").unwrap_or_default(),
    };
    let is_as_expected = report.pointer("/outcome").and_then(Value::as_str) == Some(outcome);
    ensure!(
        is_as_expected && told == expected,
        "{case}: {expected:?} and {outcome} were expected, not {report}"
    );
    get("/remote_bytes").context("no remote_bytes")
}
