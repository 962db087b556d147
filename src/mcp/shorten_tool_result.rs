//! Shortens tool results, because every word that a language model reads costs money. A shortened result says what was
//! left out, and how to get it.

use serde::Serialize;
use serde_json::Value;

use crate::model::{Change, MeterFields};
use crate::reports::run_report::RunReport;
use crate::reports::status::Status;

/// The longest tool result in bytes of JSON.
pub(super) const BYTES: usize = 8_000;
/// The longest tool result in bytes of JSON, if the caller asked for longer lists than by default.
pub(super) const MORE_BYTES: usize = 64_000;
/// How many characters of each text are kept if the answer is too long.
const VALUE_CHARS: usize = 200;
/// The bytes reserved for the note about what was left out.
const WORDS_BYTES: usize = 300;

/// Shortens a status to at most `bytes`: cuts long values, then drops entries from the ends of lists, then columns from
/// the row of a single meter. Other parts are never shortened, so the result can still be longer.
pub(super) fn status(mut status: Status, bytes: usize) -> Status {
    let mut cut = Shortener::of(&status, bytes);
    if cut.excess == 0 {
        return status;
    }
    let since = status.changes_since.iter_mut();
    let since = since.flat_map(|since| &mut since.changes);
    let changes = status.changes.iter_mut().flatten();
    let difference = status.difference.iter_mut();
    let difference = difference.flat_map(|difference| &mut difference.changes);
    let changes = changes.chain(difference);
    for change in changes.chain(since.map(|dated| &mut dated.change)) {
        cut.change(change);
    }
    for rejected in status.rejected.iter_mut().flatten() {
        cut.text(&mut rejected.reason);
    }
    if let Some(meter) = &mut status.meter {
        let past = meter.past.iter_mut();
        let past = past.filter_map(|past| past.meter.as_mut());
        let rows = meter.meter.iter_mut().chain(past);
        rows.for_each(|row| cut.values(row));
        for change in &mut meter.changes {
            cut.values(&mut change.before);
            cut.values(&mut change.after);
        }
    }
    let mut cut = cut.again(&status, bytes);
    // Past runs are dropped first. If the answer is about a meter or a time, they only accompany it, and
    // `has_more_runs` stays as it is.
    let is_of_runs = status.meter.is_none() && status.changes_since.is_none();
    status.has_more_runs |= cut.list("runs", &mut status.history) > 0 && is_of_runs;
    if let Some(rejected) = &mut status.rejected {
        cut.list("rejected rows", rejected);
    }
    if let Some(changes) = &mut status.changes {
        cut.list("changes", changes);
    }
    if let Some(difference) = &mut status.difference {
        cut.list("differing meters", &mut difference.changes);
    }
    if let Some(matches) = &mut status.matches {
        cut.list("meters", matches);
    }
    if let Some(since) = &mut status.changes_since {
        since.has_more |= cut.list("changes", &mut since.changes) > 0;
    }
    if let Some(meter) = &mut status.meter {
        meter.has_more |= cut.list("changes", &mut meter.changes) > 0;
        if let Some(row) = &mut meter.meter {
            cut.fields(row);
        }
        if let Some(row) = meter.past.as_mut().and_then(|past| past.meter.as_mut()) {
            cut.fields(row);
        }
    }
    status.turn_page();
    status.left_out = cut.in_words(match status.next_before {
        Some(_) => "ask for the rest with `next_before` as `before`, or for more at once with `changes_limit`",
        None => "ask for more at once with `changes_limit` or `history`, or read meter-sync://runs/{run_id}",
    });
    status
}

/// Shortens the status of many mirrors to at most `bytes`: cuts long names and errors, then drops tenants from the end
/// of the page. The next page begins with the first tenant that was dropped.
pub(super) fn overview(mut status: Status, bytes: usize) -> Status {
    let mut cut = Shortener::of(&status, bytes);
    if cut.excess == 0 {
        return status;
    }
    let tenants = status.tenants.iter_mut();
    for tenant in tenants.flat_map(|tenants| &mut tenants.list) {
        let error = tenant.last_run.as_mut();
        let error = error.and_then(|run| run.error_message.as_mut());
        for text in tenant.name.as_mut().into_iter().chain(error) {
            cut.text(text);
        }
    }
    let mut cut = cut.again(&status, bytes);
    if let Some(tenants) = &mut status.tenants {
        let ids: Vec<String> = tenants
            .list
            .iter()
            .map(|tenant| tenant.tenant_id.clone())
            .collect();
        cut.list("tenants of this page", &mut tenants.list);
        let next = ids.into_iter().nth(tenants.list.len());
        status.next_before = next.or(status.next_before);
    }
    status.left_out = cut.in_words("ask for the rest with `next_before` as `before`");
    status
}

