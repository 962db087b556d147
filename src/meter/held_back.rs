//! Deactivations that need a person's approval.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fields, RunId};

/// The deactivations that the brake held back, for a person to decide about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeldBack {
    /// Identifies the set of meters, in this tenant and table: the same set has the same digest.
    pub digest: String,
    /// How many meters would become inactive: those gone and those switched off.
    pub deactivated: i64,
    /// How many of them the remote has no more.
    #[serde(default)]
    pub gone: i64,
    /// How many of them the remote has with an `active` that is not true.
    #[serde(default)]
    pub switched_off: i64,
    /// How many meters are active now.
    pub active: i64,
    /// The first of those that are gone: the key, and `name` where the local table has it.
    pub first: Vec<Fields>,
    /// The first of those that were switched off, likewise.
    #[serde(default)]
    pub first_switched_off: Vec<Fields>,
}

impl HeldBack {
    /// The same as this version would have logged it: earlier versions counted the meters that are gone, and no others.
    #[must_use]
    pub fn completed(mut self) -> Self {
        if self.gone == 0 && self.switched_off == 0 {
            self.gone = self.deactivated;
        }
        self
    }

    /// Which meters would become inactive, as `10 are gone from the remote, 30 were switched off there`.
    pub fn reasons(&self, remote: &str) -> String {
        let verb = |count: i64, one: &'static str, many: &'static str| match count {
            1 => one,
            _ => many,
        };
        let gone = format!(
            "{} {} gone from {remote}",
            self.gone,
            verb(self.gone, "is", "are")
        );
        let place = match self.gone {
            0 => format!("on {remote}"),
            _ => "there".to_owned(),
        };
        let switched_off = format!(
            "{} {} switched off {place}",
            self.switched_off,
            verb(self.switched_off, "was", "were")
        );
        let parts = [(self.gone, gone), (self.switched_off, switched_off)];
        let parts = parts.into_iter().filter(|(count, _)| *count > 0);
        parts.map(|(_, text)| text).collect::<Vec<_>>().join(", ")
    }
}

/// Which deactivations a person lets pass the brake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Permission {
    /// None that it holds back.
    #[default]
    None,
    /// Those that this run showed, or fewer, as long as no sync has succeeded since.
    Shown(RunId),
    /// Every one.
    Any,
}
