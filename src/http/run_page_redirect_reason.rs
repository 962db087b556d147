//! The notice on the web page of a run that says why the viewer was redirected to that page. The URL parameter `notice`
//! selects the notice.

use serde::Deserialize;

/// Why a viewer of the web pages was redirected to the page of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunPageRedirectReason {
    /// The viewer tried to start a run while this one was in progress.
    AlreadyRunning,
    /// The viewer tried to approve the deactivations for which a run was refused, but this run was not refused for any.
    NothingHeld,
}

impl RunPageRedirectReason {
    /// All notices.
    pub(crate) const ALL: [Self; 2] = [Self::AlreadyRunning, Self::NothingHeld];

    /// Returns the value of the URL parameter `notice`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyRunning => "already_running",
            Self::NothingHeld => "nothing_held",
        }
    }
}
