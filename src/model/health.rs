//! The health of mirrors, and whether a run is in progress.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text_enum;

text_enum! {
    /// Whether the local meters can be relied on.
    #[derive(Default)]
    Health {
        /// A database URL is not set, or the tenant is not known.
        #[default]
        NotConfigured = "not_configured",
        /// No run has ended yet; dry runs do not count.
        NeverRun = "never_run",
        /// The last run succeeded, and no scheduled run is overdue.
        Ok = "ok",
        /// The last run succeeded, but one or two scheduled runs or sweeps were missed since.
        Late = "late",
        /// The last run (or the check of all tenants) did not succeed, or the local database does not answer.
        Failing = "failing",
        /// The last run succeeded, but three or more scheduled runs or sweeps were missed, or it has a future date.
        Stale = "stale",
        /// The last run succeeded; the schedule is off.
        Paused = "paused",
    }
}

/// Whether a run is in progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivityState {
    /// No run is in progress.
    #[default]
    Idle,
    /// A run is in progress, in this process or another one.
    Running,
    /// A scheduled run has failed and will be tried again.
    Waiting,
}

impl ActivityState {
    pub(crate) fn of(is_running: bool, is_waiting: bool) -> Self {
        match is_running {
            true => Self::Running,
            false if is_waiting => Self::Waiting,
            false => Self::Idle,
        }
    }
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
