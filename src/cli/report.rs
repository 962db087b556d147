//! What a command prints in the end, and its exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::exit;
use crate::error::Failure;
use crate::visible;

/// What a command prints in the end, and its exit code.
#[derive(Debug, Default)]
pub struct Report {
    /// For standard output.
    stdout: String,
    /// For standard error.
    stderr: String,
    /// How the command ended.
    code: u8,
}

impl Report {
    /// A success with text for standard output.
    pub(super) fn text(stdout: &str) -> Self {
        Self {
            stdout: visible::lines(stdout),
            ..Self::default()
        }
    }

    /// A success with one JSON object on standard output.
    pub(super) fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string_pretty(value) {
            Ok(text) => Self {
                stdout: visible::json(&text) + "\n",
                ..Self::default()
            },
            Err(error) => Self::of_error(&error.into()),
        }
    }

    /// The same with another exit code.
    pub(super) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Asks the person at the terminal something, before the report.
    pub(super) fn ask(question: &str) -> std::io::Result<()> {
        let mut stderr = std::io::stderr();
        stderr.write_all(question.as_bytes())?;
        stderr.flush()
    }

    /// An error of the command line itself, or its help.
    pub fn of_usage(error: &clap::Error) -> Self {
        let text = visible::lines(&error.render().to_string());
        if error.use_stderr() {
            Self {
                stderr: text,
                code: exit::USAGE,
                ..Self::default()
            }
        } else {
            Self::text(&text)
        }
    }

    /// An error that kept the command from its end.
    pub(super) fn of_error(error: &anyhow::Error) -> Self {
        let (text, code) = match error.downcast_ref::<Failure>() {
            Some(failure) => (describe(failure), exit::of_error(failure.code)),
            None => (format!("{error:#}"), exit::FAILED),
        };
        Self {
            stderr: visible::lines(&format!("error: {text}\n")),
            code,
            ..Self::default()
        }
    }

    /// Writes it, and gives the code to end with. A reader who has gone needs nothing more; any other output that cannot
    /// be written is an error.
    pub fn print(self) -> ExitCode {
        let mut stdout = std::io::stdout();
        let written = stdout.write_all(self.stdout.as_bytes());
        let (told, code) = match written.and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                let told = format!("error: standard output cannot be written: {error}\n");
                (self.stderr + &told, exit::FAILED)
            }
            Ok(()) | Err(_) => (self.stderr, self.code),
        };
        // Where this cannot be written there is nobody left to tell.
        drop(std::io::stderr().write_all(told.as_bytes()));
        ExitCode::from(code)
    }
}

/// A failure in words, over two lines.
pub(super) fn describe(failure: &Failure) -> String {
    format!(
        "{} [{}]\n        {}",
        on_one_line(&failure.message),
        failure.code,
        failure.remedy
    )
}

/// A text that may hold names of a database, so that none of them looks like a line of ours.
pub(super) fn on_one_line(text: &str) -> String {
    visible::line(text, usize::MAX)
}
