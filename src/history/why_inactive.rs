//! Describes in words whether a meter is active and, if it is not, why.

use serde_json::Value;

use crate::make_printable;
use crate::model::ChangeAction;

use crate::store::changes::MeterChange;
use crate::store::rejected_rows::RejectedSince;

/// Says whether a meter is active and, if it is not, why. `active` is `None` if the local table does not say; `has_row`
/// is whether the table has the meter. `changes` are the meter's changes, newest first, `rejected` is why its row could
/// not be stored, and `column` is the name of the active column.
pub(super) fn in_words(
    active: Option<bool>,
    has_row: bool,
    changes: &[MeterChange],
    rejected: Option<&RejectedSince>,
    column: &str,
) -> String {
    let Some(rejected) = rejected else {
        return state(active, has_row, changes, column);
    };
    let since = format!(
        "since {}: {}",
        rejected.since.format("%Y-%m-%d %H:%M UTC"),
        make_printable::line(&rejected.reason, LONGEST_REASON)
    );
    match has_row || !changes.is_empty() {
        true => {
            let state = state(active, has_row, changes, column);
            format!("{state} What the remote has cannot be stored {since}")
        }
        false => format!("The meter is not here, because its row cannot be stored {since}"),
    }
}

/// The longest reason that a sentence holds, in characters.
const LONGEST_REASON: usize = 300;

fn state(active: Option<bool>, has_row: bool, changes: &[MeterChange], column: &str) -> String {
    if !has_row {
        return "The local table has no such meter any more; the log knows it. A sync never deletes a row, so somebody else did.".to_owned();
    }
    match active {
        None => "The meter is here; the table does not say whether it is active.".to_owned(),
        Some(true) => active_since(changes, column),
        Some(false) => inactive(changes, column),
    }
}

fn active_since(changes: &[MeterChange], column: &str) -> String {
    let is_return = |change: &&MeterChange| {
        change.action == ChangeAction::Insert || says(change, column) == Some(true)
    };
    match changes.iter().find(is_return) {
        Some(change) => {
            let how = match change.action {
                ChangeAction::Insert => "came with",
                ChangeAction::Reactivate
                | ChangeAction::Update
                | ChangeAction::Deactivate
                | ChangeAction::Unknown => "became active again with",
            };
            format!(
                "The meter is active; it {how} the sync of {}.",
                when(change)
            )
        }
        None => "The meter is active.".to_owned(),
    }
}

fn inactive(changes: &[MeterChange], column: &str) -> String {
    let tells = |change: &&MeterChange| {
        change.action == ChangeAction::Deactivate || says(change, column).is_some()
    };
    let Some(change) = changes.iter().find(tells) else {
        return "The meter is inactive; no sync in the log made it so, so it was inactive before the log begins, or somebody switched it off here.".to_owned();
    };
    let at = when(change);
    match (change.action, says(change, column)) {
        (ChangeAction::Deactivate, _) => format!(
            "The meter is inactive because the remote has no such meter any more; the sync of {at} deactivated it."
        ),
        (ChangeAction::Insert, Some(false)) => format!(
            "The meter is inactive because it was switched off on the remote when it came, with the sync of {at}."
        ),
        (_, Some(false)) => format!(
            "The meter is inactive because it was switched off on the remote; the sync of {at} brought that."
        ),
        (_, _) => format!(
            "The meter is inactive, though the sync of {at} left it active: somebody switched it off here since."
        ),
    }
}

/// Returns whether a change sets the meter active, by its value for the active column `column`. NULL counts as
/// inactive. `None` if the change does not set that column, or sets a value that is not boolean.
fn says(change: &MeterChange, column: &str) -> Option<bool> {
    match change.after.get(column)? {
        Value::Bool(active) => Some(*active),
        Value::Null => Some(false),
        Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn when(change: &MeterChange) -> String {
    format!(
        "{} (run {})",
        change.at.format("%Y-%m-%d %H:%M UTC"),
        change.run_id
    )
}
