//! A page of the list of past runs, a page of the changes of one run, and a page of the changes since a time.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Change, RunId, RunRecord};
pub use crate::store::changes::ChangesSinceReport;

/// A page of runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunsPage {
    /// The runs, newest first; a run in progress has no `outcome`.
    pub runs: Vec<RunRecord>,
    /// The value of `before` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<RunId>,
}

/// A page of the changes of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangesPage {
    /// Deactivations first, then updates and reactivations, inserts, and unique values cleared on inactive meters.
    pub changes: Vec<Change>,
    /// The value of `after` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_after: Option<i64>,
}

/// A page of what all runs have changed since a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangesSincePage {
    /// How many meters were changed, and whether the log has all of it, in words.
    pub summary: String,
    /// The counts and the changes.
    pub changes_since: ChangesSinceReport,
    /// The value of `before` for the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<String>,
}

impl ChangesSincePage {
    /// Makes a page of a report. `summary` describes it in words.
    pub(crate) fn of(found: ChangesSinceReport, summary: String) -> Self {
        let next_before = found.next_before().map(|cursor| cursor.to_string());
        Self {
            summary,
            changes_since: found,
            next_before,
        }
    }
}
