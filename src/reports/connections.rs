//! The state of the remote and the local database in a status.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// The state of both databases.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Connections")]
pub struct ConnectionsReport {
    /// The central database, as of its last use by this process; the status does not query it.
    pub remote: ConnectionReport,
    /// The site's database, as of this status.
    pub local: ConnectionReport,
}

/// The state of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Connection")]
pub struct ConnectionReport {
    /// Whether the database worked when it was last used.
    pub state: ConnectionState,
    /// When it was last used; absent if not since this process started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<DateTime<Utc>>,
    /// What went wrong then; absent if nothing did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

impl ConnectionReport {
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
