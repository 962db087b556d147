//! The exit codes of all commands, and which result gives which code. `--help` lists the codes.

use crate::error::{ErrorCode, Failure};
use crate::model::{Health, RunOutcome};
use crate::reports::run_report::{RunReport, RunState};

pub(super) const FAILED: u8 = 1;
pub(super) const USAGE: u8 = 2;
const REFUSED: u8 = 3;
pub(super) const ALREADY_RUNNING: u8 = 4;
const PARTIAL: u8 = 5;

/// The exit codes other than 0, from the worst to the least bad.
const WORST_FIRST: [u8; 5] = [FAILED, USAGE, REFUSED, PARTIAL, ALREADY_RUNNING];

/// Returns the exit code of a command that requested a run, from the report of that run.
pub(super) fn of_report(run: &RunReport) -> u8 {
    match run.state {
        RunState::AlreadyRunning => ALREADY_RUNNING,
        RunState::Finished | RunState::Running => of_outcome(run.outcome, run.error.as_ref()),
    }
}

/// Returns the worst of several exit codes, by the order of [`WORST_FIRST`]; 0 if all are 0 or there are none.
pub(super) fn worst(codes: impl IntoIterator<Item = u8>) -> u8 {
    let codes: Vec<u8> = codes.into_iter().collect();
    let worst = WORST_FIRST.into_iter().find(|code| codes.contains(code));
    worst.unwrap_or(0)
}

/// Returns the exit code for a run's outcome; a run without an outcome has failed. A dry run has an `error` if a real
/// sync would be refused; its exit code is then that of the error.
pub(super) fn of_outcome(outcome: Option<RunOutcome>, error: Option<&Failure>) -> u8 {
    let of_error = || error.map(|error| of_error(error.code));
    match outcome {
        Some(RunOutcome::Succeeded | RunOutcome::NoChange) => 0,
        Some(RunOutcome::DryRun) => of_error().unwrap_or(0),
        Some(RunOutcome::Partial) => PARTIAL,
        Some(RunOutcome::Refused) => REFUSED,
        Some(RunOutcome::Failed | RunOutcome::Interrupted | RunOutcome::Unknown) => {
            of_error().unwrap_or(FAILED)
        }
        None => FAILED,
    }
}

/// Returns the exit code of the command `status` for the health that it reported.
pub(super) fn of_health(health: Health) -> u8 {
    match health {
        Health::Ok | Health::Late | Health::Paused => 0,
        Health::NeverRun | Health::Failing | Health::Stale => 1,
        Health::NotConfigured => 2,
    }
}

/// Returns the exit code for the error with which a command ended.
pub(super) fn of_error(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::ConfigMissing
        | ErrorCode::ConfigInvalid
        | ErrorCode::TenantNotConfigured
        | ErrorCode::TenantRequired
        | ErrorCode::TenantUnknown
        | ErrorCode::ReadOnly => USAGE,
        ErrorCode::SourceEmptyRefused
        | ErrorCode::MassDeactivationRefused
        | ErrorCode::RemoteChangedRefused
        | ErrorCode::ApprovalOutdated
        | ErrorCode::TenantMismatch
        | ErrorCode::Paused => REFUSED,
        ErrorCode::AlreadyRunning => ALREADY_RUNNING,
        ErrorCode::RemoteUnreachable
        | ErrorCode::RemoteTls
        | ErrorCode::RemoteAuth
        | ErrorCode::RemotePermission
        | ErrorCode::RemoteSchema
        | ErrorCode::SchemaDrift
        | ErrorCode::RemoteTimeout
        | ErrorCode::DuplicateSourceKey
        | ErrorCode::LocalUnreachable
        | ErrorCode::LocalAuth
        | ErrorCode::LocalSchema
        | ErrorCode::LocalConstraint
        | ErrorCode::LocalTimeout
        | ErrorCode::Interrupted
        | ErrorCode::Internal
        | ErrorCode::Unknown => FAILED,
    }
}
