//! Formats a run as text: its changes with the meters' names, and its rejected rows with the reasons.

use std::fmt::{self, Display, Formatter};

use super::next_commands::NextCommands;
use crate::error::Failure;
use crate::make_printable;
use crate::mirrors::Mirror;
use crate::model::{Change, MeterDestination, MeterFields, Rejection, RunId, saturating_i64};
use crate::reports::run_detail::RunDetail;
use crate::reports::run_report::RunReport;

/// How many rejected rows `sync` prints at most. It also prints no more changes than that, because a run report lists
/// no more. `status --run` prints up to [`SHOWN`] of each.
const SAMPLE: usize = 20;
/// How many changes, and how many rejected rows, `status --run` shows at most.
pub(super) const SHOWN: u32 = 200;
/// The longest value or name that is printed, in characters. A longer one is cut; `--json` prints it in full.
const LONGEST_VALUE: usize = 200;
/// The longest reason for a rejection that is printed, in characters. A longer one is cut.
const LONGEST_REASON: usize = 1000;

/// The content of the text about one run. `Display` writes the text.
pub(super) struct RunText {
    run_id: RunId,
    summary: String,
    changes: Vec<Change>,
    changes_total: i64,
    rejected: Vec<Rejection>,
    rejected_total: i64,
    warning: Option<String>,
    error: Option<Failure>,
    next_step: String,
    /// Whether a person may approve deactivations that the run held back because they were too many.
    awaits_decision: bool,
    /// Where to find the changes and rejected rows that the text leaves out.
    rest: OmittedRowsPlace,
    commands: NextCommands,
}

/// Where to find the changes and rejected rows that the text of a run leaves out.
#[derive(Clone, Copy)]
enum OmittedRowsPlace {
    /// In the output of `meter-sync status --run`.
    Status,
    /// Only in the log tables, by SQL in the local database.
    Log,
}

impl RunText {
    /// Returns the text of a run that this process requested. Reads the rejected rows of the run from the run log.
    pub(super) async fn of_report(
        mirror: &Mirror,
        run: &RunReport,
        commands: NextCommands,
    ) -> Self {
        let rejected = match run.counts.rejected {
            0 => Vec::new(),
            // If the log cannot be read, the text has only the number of rejected rows.
            _ => match mirror.run(run.run_id).await {
                Ok(Some(detail)) => detail.rejected.into_iter().take(SAMPLE).collect(),
                Ok(None) | Err(_) => Vec::new(),
            },
        };
        Self {
            run_id: run.run_id,
            summary: run.summary.clone(),
            changes: run.changes.clone(),
            changes_total: run.changes_total,
            rejected,
            rejected_total: run.counts.rejected,
            warning: run.warning.clone(),
            error: run.error.clone(),
            next_step: run.next_step.clone(),
            awaits_decision: run.held_back.is_some(),
            rest: OmittedRowsPlace::Status,
            commands,
        }
    }

    /// Returns the text of a run that was read from the run log. Reads the changes of the run from the log, too.
    pub(super) async fn of_detail(
        mirror: &Mirror,
        detail: RunDetail,
        commands: NextCommands,
    ) -> Result<Self, Failure> {
        let RunDetail { run, rejected, .. } = detail;
        let changes = mirror.changes(run.run_id, SHOWN, 0).await?.changes;
        Ok(Self {
            run_id: run.run_id,
            summary: detail.summary,
            changes_total: run.counts.changes_to_list(changes.len()),
            changes,
            rejected: rejected.into_iter().take(SHOWN as usize).collect(),
            rejected_total: run.counts.rejected,
            warning: run.warning,
            error: run.error,
            next_step: detail.next_step,
            awaits_decision: detail.awaits_decision,
            rest: OmittedRowsPlace::Log,
            commands,
        })
    }

