//! The types for the status of many mirrors: the number of mirrors in each health, and one page of the mirrors, the
//! worst first.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mirrors::state::health::{ActivityState, Health};
pub use crate::store::read_mirror_states::LastRunSummary;
use crate::store::sweeps::SweepRecord;

/// The parameters of a request for the status of many mirrors.
#[derive(Clone, Debug)]
pub struct TenantsQuery {
    /// The maximum number of tenants to list. The range is 1 to 200.
    pub limit: u32,
    /// The `next_before` of the previous page; `None` for the first page.
    pub before: Option<String>,
    /// Lists only tenants whose id or name contains this text, ignoring case; `None` lists all.
    pub search: Option<String>,
    /// Lists only tenants with this health; `None` lists all.
    pub health: Option<Health>,
    /// The ids of the tenants that the caller may see; `None` if the caller may see all.
    pub visible: Option<Vec<String>>,
}

impl Default for TenantsQuery {
    fn default() -> Self {
        Self {
            limit: 20,
            before: None,
            search: None,
            health: None,
            visible: None,
        }
    }
}

/// All tenants whose meters this process keeps in sync, counted, and a page of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantList {
    /// How many there are.
    pub total: i64,
    /// How many of them are in which health.
    pub by_health: HealthCounts,
    /// A page of those asked for, the worst first.
    pub list: Vec<TenantSummary>,
    /// How many match what was asked for, on all pages.
    pub matching: i64,
    /// The last sweep that ended: the look at all of them; absent before the first, and for who may see only some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sweep: Option<SweepRecord>,
}

/// How many tenants are in which health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCounts {
    /// The last run did not succeed.
    pub failing: i64,
    /// No run or sweep has succeeded for three slots or more.
    pub stale: i64,
    /// A slot has passed without a run or sweep.
    pub late: i64,
    /// No run has ended yet.
    pub never_run: i64,
    /// Not configured.
    pub not_configured: i64,
    /// In sync, with the schedule off.
    pub paused: i64,
    /// In sync.
    pub ok: i64,
}

impl HealthCounts {
    /// Returns the number of tenants with this health.
    pub fn of(mut self, health: Health) -> i64 {
        *self.count(health)
    }

    pub(crate) fn add(&mut self, health: Health) {
        *self.count(health) += 1;
    }

    fn count(&mut self, health: Health) -> &mut i64 {
        match health {
            Health::Failing => &mut self.failing,
            Health::Stale => &mut self.stale,
            Health::Late => &mut self.late,
            Health::NeverRun => &mut self.never_run,
            Health::NotConfigured => &mut self.not_configured,
            Health::Paused => &mut self.paused,
            Health::Ok => &mut self.ok,
        }
    }
}

/// Every health, the worst first.
pub const WORST_FIRST: [Health; 7] = [
    Health::Failing,
    Health::Stale,
    Health::Late,
    Health::NeverRun,
    Health::NotConfigured,
    Health::Paused,
    Health::Ok,
];

/// What is known of one tenant among many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantSummary {
    /// Its id, to be given as `tenant_id`.
    pub tenant_id: String,
    /// Its name, when the local database has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether its local meters can be relied on.
    pub health: Health,
    /// Whether a run of it is in progress.
    pub activity: ActivityState,
    /// When its meters were last known to be in sync: the end of a successful run, or a sweep that found them unchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<DateTime<Utc>>,
    /// When a sweep last found it unchanged; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<DateTime<Utc>>,
    /// The last run that ended; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRunSummary>,
}
