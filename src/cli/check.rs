//! `meter-sync check`: prints each finding, and then whether a sync can run.

use serde::Serialize;

use super::command_output::{describe, on_one_line};
use super::{CommandReport, exit_codes};
use crate::check::{Finding, Verdict};
use crate::config::Config;
use crate::error::ErrorCode;

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Print the findings and the verdict as one JSON object
    #[arg(long, env = "METER_SYNC_JSON", value_parser = clap::builder::BoolishValueParser::new())]
    json: bool,
}

impl CheckArgs {
    /// Runs all checks and reports the findings. The exit code is that of the first failed check; 0 if none failed.
    pub(super) async fn run(self, config: &Config) -> CommandReport {
        let findings = crate::check::run(config).await;
        let report = CheckReport::of(&findings);
        let code = findings.iter().find_map(|finding| match &finding.verdict {
            Verdict::Failed(failure) => Some(exit_codes::of_error(failure.code)),
            Verdict::Ok(_) | Verdict::Warning(_) => None,
        });
        let printed = match self.json {
            true => CommandReport::json(&report),
            false => {
                let lines: String = findings.iter().map(line).collect();
                CommandReport::text(&format!("{lines}{}\n", report.summary))
            }
        };
        printed.with_code(code.unwrap_or(0))
    }
}

/// What `check --json` prints: all findings and the overall verdict.
#[derive(Debug, Serialize)]
pub(super) struct CheckReport<'a> {
    /// The worst verdict among the findings.
    verdict: VerdictWord,
    /// Whether a sync can run, in one sentence.
    summary: String,
    /// How many findings failed.
    failed: usize,
    /// How many findings are warnings.
    warnings: usize,
    findings: Vec<FindingReport<'a>>,
}

/// One finding, as `check --json` prints it.
#[derive(Debug, Serialize)]
struct FindingReport<'a> {
    subject: &'a str,
    verdict: VerdictWord,
    text: &'a str,
    /// The error code of a failed check; left out for other findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
    /// What to do about a failed check; left out for other findings.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'a str>,
}

/// A verdict as `check --json` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum VerdictWord {
    Ok,
    Warning,
    Failed,
}

impl<'a> CheckReport<'a> {
    pub(super) fn of(findings: &'a [Finding]) -> Self {
        let findings: Vec<_> = findings.iter().map(FindingReport::of).collect();
        let count = |word| {
            let found = findings.iter().filter(|finding| finding.verdict == word);
            found.count()
        };
        let (failed, warnings) = (count(VerdictWord::Failed), count(VerdictWord::Warning));
        let (verdict, summary) = match (failed, warnings) {
            (0, 0) => (VerdictWord::Ok, "A sync can run.".to_owned()),
            (0, 1) => (
                VerdictWord::Warning,
                "A sync can run, with 1 warning.".to_owned(),
            ),
            (0, _) => (
                VerdictWord::Warning,
                format!("A sync can run, with {warnings} warnings."),
            ),
            (_, _) => (
                VerdictWord::Failed,
                format!(
                    "A sync cannot run: {failed} of {} checks failed.",
                    findings.len()
                ),
            ),
        };
        Self {
            verdict,
            summary,
            failed,
            warnings,
            findings,
        }
    }
}

impl<'a> FindingReport<'a> {
    fn of(finding: &'a Finding) -> Self {
        let (verdict, text, failure) = match &finding.verdict {
            Verdict::Ok(text) => (VerdictWord::Ok, text, None),
            Verdict::Warning(text) => (VerdictWord::Warning, text, None),
            Verdict::Failed(failure) => (VerdictWord::Failed, &failure.message, Some(failure)),
        };
        Self {
            subject: &finding.subject,
            verdict,
            text,
            code: failure.map(|failure| failure.code),
            remedy: failure.map(|failure| failure.remedy.as_str()),
        }
    }
}

fn line(finding: &Finding) -> String {
    match &finding.verdict {
        Verdict::Ok(text) => format!("ok      {}: {}\n", finding.subject, on_one_line(text)),
        Verdict::Warning(text) => {
            format!("warning {}: {}\n", finding.subject, on_one_line(text))
        }
        Verdict::Failed(failure) => {
            format!("FAILED  {}: {}\n", finding.subject, describe(failure))
        }
    }
}
