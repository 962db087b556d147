//! The types of a status, which tells the health of one mirror or of all. All user interfaces show the same status.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::connections::ConnectionsReport;
use super::meter_report::{MeterMatch, MeterReport};
use super::run_difference::RunDifference;
use super::tenant_list::TenantList;
use super::verified_status::VerifiedStatus;
use crate::config::Schedule;
use crate::model::{
    ActivityState, Change, ChangeCursor, Health, HeldDeactivations, Pause, Phase, Rejection, RunId,
    RunRecord,
};
use crate::store::changes::ChangesSinceReport;

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

/// Whether the meters are in sync, and what was done last. It is given even while both databases are down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The answer in words.
    pub summary: String,
    /// What to do next, in one sentence.
    pub next_step: String,
    /// Whether the local meters can be relied on; with several tenants, the worst health of any.
    pub health: Health,
    /// Whether a run is in progress.
    pub activity: ActivityState,
    /// The current time by the local database's clock.
    pub now: DateTime<Utc>,
    /// The meter asked for (status tool only); absent if none was asked for or found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meter: Option<MeterReport>,
    /// Meters whose names contain the text asked for, at most 20 (status tool only); empty if none, absent if just one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<Vec<MeterMatch>>,
    /// What runs changed since the time asked for (status tool only); absent without `since`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes_since: Option<ChangesSinceReport>,
    /// How the meters differ between the ends of two runs (status tool only); absent without `compare_with`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<RunDifference>,
    /// The value of `before` for the next page of what was asked for; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_before: Option<String>,
    /// Whether the log has older runs than those in `history`.
    #[serde(skip)]
    pub has_more_runs: bool,
    /// What was left out to keep the answer short, and how to get it; absent if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
    /// The tenants, counted and listed; absent unless this process syncs several and none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<TenantList>,
    /// The tenant whose meters are synced; absent if it is not known, and with `tenants`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<NamedTenant>,
    /// When all meters were last known to be in sync, after a run or a sweep; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<DateTime<Utc>>,
    /// When a sweep (check of all tenants) last found the meters unchanged; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<DateTime<Utc>>,
    /// When the contents of all rows were last compared after a run or found equal; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<DateTime<Utc>>,
    /// The last proof that both sides are equal; absent if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<VerifiedStatus>,
    /// The last run that ended, dry runs excluded; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunRecord>,
    /// The deactivations because of which the last run was refused, for a person to approve; absent if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldDeactivations>,
    /// The pause, while which no run changes the meters; absent if the syncs are not paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// When the next scheduled run or retry is due; absent if the schedule is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<DateTime<Utc>>,
    /// When runs start by themselves.
    pub schedule: ScheduleStatus,
    /// How many local meters the tenant has; absent if they could not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meters: Option<MeterCounts>,
    /// The state of both databases.
    pub connections: ConnectionsReport,
    /// The run in progress; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<RunningStatus>,
    /// The latest runs, newest first; or only the run asked for.
    pub history: Vec<RunRecord>,
    /// The changes of the run asked for, or else of `last_run`; absent unless they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
    /// The rejected rows of the same run, which could not be stored; absent if `changes` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Vec<Rejection>>,
    /// What else deserves attention, one sentence each.
    pub warnings: Vec<String>,
    /// How many runs have ended since the last success, dry runs excluded; `None` while the log cannot be read. Only
    /// the metrics show it.
    #[serde(skip)]
    pub consecutive_failures: Option<i64>,
    /// How many synced columns have changed on the remote in a way that no setting has settled; `None` while that is
    /// not known. Only the metrics show it.
    #[serde(skip)]
    pub drifted_columns: Option<usize>,
    /// Whether the last comparison of all rows found that both sides differ although no row had changed since the last
    /// run; `None` while that is not known. Only the metrics show it.
    #[serde(skip)]
    pub is_difference_unexplained: Option<bool>,
    /// How many of several tenants have a run in progress, in this or another process; `None` while that is not known.
    /// Only the metrics show it.
    #[serde(skip)]
    pub running_tenants: Option<usize>,
}

impl Status {
    /// Sets `next_before`, the cursor for the next page, from the last entry of the list that the status shows page by
    /// page: a meter's changes, the changes since a time, or past runs. Sets it to `None` on the last page.
    pub fn turn_page(&mut self) {
        let last = if let Some(meter) = &self.meter {
            let last = meter.changes.last().filter(|_| meter.has_more);
            last.map(|change| (change.run_id, Some(change.n)))
        } else if let Some(found) = &self.changes_since {
            found.next_before().map(|cursor| (cursor.run, cursor.n))
        } else {
            let last = self.history.last().filter(|_| self.has_more_runs);
            last.map(|run| (run.run_id, None))
        };
        self.next_before = last.map(|(run, n)| ChangeCursor { run, n }.to_string());
    }
}

/// The tenant: the customer organisation whose meters are synced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TenantStatus")]
pub struct NamedTenant {
    /// The tenant's id.
    pub id: String,
    /// The tenant's name; absent if the local database does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// How many meters of the tenant the local table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterCounts {
    /// Meters with `active` true.
    pub active: i64,
    /// All other meters.
    pub inactive: i64,
    /// When the meters were counted; absent if just now. The count of a large table is used for up to two minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<DateTime<Utc>>,
}

/// A run in progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunningStatus {
    /// The run's id.
    pub run_id: RunId,
    /// What the run is doing; absent if another process runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Milliseconds since the run started.
    pub elapsed_ms: i64,
    /// How many remote rows were read so far; absent if another process runs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
}

/// When runs start by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleStatus {
    /// The schedule as a cron line, or `off`.
    pub line: String,
    /// The time zone of the schedule, such as `Europe/Berlin`.
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
