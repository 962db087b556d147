//! The types of those parts of a status that other modules use as well: the tenant, the meter counts, the states of
//! both databases, and the run in progress.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::model::{Phase, RunId};
use crate::tenants::Tenant;

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

impl From<&Tenant> for TenantStatus {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.as_str().to_owned(),
            name: tenant.name.clone(),
        }
    }
}

/// How many meters the local table holds for the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeterCounts {
    /// With `active = true`.
    pub active: i64,
    /// All others.
    pub inactive: i64,
    /// When they were counted; absent if just now. A count that took long is used again for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_at: Option<DateTime<Utc>>,
}

/// What is known of both databases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// The central database; never asked for a status, so as of the last run.
    pub remote: Connection,
    /// The site's database, asked just now.
    pub local: Connection,
}

/// What is known of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

impl Connection {
    /// Returns the state of a database that this process has not used yet. `is_configured` is whether its URL is set.
    pub(crate) fn unused(is_configured: bool) -> Self {
        Self {
            state: match is_configured {
                true => ConnectionState::Unknown,
                false => ConnectionState::NotConfigured,
            },
            ..Self::default()
        }
    }
}

/// How a database stood when last used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Its URL is not set.
    NotConfigured,
    /// Not used yet by this process.
    #[default]
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
