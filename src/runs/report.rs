//! What a caller is told of one run: the object that `sync --json`, the trigger tool and REST share.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::meter::{Change, Counts, Outcome, RunId};

/// Whether a run has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It has ended; `outcome` says how.
    Finished,
    /// It goes on; ask for the status to follow it.
    Running,
    /// Nothing was started: the run named by `run_id` was in progress already.
    AlreadyRunning,
}

/// One run as `sync --json`, the trigger tool's `structuredContent` and `POST /api/v1/sync` give it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunReport {
    /// The run's id; with `already_running` the id of the run in progress.
    pub run_id: RunId,
    /// Whether it has ended.
    pub state: RunState,
    /// How it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Whether it only plans.
    pub dry_run: bool,
    /// What changed (for a dry run: would change); all zero while it runs.
    pub counts: Counts,
    /// The first changes, in the order they were made.
    pub changes: Vec<Change>,
    /// How many changes there are in all.
    pub changes_total: i64,
    /// Whether `changes` holds fewer than `changes_total`.
    pub truncated: bool,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// How long it took or has taken so far, in milliseconds.
    pub duration_ms: i64,
    /// Bytes of row data read from the remote.
    pub remote_bytes: i64,
    /// Why it did not succeed; absent when it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The result in one sentence.
    pub summary: String,
    /// What to do next, in one sentence.
    pub next_step: String,
}
