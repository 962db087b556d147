//! Describes what all runs changed since a time.

use chrono::{DateTime, Utc};

use crate::mirrors::state::status_text::moment;
use crate::store::changes::ChangesSince;

/// Describes the changes in words.
pub(super) fn in_words(changes: &ChangesSince, now: DateTime<Utc>) -> String {
    let since = moment(changes.since, now);
    let counted = [
        (changes.inserted, "inserted"),
        (changes.updated, "updated"),
        (changes.deactivated, "deactivated"),
        (changes.reactivated, "reactivated"),
    ];
    let counted = counted.iter().filter(|(count, _)| *count > 0);
    let counted: Vec<String> = counted
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let counted = counted.join(", ");
    let said = match (changes.runs, counted.is_empty()) {
        (_, true) => format!("No sync has changed a meter since {since}."),
        (1, false) => format!("Since {since} one sync changed meters: {counted}."),
        (runs, false) => format!("Since {since} {runs} syncs changed meters: {counted}."),
    };
    let begins = changes.begins.map_or_else(String::new, |begins| {
        format!(" The log begins at {}.", moment(begins, now))
    });
    let gaps = match changes.is_complete {
        true => "",
        false => {
            " The log no longer has each change (METER_SYNC_CHANGE_LIMIT, METER_SYNC_KEEP_RUNS)."
        }
    };
    format!("{said}{begins}{gaps}")
}
