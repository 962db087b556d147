//! The types for the meters that a question names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Fields, held_deactivations};

use crate::mirrors::meter_table::NAME;
use crate::store::changes::MeterChange;

/// A meter and its history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterReport {
    /// Its key.
    pub key: Fields,
    /// Its name, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it is active here; absent where there is no row, or no such column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// How it stands in one sentence, and why it is inactive where it is.
    pub summary: String,
    /// Its local row, the site's own columns included; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<Fields>,
    /// What runs changed of it, the latest first, 100 at most unless the request sets another limit.
    pub changes: Vec<MeterChange>,
    /// Its key as the log has it.
    #[serde(skip)]
    pub(crate) key_json: String,
    /// Whether there are changes before these.
    #[serde(skip)]
    pub has_more: bool,
}

impl MeterReport {
    /// The name of the meter, followed by its summary.
    pub(crate) fn in_words(&self) -> String {
        let mut known = self.key.clone();
        if let Some(name) = &self.name {
            known.insert(NAME.to_owned(), name.as_str().into());
        }
        format!("{}: {}", held_deactivations::name(&known), self.summary)
    }
}

/// A meter among several whose names hold what was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterMatch {
    /// Its key.
    pub key: Fields,
    /// Its name.
    pub name: Option<String>,
    /// Whether it is active here; absent where the table does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The key as text, as an address has it.
    #[serde(skip)]
    pub key_texts: Vec<String>,
}
