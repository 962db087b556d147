//! A page of the list of past runs, and a page of the changes of one run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Change, RunId, RunRecord};

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