    fn lists(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "  {}", change_line(change))?;
        }
        let id = self.run_id;
        let place = |table: &str| match self.rest {
            OmittedRowsPlace::Status => self.commands.show_run(id),
            OmittedRowsPlace::Log => {
                format!("select * from meter_sync.{table} where run_id = '{id}' order by n")
            }
        };
        let more = more(self.changes_total, self.changes.len());
        if more > 0 {
            let place = place("meter_sync_change");
            writeln!(f, "  ... {more} more changes: {place}")?;
        }
        for rejection in &self.rejected {
            writeln!(f, "  {}", rejection_line(rejection))?;
        }
        let more = self::more(self.rejected_total, self.rejected.len());
        if more > 0 {
            let place = place("meter_sync_rejected");
            writeln!(f, "  ... {more} more rejected rows: {place}")?;
        }
        Ok(())
    }
}

impl Display for RunText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary)?;
        self.lists(f)?;
        let is_news = |warning: &&String| **warning != self.next_step;
        if let Some(warning) = self.warning.as_ref().filter(is_news) {
            writeln!(f, "warning: {warning}")?;
        }
        match &self.error {
            Some(error) => writeln!(f, "{}: {}", error.code, error.remedy)?,
            None => writeln!(f, "{}", self.next_step)?,
        }
        writeln!(f, "Run {}", self.run_id)?;
        let code = self.error.as_ref().map(|error| error.code);
        let awaits_decision = self.awaits_decision.then_some(self.run_id);
        for line in self.commands.let_pass(code, awaits_decision) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

/// Returns how many of `total` entries a text leaves out that lists `listed` of them.
pub(super) fn more(total: i64, listed: usize) -> i64 {
    total.saturating_sub(saturating_i64(listed))
}

/// Formats a change on one line, such as `update Main (id="1"): port: null -> "502"`. Says where the meter went if it is
/// gone.
pub(super) fn change_line(change: &Change) -> String {
    let key = key_text(&change.key);
    let meter = match change
        .name
        .as_deref()
        .filter(|name| make_printable::is_seen(name))
    {
        Some(name) => format!("{} ({key})", make_printable::line(name, LONGEST_VALUE)),
        None => key,
    };
    let moved = match moved(&change.before, &change.after).as_str() {
        "" => String::new(),
        moved => format!(": {moved}"),
    };
    let gone_to = destination(change.gone_to.as_ref());
    format!("{} {meter}{moved}{gone_to}", change.action)
}

/// Formats where a meter went, such as ` (moved to tenant 9)`; empty if it is not known.
pub(super) fn destination(gone_to: Option<&MeterDestination>) -> String {
    gone_to.map_or_else(String::new, |gone_to| {
        let words = make_printable::line(&gone_to.in_words(), LONGEST_VALUE);
        format!(" ({words})")
    })
}

/// Formats the old and new values of changed fields, such as `port: null -> "502"`. Returns an empty text for an insert,
/// which has no old values.
pub(super) fn moved(before: &MeterFields, after: &MeterFields) -> String {
    let moved = before.iter().map(|(column, before)| {
        let after = after.get(column).unwrap_or(&serde_json::Value::Null);
        let column = make_printable::line(column, LONGEST_VALUE);
        format!("{column}: {} -> {}", value(before), value(after))
    });
    moved.collect::<Vec<_>>().join(", ")
}

/// Formats a rejected row on one line, such as `rejected id="2": value too long`.
pub(super) fn rejection_line(Rejection { key, reason }: &Rejection) -> String {
    let reason = make_printable::line(reason, LONGEST_REASON);
    format!("rejected {}: {reason}", key_text(key))
}

pub(super) fn key_text(key: &MeterFields) -> String {
    let pairs = key.iter().map(|(column, part)| {
        let column = make_printable::line(column, LONGEST_VALUE);
        format!("{column}={}", value(part))
    });
    pairs.collect::<Vec<_>>().join(" ")
}

pub(super) fn value(value: &serde_json::Value) -> String {
    make_printable::line(&value.to_string(), LONGEST_VALUE)
}
