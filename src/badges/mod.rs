//! Badges: the words, icons and colours that show the health of a mirror and the outcome of a run, on the status page
//! and on the card in MCP hosts.

use crate::model::{Health, RunOutcome};
use icons::Icon;

pub(crate) mod icons;

/// How the health of a mirror or the outcome of a run is shown: a word, an icon and a colour that mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Badge {
    pub(crate) word: &'static str,
    pub(crate) icon: Icon,
    /// The colour, as a CSS class: `good`, `warn`, `bad` or `calm`.
    pub(crate) tone: &'static str,
}

const fn badge(word: &'static str, icon: Icon, tone: &'static str) -> Badge {
    Badge { word, icon, tone }
}

/// Returns the badge for the health of a mirror.
pub(crate) fn health(health: Health) -> Badge {
    match health {
        Health::Ok => badge("In sync", Icon::Check, "good"),
        Health::Late => badge("Overdue", Icon::Clock, "warn"),
        Health::Stale => badge("Stale", Icon::Alert, "warn"),
        Health::Failing => badge("Failing", Icon::Cross, "bad"),
        Health::Paused => badge("Paused", Icon::Pause, "calm"),
        Health::NeverRun => badge("Never run", Icon::Dots, "calm"),
        Health::NotConfigured => badge("Not configured", Icon::Gap, "warn"),
    }
}

/// Returns the badge for the outcome of a run. `None` means that the run is in progress.
pub(crate) fn outcome(outcome: Option<RunOutcome>) -> Badge {
    match outcome {
        None => badge("Running", Icon::Dots, "calm"),
        Some(RunOutcome::Succeeded) => badge("Succeeded", Icon::Check, "good"),
        Some(RunOutcome::NoChange) => badge("No change", Icon::Level, "good"),
        Some(RunOutcome::Partial) => badge("Partial", Icon::Alert, "warn"),
        Some(RunOutcome::Failed) => badge("Failed", Icon::Cross, "bad"),
        Some(RunOutcome::Refused) => badge("Refused", Icon::Block, "bad"),
        Some(RunOutcome::Interrupted) => badge("Interrupted", Icon::Gap, "bad"),
        Some(RunOutcome::DryRun) => badge("Preview", Icon::List, "calm"),
        Some(RunOutcome::Unknown) => badge("Unknown", Icon::Dots, "warn"),
    }
}
