//! Detects drift: the remote has dropped, renamed, replaced or retyped a column that was synced before.
//!
//! Each run compares the columns that it syncs with the known columns: those that earlier runs recorded in the table
//! `meter_sync_column`. A column with drift stays recorded, with its drift and its old type, until one of these settles
//! the drift:
//!
//! - The remote has the column back.
//! - The local table follows the remote: its column is dropped, renamed, or has the new type.
//! - The setting `METER_SYNC_COLUMNS`, which lists the columns to sync, leaves the column out.
//! - A person deletes the column's row from `meter_sync_column`.
//!
//! A change that somebody makes to the local table or to the settings is not drift. If a column is no longer synced
//! because of such a change, the run reports this once, or never if `METER_SYNC_COLUMNS` leaves the column out.

use crate::config::{Mapping, SourceSetting};
use crate::db::catalog::Column;
use crate::hex_digest::hex_digest;

use super::Relations;

pub use crate::store::recorded_columns::{ColumnDrift, KnownColumns, RecordedColumn};
pub use drift_text::{ColumnRetypeMethod, failure, finding, warning};

mod drift_text;

/// The result of comparing the columns that a run syncs with those that earlier runs recorded.
#[derive(Clone, Debug)]
pub struct ColumnDriftReport {
    /// The columns to record for the next run, sorted by name.
    pub columns: Vec<RecordedColumn>,
    /// Whether `columns` differ from the columns that earlier runs recorded.
    pub is_changed: bool,
    /// Whether this run syncs a column that no earlier run recorded. `false` if nothing was recorded yet.
    pub has_new: bool,
    /// The names of the columns that are no longer synced because somebody changed the local table or the settings.
    pub no_longer_synced: Vec<String>,
}

impl ColumnDriftReport {
    /// Returns the columns that have drifted, and whose drift is not settled yet.
    pub fn drifted(&self) -> Vec<&RecordedColumn> {
        let drifted = self.columns.iter();
        drifted.filter(|column| column.drift.is_some()).collect()
    }

    /// Returns the warning about drift and about columns that are no longer synced; `None` if there are neither.
    pub fn warning(&self) -> Option<String> {
        let drifted = warning(self.drifted());
        let warnings = [
            drift_text::no_longer_synced(&self.no_longer_synced),
            drifted,
        ];
        let warnings: Vec<_> = warnings.into_iter().flatten().collect();
        (!warnings.is_empty()).then(|| warnings.join(" "))
    }
}

/// Compares the columns that this run syncs with `known`, the columns that earlier runs recorded.
pub fn compare(
    known: &KnownColumns,
    relations: &Relations,
    mapping: &Mapping,
) -> ColumnDriftReport {
    let now = CurrentTables {
        relations,
        mapping,
        is_unicode: known.is_unicode,
        source: hash(&mapping.source),
    };
    let mut no_longer_synced = Vec::new();
    let mut columns: Vec<RecordedColumn> = Vec::new();
    for column in &known.columns {
        match now.standing(column) {
            RecordedColumnVerdict::Known(column) => columns.push(column),
            RecordedColumnVerdict::NoLongerSynced => no_longer_synced.push(column.name.clone()),
            RecordedColumnVerdict::Settled => {}
        }
    }
    let is_new = |column: &RecordedColumn| !columns.iter().any(|known| known.name == column.name);
    let new: Vec<_> = now.synced().filter(is_new).collect();
    let has_new = !new.is_empty() && !known.columns.is_empty();
    columns.extend(new);
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    let mut before = known.columns.clone();
    before.sort_by(|a, b| a.name.cmp(&b.name));
    ColumnDriftReport {
        is_changed: columns != before,
        has_new,
        columns,
        no_longer_synced,
    }
}

/// What happens in this run to a column that earlier runs recorded.
enum RecordedColumnVerdict {
    /// The column stays recorded, with the description that this holds.
    Known(RecordedColumn),
    /// The column is no longer synced because somebody changed the local table or the settings. The run reports that
    /// once.
    NoLongerSynced,
    /// The column is no longer synced, and the run does not report that: both tables have lost the column, or the
    /// setting `METER_SYNC_COLUMNS`, which lists the columns to sync, leaves it out.
    Settled,
}

/// The tables and settings as this run finds them. The columns that earlier runs recorded are compared with them.
struct CurrentTables<'a> {
    relations: &'a Relations,
    mapping: &'a Mapping,
    is_unicode: bool,
    source: String,
}

