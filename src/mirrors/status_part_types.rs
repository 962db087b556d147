//! The types of those parts of a status that other modules use as well: the tenant, the meter counts, the states of
//! both databases, and the run in progress.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::model::{Phase, RunId};
use crate::tenants::Tenant;

/// The tenant: the customer organisation whose meters are synced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantStatus {
    /// The tenant's id.
    pub id: String,
    /// The tenant's name; absent if the local database does not have it.
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

/// The state of both databases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connections {
    /// The central database, as of its last use by this process; the status does not query it.
    pub remote: Connection,
    /// The site's database, as of this status.
    pub local: Connection,
}

/// The state of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connection {
    /// Whether the database worked when it was last used.
    pub state: ConnectionState,
    /// When it was last used; absent if not since this process started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<DateTime<Utc>>,
    /// What went wrong then; absent if nothing did.
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

    /// Returns the state of a database that was used at `now`: `Failed` if there was an error, otherwise `Ok`.
    pub(crate) fn used(error: Option<Failure>, now: DateTime<Utc>) -> Self {
        Self {
            state: match error {
                Some(_) => ConnectionState::Failed,
                None => ConnectionState::Ok,
            },
            checked_at: Some(now),
            error,
        }
    }
}

/// Whether a database worked when it was last used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// The URL of the database is not set.
    NotConfigured,
    /// This process has not used the database yet.
    #[default]
    Unknown,
    /// The database worked.
    Ok,
    /// The database could not be reached, or returned an error.
    Failed,
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
