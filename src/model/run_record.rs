//! The record of one run, as the log of runs holds it, and its short form in the list of tenants.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Counts, RunId, RunOutcome, RunTrigger};
use crate::error::{ErrorCode, Failure};

/// One run: a sync of one tenant's meters, or a dry run of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The run's id.
    pub run_id: RunId,
    /// What requested the run.
    pub trigger: RunTrigger,
    /// Who requested the run, such as the name of a token, a client or an account; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why the run was requested, in the words of the requester; absent if no reason was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the run only found out what a sync would change, and changed no meter.
    pub dry_run: bool,
    /// The run's number in the order of runs, which the local database assigns; `None` if it has none (yet).
    #[serde(skip)]
    pub seq: Option<i64>,
    /// When the run started, by the local database's clock.
    pub started_at: DateTime<Utc>,
    /// When the run ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// How the run ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
    /// How many meters the run changed (a dry run: would change).
    pub counts: Counts,
    /// Why the run did not succeed, or why a dry run's changes would be refused; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The id of a newer run in this list with the same `error`, which is then absent here (status tool only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_error_as: Option<RunId>,
    /// How many bytes of row data the remote sent.
    pub remote_bytes: i64,
    /// Whether the log has only some of the changes (see `METER_SYNC_CHANGE_LIMIT`, `METER_SYNC_KEEP_RUNS`).
    pub changes_truncated: bool,
    /// What else deserves attention about the run; absent if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// The last run of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LastRunSummary {
    /// The run's id.
    pub run_id: RunId,
    /// How the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<RunOutcome>,
    /// When the run started, by the local database's clock.
    pub started_at: DateTime<Utc>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// How many meters the run changed.
    pub changes: i64,
    /// The code of the error because of which the run did not succeed; absent if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<ErrorCode>,
    /// The message of that error; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What the run warned of; absent if there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl RunRecord {
    /// Whether this run comes after the other. Compares `seq`, or the start times if one of them has no `seq`.
    pub fn is_after(&self, other: &Self) -> bool {
        match (self.seq, other.seq) {
            (Some(ours), Some(theirs)) => ours > theirs,
            (_, _) => self.started_at > other.started_at,
        }
    }

    /// How long the run took, or has taken at the time `now`, in milliseconds. 0 if a clock was set back meanwhile.
    pub fn duration_ms(&self, now: DateTime<Utc>) -> i64 {
        let duration = self.finished_at.unwrap_or(now) - self.started_at;
        duration.num_milliseconds().max(0)
    }

    /// Sets the outcome to interrupted, because the process of the run has died. Changes only this record, not the log.
    pub fn interrupt(&mut self) {
        self.outcome = Some(RunOutcome::Interrupted);
        self.error = Some(Self::interruption());
    }

    /// Returns the error of a run whose process has died.
    pub fn interruption() -> Failure {
        Failure::new(
            ErrorCode::Interrupted,
            "The process that ran it went away before it ended; the meters were left as they were.",
        )
    }
}
