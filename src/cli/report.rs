//! What a command prints in the end, and its exit code.

use std::process::ExitCode;

use serde::Serialize;

use crate::check::{Finding, Verdict};
use crate::error::{ErrorCode, Failure};
use crate::meter::Outcome;
use crate::runs::report::{RunReport, RunState};

/// What a command prints in the end, and its exit code.
#[derive(Debug)]
pub struct Report {
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
    /// How the command ended.
    pub code: ExitCode,
}

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 3;
const ALREADY_RUNNING: u8 = 4;
const PARTIAL: u8 = 5;

impl Default for Report {
    fn default() -> Self {
        Self {
            stdout: String::new(),
            stderr: String::new(),
            code: ExitCode::SUCCESS,
        }
    }
}

impl Report {
    /// A success with text for standard output.
    pub(super) fn text(stdout: String) -> Self {
        Self {
            stdout,
            ..Self::default()
        }
    }

    /// A success with one JSON object on standard output.
    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string_pretty(value) {
            Ok(text) => Self::text(text + "\n"),
            Err(error) => Self::of_error(&error.into()),
        }
    }

    /// The same with another exit code.
    pub(super) fn with_code(self, code: u8) -> Self {
        Self {
            code: ExitCode::from(code),
            ..self
        }
    }

    /// An error of the command line itself, or its help.
    pub fn of_usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        if error.use_stderr() {
            Self {
                stderr: text,
                code: ExitCode::from(USAGE),
                ..Self::default()
            }
        } else {
            Self::text(text)
        }
    }

    /// An error that kept the command from its end.
    pub(super) fn of_error(error: &anyhow::Error) -> Self {
        let (text, code) = match error.downcast_ref::<Failure>() {
            Some(failure) => (describe(failure), code_of(failure.code)),
            None => (format!("{error:#}"), FAILED),
        };
        Self {
            stderr: format!("error: {text}\n"),
            code: ExitCode::from(code),
            ..Self::default()
        }
    }

    /// A run, as JSON or in words.
    pub(super) fn of_run(run: &RunReport, as_json: bool) -> Self {
        let code = code_of_run(run);
        if as_json {
            return Self::json(run).with_code(code);
        }
        let mut text = format!("{}\n", run.summary);
        for change in &run.changes {
            text += &format!(
                "  {} {}{}\n",
                change.action,
                inline(&change.key),
                fields(change)
            );
        }
        if run.truncated {
            let listed = run.changes.len();
            text += &format!(
                "  ... the first {listed} of {} changes\n",
                run.changes_total
            );
        }
        if let Some(warning) = run.warning.as_ref().filter(|text| **text != run.next_step) {
            text += &format!("warning: {warning}\n");
        }
        text += &match &run.error {
            Some(error) => format!("{}: {}\nRun {}\n", error.code, error.remedy, run.run_id),
            None => format!("{}\nRun {}\n", run.next_step, run.run_id),
        };
        if run.held_back.is_some() {
            text += &format!(
                "To let exactly these deactivations pass: meter-sync sync --allow-plan {}\n",
                run.run_id
            );
        }
        Self::text(text).with_code(code)
    }

    /// The findings of a check, a line each.
    pub(super) fn checked(findings: &[Finding]) -> Self {
        let line = |finding: &Finding| match &finding.verdict {
            Verdict::Ok(detail) => format!("ok      {}: {detail}\n", finding.subject),
            Verdict::Warning(text) => format!("warning {}: {text}\n", finding.subject),
            Verdict::Failed(failure) => {
                format!("FAILED  {}: {}\n", finding.subject, describe(failure))
            }
        };
        let first = findings.iter().find_map(|finding| match &finding.verdict {
            Verdict::Failed(failure) => Some(failure.code),
            Verdict::Ok(_) | Verdict::Warning(_) => None,
        });
        Self::text(findings.iter().map(line).collect()).with_code(first.map_or(0, code_of))
    }
}

fn describe(failure: &Failure) -> String {
    format!(
        "{} [{}]\n        {}",
        failure.message, failure.code, failure.remedy
    )
}

fn inline(fields: &crate::meter::Fields) -> String {
    let pairs = fields.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(" ")
}

fn fields(change: &crate::meter::Change) -> String {
    let moved = change.before.iter().map(|(name, before)| {
        let after = change.after.get(name).unwrap_or(&serde_json::Value::Null);
        format!(" {name}: {before} -> {after}")
    });
    let moved = moved.collect::<Vec<_>>().join(",");
    if moved.is_empty() {
        String::new()
    } else {
        format!(":{moved}")
    }
}

fn code_of_run(run: &RunReport) -> u8 {
    if run.state == RunState::AlreadyRunning {
        return ALREADY_RUNNING;
    }
    match run.outcome {
        Some(Outcome::Succeeded | Outcome::NoChange | Outcome::DryRun) => 0,
        Some(Outcome::Partial) => PARTIAL,
        Some(Outcome::Refused) => REFUSED,
        Some(Outcome::Failed | Outcome::Interrupted | Outcome::Unknown) => run
            .error
            .as_ref()
            .map_or(FAILED, |error| code_of(error.code)),
        None => FAILED,
    }
}

fn code_of(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::ConfigMissing
        | ErrorCode::ConfigInvalid
        | ErrorCode::TenantNotConfigured
        | ErrorCode::ReadOnly => USAGE,
        ErrorCode::SourceEmptyRefused
        | ErrorCode::MassDeactivationRefused
        | ErrorCode::ApprovalOutdated
        | ErrorCode::TenantMismatch => REFUSED,
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
