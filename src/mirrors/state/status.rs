//! The types of a status, which tells the health of one mirror or of all. All user interfaces show the same status.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::health::{ActivityState, Health};
use super::meter_report::{MeterMatch, MeterReport};
use super::tenant_list::TenantList;
use crate::config::Schedule;
use crate::mirrors::status_part_types::{Connections, MeterCounts, RunningStatus, TenantStatus};
use crate::model::{Change, ChangeCursor, HeldDeactivations, Rejection, RunId};
use crate::store::changes::ChangesSinceReport;
pub use crate::store::log::RunRecord;

/// The parameters of a request for the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusQuery {
    /// How many past runs to list, newest first. The range is 0 to 50.
    pub history: u32,
    /// The run whose changes to list; `history` then lists only this run. If `None`, the changes of the last run are
    /// listed.
    pub run_id: Option<RunId>,
    /// Whether to list the changes and the rejected rows (which could not be stored) of that run.
    pub include_changes: bool,
    /// The maximum number of changes to list. The range is 1 to 200.
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

impl StatusQuery {
    /// Whether any parameter differs from its default, so that the query asks about past runs. Only the status of one
    /// mirror answers that. Parameters with their default values do not count, because some MCP hosts send every
    /// default.
    pub fn is_about_runs(&self) -> bool {
        *self != Self::default()
    }
}

/// The status as the tool, REST and `status --json` give it. It is given with both databases down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The answer in one sentence.
    pub summary: String,
    /// What to do next, in one sentence.
    pub next_step: String,
    /// Whether the local meters can be relied on.
    pub health: Health,
    /// What the process is doing.
    pub activity: ActivityState,
    /// When this was told, by the local database's clock.
    pub now: DateTime<Utc>,
    /// The meter asked for; absent unless one was found. For the status tool alone, like the next four.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterReport>,
    /// The meters whose names hold what was asked for, where they are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<MeterMatch>>,
    /// What syncs changed since the time asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes_since: Option<ChangesSinceReport>,
    /// `before` for the next page of what was asked for; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<String>,
    /// Whether there are runs before those of `history`.
    #[serde(skip)]
    pub has_more_runs: bool,
    /// What was left out to keep the answer short, and how to get it; absent where nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// All tenants, counted and listed; absent unless this process keeps several and none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<TenantList>,
    /// The organisation whose meters are mirrored; absent while it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantStatus>,
    /// When the last successful run ended; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<DateTime<Utc>>,
    /// When a sweep of many tenants last found the meters unchanged; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<DateTime<Utc>>,
    /// When a run that compared what all rows of both sides hold, itself or right after, ended; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<DateTime<Utc>>,
    /// The last run that ended; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunRecord>,
    /// The deactivations that the last run held back, for a person to decide about; absent where it held none back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldDeactivations>,
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
    /// How many runs have ended since the last success, dry runs excluded; `None` while the log cannot be read. For the
    /// metrics alone, like the next.
    #[serde(skip)]
    pub consecutive_failures: Option<i64>,
    /// How many synced columns have changed on the remote and are not settled; `None` while that is not known.
    #[serde(skip)]
    pub drifted_columns: Option<usize>,
}

impl Status {
    /// Sets `next_before`, the cursor for the next page, from the last entry of the list that the status shows page by
    /// page: a meter's changes, the changes since a time, or past runs. Sets it to `None` on the last page.
    pub fn turn_page(&mut self) {
        let last = if let Some(meter) = &self.meter {
            let last = meter.changes.last().filter(|_| meter.has_more);
            last.map(|change| (change.run_id, Some(change.n)))
        } else if let Some(found) = &self.changes_since {
            let last = found.changes.last().filter(|_| found.has_more);
            last.map(|change| (change.run_id, Some(change.n)))
        } else {
            let last = self.history.last().filter(|_| self.has_more_runs);
            last.map(|run| (run.run_id, None))
        };
        self.next_before = last.map(|(run, n)| ChangeCursor { run, n }.to_string());
    }
}

/// The schedule as set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleStatus {
    /// The cron line, or `off`.
    pub line: String,
    /// The time zone it is read in.
    pub timezone: String,
}

impl ScheduleStatus {
    pub(crate) fn of(schedule: Option<&Schedule>) -> Self {
        Self {
            line: schedule.map_or("off", Schedule::line).to_owned(),
            timezone: schedule.map_or("UTC", |s| s.zone().name()).to_owned(),
        }
    }
}
