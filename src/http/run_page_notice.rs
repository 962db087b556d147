//! The notice on a run's page that says why the viewer was redirected to it. The URL has it as `?notice=`.

use serde::Deserialize;

/// Why a viewer was redirected to the page of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunPageNotice {
    /// The viewer tried to start a run while this one was in progress.
    AlreadyRunning,
    /// The viewer tried to approve the deactivations that this run had held back, but it had held none back.
    NothingHeld,
}

impl RunPageNotice {
    /// All notices.
    pub(crate) const ALL: [Self; 2] = [Self::AlreadyRunning, Self::NothingHeld];

    /// The value of `notice` in the URL.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyRunning => "already_running",
            Self::NothingHeld => "nothing_held",
        }
    }
}
