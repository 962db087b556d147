//! Reads what all runs changed since a time.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::db::{DbError, Local, Tx};
use crate::model::ChangeCursor;
use crate::store::changes;
pub use crate::store::changes::DatedChange;
use crate::store::log::LogKey;

use crate::mirrors::state::words::moment;

/// What syncs changed since a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangesSince {
    /// The time.
    pub since: DateTime<Utc>,
    /// How many runs changed meters since then.
    pub runs: i64,
    /// Meters that were inserted.
    pub inserted: i64,
    /// Meters whose fields changed.
    pub updated: i64,
    /// Meters that were deactivated, as the remote has them no more.
    pub deactivated: i64,
    /// Meters that became active again.
    pub reactivated: i64,
    /// Whether the log still has each of these changes.
    pub is_complete: bool,
    /// The changes, those of the latest run first.
    pub changes: Vec<DatedChange>,
    /// Whether there are changes before these.
    #[serde(skip)]
    pub has_more: bool,
    /// When the log begins, where that is later.
    #[serde(skip)]
    pub begins: Option<DateTime<Utc>>,
}

impl ChangesSince {
    /// The answer while there is no log yet.
    pub(in crate::mirrors) fn nothing(since: DateTime<Utc>) -> Self {
        Self {
            since,
            runs: 0,
            inserted: 0,
            updated: 0,
            deactivated: 0,
            reactivated: 0,
            is_complete: true,
            changes: Vec::new(),
            has_more: false,
            begins: None,
        }
    }

    /// Describes the changes in words.
    pub(in crate::mirrors) fn in_words(&self, now: DateTime<Utc>) -> String {
        let since = moment(self.since, now);
        let counted = [
            (self.inserted, "inserted"),
            (self.updated, "updated"),
            (self.deactivated, "deactivated"),
            (self.reactivated, "reactivated"),
        ];
        let counted = counted.iter().filter(|(count, _)| *count > 0);
        let counted: Vec<String> = counted
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let said = match (self.runs, counted.is_empty()) {
            (_, true) => format!("No sync has changed a meter since {since}."),
            (1, false) => format!(
                "Since {since} one sync changed meters: {}.",
                counted.join(", ")
            ),
            (runs, false) => {
                format!(
                    "Since {since} {runs} syncs changed meters: {}.",
                    counted.join(", ")
                )
            }
        };
        let begins = self.begins.map_or_else(String::new, |begins| {
            format!(" The log begins at {}.", moment(begins, now))
        });
        let gaps = match self.is_complete {
            true => "",
            false => {
                " The log no longer has each change (METER_SYNC_CHANGE_LIMIT, METER_SYNC_KEEP_RUNS)."
            }
        };
        format!("{said}{begins}{gaps}")
    }
}

/// Counts what was changed since a time, and lists at most `limit` of the changes, from a place on.
pub(in crate::mirrors) async fn read(
    tx: &Tx<'_, Local>,
    log: LogKey<'_>,
    since: DateTime<Utc>,
    (before, limit): (Option<ChangeCursor>, u32),
) -> Result<ChangesSince, DbError> {
    let counts = changes::count_since(tx, log, since).await?;
    let one_more = i64::from(limit) + 1;
    let mut changes = changes::list_since(tx, log, since, (before, one_more)).await?;
    let has_more = changes.len() > limit as usize;
    changes.truncate(limit as usize);
    Ok(ChangesSince {
        since,
        runs: counts.runs,
        inserted: counts.inserted,
        updated: counts.updated,
        deactivated: counts.deactivated,
        reactivated: counts.reactivated,
        is_complete: counts.is_complete,
        changes,
        has_more,
        begins: counts.begins.filter(|begins| *begins > since),
    })
}
