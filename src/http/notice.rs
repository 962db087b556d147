//! Why a viewer was sent to the page of a run: what its address ends with.

use serde::Deserialize;

/// Why a viewer was sent to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Notice {
    /// They asked for a run while this one was in progress.
    AlreadyRunning,
    /// They approved a run that held nothing back.
    NothingHeld,
}

impl Notice {
    /// Every reason.
    pub(super) const ALL: [Self; 2] = [Self::AlreadyRunning, Self::NothingHeld];

    /// The reason as an address holds it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyRunning => "already_running",
            Self::NothingHeld => "nothing_held",
        }
    }
}
