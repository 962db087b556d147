//! The types for the status of many mirrors: the number of mirrors in each health, and one page of the mirrors, the
//! worst first.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{ActivityState, Health, HealthCounts, LastRunSummary, Pause};
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
    /// How many tenants a person has paused; they count as paused in `by_health`, too.
    #[serde(skip)]
    pub paused_by_people: i64,
    /// One page of the tenants that match the request, the worst health first.
    pub list: Vec<TenantSummary>,
    /// How many tenants match the request, on all pages together.
    pub matching: i64,
    /// The last sweep (check of all tenants) that ended; absent before the first, or if the caller may see only some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sweep: Option<SweepRecord>,
}

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
    /// The pause of the tenant's syncs; absent if they are not paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// The last run that ended, dry runs excluded; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRunSummary>,
}
