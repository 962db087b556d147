//! The query for past runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RunId;

/// The query for one page of past runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunsQuery {
    /// The maximum number of runs to return.
    pub limit: u32,
    /// The page has only runs older than this one; `None` starts with the newest run.
    pub before: Option<RunId>,
    /// Which kind of runs to return.
    pub show: RunFilter,
}

/// Which runs to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunFilter {
    /// All runs.
    #[default]
    All,
    /// Runs that did not succeed: `partial`, `failed`, `refused` and `interrupted`.
    Problems,
    /// Runs that changed meters; no dry runs.
    Changes,
}

impl RunFilter {
    /// Every filter.
    pub const ALL: [Self; 3] = [Self::All, Self::Problems, Self::Changes];

    /// Returns the name of the filter in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Problems => "problems",
            Self::Changes => "changes",
        }
    }
}
