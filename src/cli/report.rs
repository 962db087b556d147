//! The result of a command: its output and its exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::exit_codes;
use crate::config::ConfigError;
use crate::error::Failure;
use crate::printable;

/// The longest tenant name in characters; a longer one is cut.
pub(super) const LONGEST_NAME: usize = 200;

/// What a command prints at the end, and its exit code.
#[derive(Debug, Default)]
pub struct Report {
    /// For standard output.
    stdout: String,
    /// For standard error.
    stderr: String,
    /// The exit code.
    code: u8,
}

impl Report {
    /// A success with text for standard output.
    pub(super) fn text(stdout: &str) -> Self {
        Self {
            stdout: printable::lines(stdout),
            ..Self::default()
        }
    }

    /// A success with one JSON object on standard output.
    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string_pretty(value) {
            Ok(text) => Self {
                stdout: printable::json(&text) + "\n",
                ..Self::default()
            },
            Err(error) => Self::of_error(error.into()),
        }
    }

    /// Returns the report with another exit code.
    pub(super) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Writes a text to standard error at once, before the report is printed.
    pub(super) fn ask(question: &str) -> std::io::Result<()> {
        let mut stderr = std::io::stderr();
        stderr.write_all(question.as_bytes())?;
        stderr.flush()
    }

    /// Returns the report for an error in the command line, or for a request for the help or the version.
    pub fn of_usage(error: &clap::Error) -> Self {
        let text = printable::lines(&error.render().to_string());
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

    /// Returns the report for an error that ended the command early.
    pub(super) fn of_error(error: anyhow::Error) -> Self {
        let failure = error.downcast::<ConfigError>().map(Failure::from);
        let failure = failure.or_else(|error| error.downcast::<Failure>());
        let (text, code) = match failure {
            Ok(failure) => (describe(&failure), exit_codes::of_error(failure.code)),
            Err(error) => (format!("{error:#}"), exit_codes::FAILED),
        };
        Self {
            stderr: printable::lines(&format!("error: {text}\n")),
            code,
            ..Self::default()
        }
    }

    /// Writes the report and returns the exit code. A pipe at standard output that its reader has closed is not an
    /// error. Any other failure to write to standard output gives exit code 1.
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

/// Puts a text on one line. The text may contain names from a database, which must not be able to imitate a line of the
/// report.
pub(super) fn on_one_line(text: &str) -> String {
    printable::line(text, usize::MAX)
}
