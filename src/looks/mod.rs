//! The words, icons and colours with which the page and the MCP App's card show health and outcomes.

use crate::mirrors::state::health::Health;
use crate::model::Outcome;
use icons::Icon;

pub(crate) mod icons;

/// How a value is shown: a word, and an icon and a colour that mean the same as the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) word: &'static str,
    pub(crate) icon: Icon,
    /// The colour, as a class of the style sheet: `good`, `warn`, `bad` or `calm`.
    pub(crate) tone: &'static str,
}

const fn look(word: &'static str, icon: Icon, tone: &'static str) -> Look {
    Look { word, icon, tone }
}

/// How a health is shown.
pub(crate) fn health(health: Health) -> Look {
    match health {
        Health::Ok => look("In sync", Icon::Check, "good"),
        Health::Late => look("Overdue", Icon::Clock, "warn"),
        Health::Stale => look("Stale", Icon::Alert, "warn"),
        Health::Failing => look("Failing", Icon::Cross, "bad"),
        Health::Paused => look("Paused", Icon::Pause, "calm"),
        Health::NeverRun => look("Never run", Icon::Dots, "calm"),
        Health::NotConfigured => look("Not configured", Icon::Gap, "warn"),
    }
}

/// How a run's outcome is shown. `None` stands for a run in progress.
pub(crate) fn outcome(outcome: Option<Outcome>) -> Look {
    match outcome {
        None => look("Running", Icon::Dots, "calm"),
        Some(Outcome::Succeeded) => look("Succeeded", Icon::Check, "good"),
        Some(Outcome::NoChange) => look("No change", Icon::Level, "good"),
        Some(Outcome::Partial) => look("Partial", Icon::Alert, "warn"),
        Some(Outcome::Failed) => look("Failed", Icon::Cross, "bad"),
        Some(Outcome::Refused) => look("Refused", Icon::Block, "bad"),
        Some(Outcome::Interrupted) => look("Interrupted", Icon::Gap, "bad"),
        Some(Outcome::DryRun) => look("Preview", Icon::List, "calm"),
        Some(Outcome::Unknown) => look("Unknown", Icon::Dots, "warn"),
    }
}
