//! The result of a command: its output and its exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::exit_codes;
use crate::config::ConfigError;
use crate::error::Failure;
use crate::make_printable;

/// The longest tenant name that is printed, in characters; a longer one is cut.
pub(super) const LONGEST_NAME: usize = 200;

/// What a command prints at the end, and its exit code.
#[derive(Debug, Default)]
pub struct CommandReport {
    /// The text for standard output.
    stdout: String,
    /// The text for standard error.
    stderr: String,
    /// The exit code.
    code: u8,
}

impl CommandReport {
    /// Returns a report with this text for standard output and exit code 0.
    pub(super) fn text(stdout: &str) -> Self {
        Self {
            stdout: make_printable::lines(stdout),
            ..Self::default()
        }
    }

    /// Returns a report with this value as JSON for standard output and exit code 0. If the value cannot be serialized,
    /// returns the report of that error.
    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string_pretty(value) {
            Ok(text) => Self {
                stdout: make_printable::json(&text) + "\n",
                ..Self::default()
            },
            Err(error) => Self::of_error(error.into()),
        }
    }

    /// Returns the same report with this exit code.
    pub(super) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Writes a text to standard error at once, before the report is printed.
    pub(super) fn write_to_stderr_now(text: &str) -> std::io::Result<()> {
        let mut stderr = std::io::stderr();
        stderr.write_all(text.as_bytes())?;
        stderr.flush()
    }

    /// Returns the report if clap found no command to run: a usage error (exit code 2), or the text of `--help` or
    /// `--version` (exit code 0).
    pub fn of_usage(error: &clap::Error) -> Self {
        let text = make_printable::lines(&error.render().to_string());
        if error.use_stderr() {
            Self {
                stderr: text,
                code: exit_codes::USAGE,
                ..Self::default()
            }
        } else {
            Self::text(&text)
        }
    }

    /// Returns the report for an error that ended the command: the error's text for standard error, and its exit code.
    pub(super) fn of_error(error: anyhow::Error) -> Self {
        let failure = error.downcast::<ConfigError>().map(Failure::from);
        let failure = failure.or_else(|error| error.downcast::<Failure>());
        let (text, code) = match failure {
            Ok(failure) => (describe(&failure), exit_codes::of_error(failure.code)),
            Err(error) => (format!("{error:#}"), exit_codes::FAILED),
        };
        Self {
            stderr: make_printable::lines(&format!("error: {text}\n")),
            code,
            ..Self::default()
        }
    }

    /// Writes the report and returns its exit code. Returns 1 if standard output cannot be written, unless it is a pipe
    /// whose reader has closed it.
    pub fn print(self) -> ExitCode {
        let mut stdout = std::io::stdout();
        let written = stdout.write_all(self.stdout.as_bytes());
        let (told, code) = match written.and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                let told = format!("error: standard output cannot be written: {error}\n");
                (self.stderr + &told, exit_codes::FAILED)
            }
            Ok(()) | Err(_) => (self.stderr, self.code),
        };
        // A failure to write to standard error cannot be reported anywhere.
        drop(std::io::stderr().write_all(told.as_bytes()));
        ExitCode::from(code)
    }
}

/// Formats a failure on two lines: the message with the code, then the remedy.
pub(super) fn describe(failure: &Failure) -> String {
    format!(
        "{} [{}]\n        {}",
        on_one_line(&failure.message),
        failure.code,
        failure.remedy
    )
}

/// Puts a text on one line, so that names from a database cannot add lines to the report. Line breaks and other control
/// characters become visible characters.
pub(super) fn on_one_line(text: &str) -> String {
    make_printable::line(text, usize::MAX)
}
