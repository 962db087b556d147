//! What a caller is told of the whole: health derived once, shown alike on every surface.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::meter::{
    Change, Counts, HeldBack, Outcome, Phase, Rejection, RunId, Trigger, text_enum,
};

text_enum! {
    /// Whether the local meters can be relied on, from a closed set.
    Health {
        /// A database URL or the tenant is missing.
        NotConfigured = "not_configured",
        /// No run has ended yet.
        NeverRun = "never_run",
        /// The last run succeeded and the next is not overdue.
        Ok = "ok",
        /// The last run succeeded, but a slot has passed without a run.
        Late = "late",
        /// The last run did not succeed.
        Failing = "failing",
        /// No run has succeeded for three slots or more.
        Stale = "stale",
        /// The schedule is off.
        Paused = "paused",
    }
}

/// What the process is doing, apart from health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivityState {
    /// Nothing.
    Idle,
    /// A run is in progress, here or in another process.
    Running,
    /// A failed scheduled run waits for its retry.
    Waiting,
}

/// What a caller asks of the status.
#[derive(Clone, Debug)]
pub struct StatusQuery {
    /// How many past runs to list, newest first (0 to 50).
    pub history: u32,
    /// The run to show changes of, and to list alone in `history`; the last run when absent.
    pub run_id: Option<RunId>,
    /// Whether to list the run's changes and rejected rows.
    pub include_changes: bool,
    /// How many changes to list at most (1 to 200).
    pub changes_limit: u32,
}

impl Default for StatusQuery {
    fn default() -> Self {
        Self {
            history: 5,
            run_id: None,
            include_changes: false,
            changes_limit: 20,
        }
    }
}

/// The status as the tool, REST and `status --json` give it. It is given with both databases down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Whether the local meters can be relied on.
    pub health: Health,
    /// What the process is doing.
    pub activity: ActivityState,
    /// The answer in one sentence.
    pub summary: String,
    /// What to do next, in one sentence.
    pub next_step: String,
    /// The organisation whose meters are mirrored; absent while it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantStatus>,
    /// When the last successful run ended; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<DateTime<Utc>>,
    /// When a run that compared what all rows of both sides hold, itself or right after, ended; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_at: Option<DateTime<Utc>>,
    /// The last run that ended; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunRecord>,
    /// The deactivations that the last run held back, for a person to decide about; absent where it held none back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
    /// When the schedule fires next; absent when it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<DateTime<Utc>>,
    /// The schedule.
    pub schedule: ScheduleStatus,
    /// Local meters; absent while the local database cannot be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meters: Option<MeterCounts>,
    /// What is known of both databases.
    pub connections: Connections,
    /// The run in progress, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningStatus>,
    /// Past runs, newest first.
    pub history: Vec<RunRecord>,
    /// The changes of the run asked for; absent unless asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
    /// The rejected rows of the run asked for; absent unless changes were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Vec<Rejection>>,
    /// What else deserves attention, a sentence each.
    pub warnings: Vec<String>,
}

/// The organisation whose meters are mirrored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantStatus {
    /// Its id on the remote.
    pub id: String,
    /// Its name, when the local `tenant` table has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The schedule as set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleStatus {
    /// The cron line, or `off`.
    pub line: String,
    /// The time zone it is read in.
    pub timezone: String,
}

/// How many meters the local table holds for the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterCounts {
    /// With `active = true`.
    pub active: i64,
    /// All others.
    pub inactive: i64,
    /// When they were counted; absent if just now. Where counting takes long a count is used again for some
    /// seconds, a minute at most, and never after a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<DateTime<Utc>>,
}

/// What is known of both databases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// The central database; never asked for a status, so as of the last run.
    pub remote: Connection,
    /// The site's database, asked just now.
    pub local: Connection,
}

/// What is known of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// How it stood when last used.
    pub state: ConnectionState,
    /// When that was; absent if never since this process started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<DateTime<Utc>>,
    /// What went wrong then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// How a database stood when last used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Its URL is not set.
    NotConfigured,
    /// Not used yet by this process.
    Unknown,
    /// It answered.
    Ok,
    /// It did not answer, or refused.
    Failed,
}

/// The run in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunningStatus {
    /// Its id.
    pub run_id: RunId,
    /// Where it is; absent when another process runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Milliseconds since it started.
    pub elapsed_ms: i64,
    /// Remote rows read so far; absent when another process runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
}

/// One run as the log holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Its id.
    pub run_id: RunId,
    /// What asked for it.
    pub trigger: Trigger,
    /// Who asked for it, as far as the surface knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Why, in the words of who asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it only planned.
    pub dry_run: bool,
    /// Its place in the order of runs, which the local database gives; `None` where it has none (yet).
    #[serde(skip)]
    pub seq: Option<i64>,
    /// When it started, by the local database's clock.
    pub started_at: DateTime<Utc>,
    /// When it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<DateTime<Utc>>,
    /// How it ended; absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What it changed.
    pub counts: Counts,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Bytes of row data read from the remote.
    pub remote_bytes: i64,
    /// Whether the log holds fewer changes than were made, by `METER_SYNC_CHANGE_LIMIT` or `METER_SYNC_KEEP_RUNS`.
    pub changes_truncated: bool,
    /// What deserves attention though the run did what it was to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

impl RunRecord {
    /// Whether it comes after the other in the order of runs. One that never got a place in it is placed by its time.
    pub(super) fn is_after(&self, other: &Self) -> bool {
        match (self.seq, other.seq) {
            (Some(ours), Some(theirs)) => ours > theirs,
            (_, _) => self.started_at > other.started_at,
        }
    }
}
