//! The report of what differs in the meters between the ends of two runs.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Change, RunId};

/// What differs in the meters between the ends of two runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunDifference {
    /// The difference in words.
    pub summary: String,
    /// The earlier run.
    pub from_run: RunId,
    /// When it ended.
    pub from: DateTime<Utc>,
    /// The later run.
    pub to_run: RunId,
    /// When it ended.
    pub to: DateTime<Utc>,
    /// How many runs changed meters after the earlier run, up to and with the later one.
    pub runs: i64,
    /// How many meters differ; absent if there are more changes than can be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meters: Option<i64>,
    /// The meters that differ, by key, each with the values at the end of the earlier and of the later run; at most as many
    /// as asked for.
    pub changes: Vec<Change>,
    /// Whether the log still has all that these runs changed, so that no more meters or columns can differ.
    pub is_complete: bool,
}
