//! The pause of a mirror: while it lasts, no run changes the mirror's meters.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pause, during which no run changes the meters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// When the pause began.
    pub since: DateTime<Utc>,
    /// Who paused; absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, in that person's words.
    pub reason: String,
    /// When the pause ends by itself; absent if somebody must resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

impl Pause {
    /// Whether the pause has not ended by itself at `now`.
    pub fn holds_at(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// A person's request to pause a mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseRequest {
    /// Who pauses; `None` if not known.
    pub by: Option<String>,
    /// Why.
    pub reason: String,
    /// When the pause is to end by itself; `None` if somebody will resume.
    pub until: Option<DateTime<Utc>>,
}