/// Shortens the report of a run to at most `bytes`: cuts long values, then drops changes from the end.
pub(super) fn report(mut report: RunReport, bytes: usize) -> RunReport {
    let mut cut = Shortener::of(&report, bytes);
    if cut.excess == 0 {
        return report;
    }
    for change in &mut report.changes {
        cut.change(change);
    }
    let mut cut = cut.again(&report, bytes);
    report.truncated |= cut.list("changes", &mut report.changes) > 0;
    report.left_out = cut.in_words(
        "ask meter_sync_status with this `run_id`, `include_changes` and a higher `changes_limit`",
    );
    report
}

/// How much of an answer must still be removed, and what was left out so far.
struct Shortener {
    /// The number of bytes that must still be removed.
    excess: usize,
    has_cut_values: bool,
    left_out: Vec<String>,
}

impl Shortener {
    fn of(answer: &impl Serialize, bytes: usize) -> Self {
        let length = length(answer);
        let excess = match length > bytes {
            true => length + WORDS_BYTES - bytes,
            false => 0,
        };
        Self {
            excess,
            has_cut_values: false,
            left_out: Vec::new(),
        }
    }

    /// Computes again how many bytes must be removed, after values were cut.
    fn again(self, answer: &impl Serialize, bytes: usize) -> Self {
        Self {
            has_cut_values: self.has_cut_values,
            ..Self::of(answer, bytes)
        }
    }

    fn change(&mut self, change: &mut Change) {
        self.values(&mut change.before);
        self.values(&mut change.after);
    }

    /// Cuts each value to its first [`VALUE_CHARS`] characters.
    fn values(&mut self, fields: &mut MeterFields) {
        for (_, value) in fields.iter_mut() {
            self.value(value);
        }
    }

    fn value(&mut self, value: &mut Value) {
        match value {
            Value::String(text) => {
                self.text(text);
            }
            Value::Array(_) | Value::Object(_) => {
                let mut text = value.to_string();
                if self.text(&mut text) {
                    *value = Value::String(text);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Cuts the text to its first [`VALUE_CHARS`] characters, and adds its former length. Returns whether the text was
    /// longer.
    fn text(&mut self, text: &mut String) -> bool {
        let Some((end, _)) = text.char_indices().nth(VALUE_CHARS) else {
            return false;
        };
        let all = text.chars().count();
        text.truncate(end);
        *text += &format!("… ({all} characters)");
        self.has_cut_values = true;
        true
    }

    /// Drops entries from the end of a list until the answer is short enough. Returns how many were dropped. `what`
    /// names the entries in the note about what was left out.
    fn list<T: Serialize>(&mut self, what: &str, list: &mut Vec<T>) -> usize {
        let all = list.len();
        while self.excess > 0
            && let Some(last) = list.pop()
        {
            self.excess = self.excess.saturating_sub(length(&last) + 1);
        }
        let gone = all - list.len();
        if gone > 0 {
            self.left_out.push(format!("{gone} of {all} {what}"));
        }
        gone
    }

    /// Drops columns from the end of a row until the answer is short enough.
    fn fields(&mut self, row: &mut MeterFields) {
        let all = row.len();
        while self.excess > 0
            && let Some(name) = row.keys().next_back().cloned()
        {
            let value = row.remove(&name);
            self.excess = self.excess.saturating_sub(name.len() + length(&value) + 4);
        }
        let gone = all - row.len();
        if gone > 0 {
            self.left_out.push(format!("{gone} of {all} columns"));
        }
    }

    fn in_words(mut self, how: &str) -> Option<String> {
        if self.has_cut_values {
            self.left_out.push("the ends of long values".to_owned());
        }
        let what = self.left_out.join(", ");
        (!what.is_empty()).then(|| format!("Left out to keep the answer short: {what}; {how}."))
    }
}

fn length(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |json| json.len())
}
