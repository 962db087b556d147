//! The types for the meters that a question names.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{MeterFields, held_deactivations};

use crate::store::changes::MeterChange;
use crate::store::rejected_rows::RejectedSince;

/// A meter, and what runs changed of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterReport {
    /// The meter's key: its key columns and their values.
    pub key: MeterFields,
    /// The meter's name; absent if the local table does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the meter is active; absent if it has no local row, or the table has no such column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Whether the meter is active and, if it is not, why, in one or two sentences.
    pub summary: String,
    /// The meter's local row, with all columns of the local table; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterFields>,
    /// Why the last run could not store the meter's row; absent if it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<RejectedSince>,
    /// What runs changed of the meter, newest first: at most 100, or `changes_limit` of the status tool.
    pub changes: Vec<MeterChange>,
    /// How the meter was at the time asked for; absent if no time was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<PastMeter>,
    /// The meter's key as JSON text, as the log stores it.
    #[serde(skip)]
    pub(crate) key_json: String,
    /// Whether the log has older changes of the meter than those in `changes`.
    #[serde(skip)]
    pub has_more: bool,
}

impl MeterReport {
    /// Returns the meter's name and key (only the key if it has no name), followed by how it was at the time asked for,
    /// if any, and the summary.
    pub(crate) fn in_words(&self) -> String {
        let mut known = self.key.clone();
        if let Some(name) = &self.name {
            known.insert("name".to_owned(), name.as_str().into());
        }
        let past = self.past.as_ref();
        let past = past.map_or_else(String::new, |past| format!("{} ", past.summary));
        let name = held_deactivations::name(&known);
        format!("{name}: {past}{}", self.summary)
    }
}

/// A meter as it was at a time in the past: its row, without the changes that runs have made since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PastMeter {
    /// The time.
    pub at: DateTime<Utc>,
    /// How the meter was, what syncs have changed since, and whether the log has all of it, in words.
    pub summary: String,
    /// Whether the local table had the meter; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was_here: Option<bool>,
    /// Whether the meter was active; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The meter's row. Columns that no sync has changed are as they are now. Absent if there was no row, or if it is
    /// not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterFields>,
    /// Whether the log has each change of a sync since then. Changes that others made here are never in the log.
    pub is_complete: bool,
}

/// One of the meters whose names contain the text asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterMatch {
    /// The meter's key: its key columns and their values.
    pub key: MeterFields,
    /// The meter's name.
    pub name: Option<String>,
    /// Whether the meter is active; absent if the table has no such column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The values of the key columns as text, in key order.
    #[serde(skip)]
    pub key_texts: Vec<String>,
}
