//! Works out how a meter was at a time in the past, from its row and from the changes that runs made.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::log_limits;
use crate::model::{ChangeAction, MeterFields};
use crate::reports::meter_report::{MeterReport, PastMeter};
use crate::reports::moment::moment;
use crate::store::changes::{ChangesSinceReport, MeterChange};

/// The changes that runs made to a meter, newest first, divided at a time.
#[derive(Default)]
pub(super) struct DividedChanges {
    /// The changes after the time.
    pub(super) later: Vec<MeterChange>,
    /// The changes up to the time.
    pub(super) earlier: Vec<MeterChange>,
}

/// Says how the meter was at a time, if there is no log yet: as it is now, because no sync has changed it.
pub(super) fn without_log(
    report: &MeterReport,
    at: DateTime<Utc>,
    active_column: &str,
    now: DateTime<Utc>,
) -> PastMeter {
    let log = ChangesSinceReport {
        since: at,
        is_complete: true,
        ..ChangesSinceReport::default()
    };
    rewind(report, &DividedChanges::default(), &log, active_column, now)
}

/// What is known of a meter at a time.
#[derive(Debug, PartialEq)]
enum PastRow {
    /// The meter was here, and all of its synced columns are known.
    Known(MeterFields),
    /// The meter was here, but only these columns are known, because somebody has deleted its row since.
    InPart(MeterFields),
    /// A sync before that time has left the meter so. Somebody has deleted its row here later, perhaps before that time.
    PerhapsDeleted(MeterFields),
    /// The meter was not here yet.
    NotHere,
    /// Nothing is known.
    Unknown,
}

/// Works out how the meter was at the time `log.since`. `log` tells whether the log has all changes since then.
pub(super) fn rewind(
    report: &MeterReport,
    changes: &DividedChanges,
    log: &ChangesSinceReport,
    active_column: &str,
    now: DateTime<Utc>,
) -> PastMeter {
    let past = past_row(report.meter.as_ref(), changes);
    let (was_here, meter) = match past {
        PastRow::Known(ref row) | PastRow::InPart(ref row) => (Some(true), Some(row.clone())),
        PastRow::PerhapsDeleted(ref row) => (None, Some(row.clone())),
        PastRow::NotHere => (Some(false), None),
        PastRow::Unknown => (None, None),
    };
    let active = meter.as_ref().and_then(|row| row.get(active_column));
    let active = active.and_then(Value::as_bool);
    let at = moment(log.since, now);
    let state = match active {
        Some(true) => "active",
        Some(false) => "inactive",
        None => "here",
    };
    let how = match past {
        PastRow::Known(_) | PastRow::InPart(_) => format!("At {at} the meter was {state}."),
        PastRow::PerhapsDeleted(_) => format!(
            "At {at} the meter was {state}, unless somebody had deleted its row here by then."
        ),
        PastRow::NotHere => format!("At {at} the meter was not here yet."),
        PastRow::Unknown => format!("It is not known how the meter was at {at}."),
    };
    let since = since_then(meter.as_ref(), report.meter.as_ref());
    let doubts = doubts(&past, log, now);
    PastMeter {
        at: log.since,
        summary: format!("{how}{since}{doubts}"),
        was_here,
        active,
        meter,
        is_complete: doubts.is_empty(),
    }
}

/// Says why the state at the time may have been another one; empty if it was surely so.
fn doubts(past: &PastRow, log: &ChangesSinceReport, now: DateTime<Utc>) -> String {
    let mut doubts = String::new();
    let row = match past {
        PastRow::Known(row) => Some(row),
        PastRow::InPart(row) | PastRow::PerhapsDeleted(row) => {
            doubts += " Its row was deleted here since, so only what the log has of it is known.";
            Some(row)
        }
        PastRow::NotHere | PastRow::Unknown => None,
    };
    if let Some(begins) = log.begins {
        let begins = moment(begins, now);
        doubts += &format!(" The log begins at {begins}, so earlier changes are not known.");
    }
    if !log.is_complete {
        doubts += log_limits::LOST;
    }
    if row.is_some_and(log_limits::has_cut_value) {
        doubts += log_limits::CUT;
    }
    doubts
}

/// Takes the later changes back, from the newest to the oldest.
fn past_row(row: Option<&MeterFields>, changes: &DividedChanges) -> PastRow {
    let mut past = match row {
        Some(row) => PastRow::Known(row.clone()),
        None => PastRow::Unknown,
    };
    for change in &changes.later {
        past = match (change.action, past) {
            (ChangeAction::Insert, _) => PastRow::NotHere,
            (_, PastRow::Known(row)) => PastRow::Known(with(row, &change.before)),
            (_, PastRow::InPart(row)) => PastRow::InPart(with(row, &change.before)),
            // Somebody deleted the row here after this change.
            (_, PastRow::NotHere | PastRow::Unknown | PastRow::PerhapsDeleted(_)) => {
                PastRow::InPart(change.before.clone())
            }
        };
    }
    match (past, replay(&changes.earlier)) {
        (PastRow::InPart(row), Some(earlier)) => PastRow::InPart(with(earlier, &row)),
        (PastRow::NotHere | PastRow::Unknown, Some(earlier)) => PastRow::PerhapsDeleted(earlier),
        (past, _) => past,
    }
}