impl CurrentTables<'_> {
    /// Describes the columns that this run syncs, with `drift` set to `None`.
    fn synced(&self) -> impl Iterator<Item = RecordedColumn> {
        let both = self
            .relations
            .remote_columns
            .iter()
            .zip(&self.relations.columns);
        both.map(|(there, here)| RecordedColumn {
            name: here.name.clone(),
            source: self.source.clone(),
            remote_relation: self
                .relations
                .all_columns
                .remote_relation
                .unwrap_or_default(),
            remote_number: there.number,
            remote_type: self.storable(&there.exact_type),
            local_type: self.storable(&here.exact_type),
            drift: None,
        })
    }

    fn standing(&self, known: &RecordedColumn) -> RecordedColumnVerdict {
        match self.synced().find(|now| now.name == known.name) {
            Some(now) => RecordedColumnVerdict::Known(match self.replaced(known, &now) {
                Some(replaced) => replaced,
                None => self.retyped(known, now),
            }),
            None => self.gone(known),
        }
    }

    /// Checks whether the remote has renamed the column and given its old name to another column. Returns the column
    /// with this drift, or `None` if that is not so. Always returns `None` for a query, and if the remote table is
    /// another one than before, because column numbers can be compared only within one table.
    fn replaced(&self, known: &RecordedColumn, now: &RecordedColumn) -> Option<RecordedColumn> {
        let all_columns = &self.relations.all_columns;
        let is_same_source = known.source == now.source
            && known.remote_relation == now.remote_relation
            && all_columns.remote_relation == Some(known.remote_relation);
        if !is_same_source || known.remote_number == now.remote_number {
            return None;
        }
        let mut remote = all_columns.remote.iter();
        let before = remote.find(|there| there.number == known.remote_number)?;
        Some(RecordedColumn {
            drift: Some(ColumnDrift::Replaced(self.storable(&before.name))),
            remote_number: known.remote_number,
            ..now.clone()
        })
    }

    /// Returns the column as it is now, with drift if its remote type has changed. The new type does not count as drift
    /// if the local type or the setting of the source has changed too, or if the local column takes every value of the
    /// new type.
    fn retyped(&self, known: &RecordedColumn, now: RecordedColumn) -> RecordedColumn {
        let is_the_sites = known.source != now.source || known.local_type != now.local_type;
        if known.remote_type == now.remote_type || is_the_sites || self.takes_all(&now.name) {
            return now;
        }
        RecordedColumn {
            drift: Some(ColumnDrift::Retyped(now.remote_type)),
            remote_type: known.remote_type.clone(),
            ..now
        }
    }

    /// Whether the local column takes every value of its remote column: it has the same type, or the same type without
    /// a limit on length or precision.
    fn takes_all(&self, name: &str) -> bool {
        let both = self
            .relations
            .remote_columns
            .iter()
            .zip(&self.relations.columns);
        let mut named = both.filter(|(_, here)| here.name == name);
        named.all(|(there, here)| {
            let has_no_limit = here.exact_type == here.base_type;
            there.exact_type == here.exact_type || there.base_type == here.base_type && has_no_limit
        })
    }

    /// Decides what happens to a recorded column that is no longer synced.
    fn gone(&self, known: &RecordedColumn) -> RecordedColumnVerdict {
        let all_columns = &self.relations.all_columns;
        let mut here = all_columns.local.iter();
        let is_on_remote = all_columns
            .remote
            .iter()
            .any(|there| there.name == known.name);
        let may_be_synced = |here: &Column| {
            here.name == known.name && !here.is_generated && !here.is_always_identity
        };
        if !here.any(may_be_synced) {
            return match is_on_remote {
                true => RecordedColumnVerdict::NoLongerSynced,
                false => RecordedColumnVerdict::Settled,
            };
        }
        if self.mapping.columns.is_some() {
            return RecordedColumnVerdict::Settled;
        }
        if is_on_remote || known.source != self.source {
            return RecordedColumnVerdict::NoLongerSynced;
        }
        let renamed = all_columns.remote.iter().find(|there| {
            all_columns.remote_relation == Some(known.remote_relation)
                && there.number == known.remote_number
        });
        let renamed = renamed.map(|there| ColumnDrift::Renamed(self.storable(&there.name)));
        RecordedColumnVerdict::Known(RecordedColumn {
            drift: Some(renamed.unwrap_or(ColumnDrift::Missing)),
            ..known.clone()
        })
    }

    /// Returns the text in a form that the local database can store: characters outside ASCII are escaped, unless the
    /// local database can store every Unicode character.
    fn storable(&self, text: &str) -> String {
        if self.is_unicode || text.is_ascii() {
            return text.to_owned();
        }
        let escape = |c: char| match c.is_ascii() {
            true => c.to_string(),
            false => c.escape_unicode().to_string(),
        };
        text.chars().map(escape).collect()
    }
}

/// How many bytes are kept of the hash of the source, which is the name of the remote table or the query. The hash only
/// shows whether this setting has changed.
const HASH_BYTES: usize = 8;

pub(in crate::engine) fn hash(source: &SourceSetting) -> String {
    let text = match source {
        SourceSetting::Table(name) => format!("table {name}"),
        SourceSetting::Query(query) => format!("query {query}"),
    };
    hex_digest(&text, HASH_BYTES)
}
