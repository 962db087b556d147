//! The report of one run with everything that the log holds about it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run_report;
use crate::model::{HeldDeactivations, PhaseTime, Rejection, RunRecord};

/// One run with all that is known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunDetail {
    /// The record of the run in the log.
    pub run: RunRecord,
    /// The result of the run in one sentence.
    pub summary: String,
    /// What to do next, in one sentence.
    pub next_step: String,
    /// How long the run was in each phase; empty while it runs.
    pub phases: Vec<PhaseTime>,
    /// How many changes of the run the log has.
    pub changes_logged: i64,
    /// The rows that the run rejected, at most the first 100,000; `counts.rejected` of the run is the full number.
    pub rejected: Vec<Rejection>,
    /// The deactivations because of which the run was refused, or a sync would be; absent if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldDeactivations>,
    /// Whether a person can still approve the deactivations in `held_back`; not after a later sync has succeeded.
    pub awaits_decision: bool,
}

impl RunDetail {
    /// Describes a run by its record alone, without phases, rejected rows and held-back deactivations.
    pub(crate) fn of(run: RunRecord) -> Self {
        Self {
            summary: run_report::summary(&run),
            next_step: run_report::next_step(&run),
            run,
            phases: Vec::new(),
            changes_logged: 0,
            rejected: Vec::new(),
            held_back: None,
            awaits_decision: false,
        }
    }
}
