//! The progress of a run, as user interfaces report it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Phase, RunId};

/// The progress of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunProgress {
    /// The run's id.
    pub run_id: RunId,
    /// What the run is doing.
    pub phase: Phase,
    /// How many remote rows were read so far.
    pub rows: i64,
    /// How many bytes of row data the remote sent so far.
    pub remote_bytes: i64,
    /// Milliseconds since the run started.
    pub elapsed_ms: i64,
}