/// Makes the changes up to a time again, from the oldest to the newest. Returns the values that they set; `None` if there
/// are no changes.
fn replay(earlier: &[MeterChange]) -> Option<MeterFields> {
    let replayed = earlier.iter().rev();
    replayed.fold(None, |row, change| {
        Some(match (change.action, row) {
            (ChangeAction::Insert, _) | (_, None) => change.after.clone(),
            (_, Some(row)) => with(row, &change.after),
        })
    })
}

fn with(mut row: MeterFields, fields: &MeterFields) -> MeterFields {
    row.extend(fields.clone());
    row
}

/// Names the columns that have another value now.
fn since_then(past: Option<&MeterFields>, now: Option<&MeterFields>) -> String {
    let (Some(past), Some(now)) = (past, now) else {
        return String::new();
    };
    let is_other = |(column, value): &(&String, &Value)| now.get(*column) != Some(*value);
    let changed: Vec<_> = past
        .iter()
        .filter(is_other)
        .map(|(c, _)| c.as_str())
        .collect();
    match changed.is_empty() {
        true => " It is the same now.".to_owned(),
        false => format!(" Since then syncs have changed {}.", changed.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{RunId, RunTrigger};

    fn fields(value: &Value) -> MeterFields {
        value.as_object().cloned().expect("an object")
    }

    fn change(action: ChangeAction, before: &Value, after: &Value) -> MeterChange {
        MeterChange {
            run_id: RunId::at(DateTime::UNIX_EPOCH),
            n: 1,
            at: DateTime::UNIX_EPOCH,
            trigger: RunTrigger::Schedule,
            actor: None,
            action,
            before: fields(before),
            after: fields(after),
            gone_to: None,
        }
    }

    fn updated() -> MeterChange {
        change(
            ChangeAction::Update,
            &json!({"port": null}),
            &json!({"port": "502"}),
        )
    }

    fn inserted() -> MeterChange {
        let row = json!({"id": 1, "name": "Main", "active": true});
        change(ChangeAction::Insert, &json!({}), &row)
    }

    fn past(row: Option<&Value>, later: Vec<MeterChange>, earlier: Vec<MeterChange>) -> PastRow {
        let row = row.map(fields);
        past_row(row.as_ref(), &DividedChanges { later, earlier })
    }

    #[test]
    fn later_changes_are_taken_back() {
        let row = json!({"id": 1, "name": "Main", "port": "502", "note": "ours"});
        let before = json!({"id": 1, "name": "Main", "port": null, "note": "ours"});
        let known = |row: &Value| PastRow::Known(fields(row));
        assert_eq!(past(Some(&row), vec![], vec![]), known(&row));
        assert_eq!(
            past(Some(&row), vec![updated()], vec![inserted()]),
            known(&before)
        );
        let since_its_beginning = vec![updated(), inserted()];
        assert_eq!(
            past(Some(&row), since_its_beginning, vec![]),
            PastRow::NotHere
        );
    }

    #[test]
    fn of_a_row_that_somebody_deleted_the_log_tells_what_it_can() {
        let in_part = |row: &Value| PastRow::InPart(fields(row));
        let perhaps = |row: &Value| PastRow::PerhapsDeleted(fields(row));
        assert_eq!(past(None, vec![], vec![]), PastRow::Unknown);
        assert_eq!(
            past(None, vec![updated()], vec![]),
            in_part(&json!({"port": null}))
        );
        let whole = json!({"id": 1, "name": "Main", "active": true, "port": "502"});
        assert_eq!(
            past(None, vec![], vec![updated(), inserted()]),
            perhaps(&whole)
        );
        let whole = json!({"id": 1, "name": "Main", "active": true, "port": null});
        assert_eq!(
            past(None, vec![updated()], vec![inserted()]),
            in_part(&whole)
        );
    }

    #[test]
    fn a_row_that_was_deleted_and_came_back_was_here_before() {
        let row = json!({"id": 1, "port": "502"});
        let port = PastRow::InPart(fields(&json!({"port": null})));
        assert_eq!(past(Some(&row), vec![inserted(), updated()], vec![]), port);
        let came = fields(&json!({"id": 1, "name": "Main", "active": true}));
        let came = PastRow::PerhapsDeleted(came);
        assert_eq!(past(Some(&row), vec![inserted()], vec![inserted()]), came);
    }
}
