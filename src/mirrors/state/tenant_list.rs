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

/// How many tenants this process syncs, and a page of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantList {
    /// How many tenants there are that the caller may see.
    pub total: i64,
    /// How many tenants have each health.
    pub by_health: HealthCounts,
    /// One page of the tenants that match the request, the worst health first.
    pub list: Vec<TenantSummary>,
    /// How many tenants match the request, on all pages together.
    pub matching: i64,
    /// The last sweep (check of all tenants) that ended; absent before the first, or if the caller may see only some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sweep: Option<SweepRecord>,
}

/// How many tenants have each health.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCounts {
    /// Tenants whose last run did not succeed; all, if the local database does not answer.
    pub failing: i64,
    /// Tenants that have missed three or more scheduled runs or sweeps since their last success.
    pub stale: i64,
    /// Tenants that have missed one or two scheduled runs or sweeps since their last success.
    pub late: i64,
    /// Tenants for which no run has ended yet.
    pub never_run: i64,
    /// Tenants that cannot be synced because a setting is missing.
    pub not_configured: i64,
    /// Tenants in sync while the schedule is off.
    pub paused: i64,
    /// Tenants in sync.
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

/// The state of one tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantSummary {
    /// The tenant's id, as the argument `tenant_id` takes it.
    pub tenant_id: String,
    /// The tenant's name; absent if the local database does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the tenant's local meters can be relied on.
    pub health: Health,
    /// Whether a run of the tenant is in progress.
    pub activity: ActivityState,
    /// When the meters were last known to be in sync, after a run or a sweep; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<DateTime<Utc>>,
    /// When a sweep (check of all tenants) last found the meters unchanged; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<DateTime<Utc>>,
    /// The last run that ended, dry runs excluded; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRunSummary>,
}
