//! The words, icons and tones in which the page shows health, outcomes, actions, triggers and phases. The MCP App's
//! card uses the same.

use crate::mirrors::state::status::Health;
use crate::model::{Action, Outcome, Phase, Trigger};

use super::icons::Icon;

/// How a value is shown: a word, and an icon and a colour with the same meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) word: &'static str,
    pub(super) icon: Icon,
    /// A class of the style sheet: `good`, `warn`, `bad` or `calm`.
    pub(super) tone: &'static str,
}

const fn look(word: &'static str, icon: Icon, tone: &'static str) -> Look {
    Look { word, icon, tone }
}

/// How a health is shown.
pub(super) fn health(health: Health) -> Look {
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

/// How a run's outcome is shown; `None` is a run in progress.
pub(super) fn outcome(outcome: Option<Outcome>) -> Look {
    match outcome {
        None => look("Running", Icon::Dots, "calm"),
        Some(Outcome::Succeeded) => look("Succeeded", Icon::Check, "good"),
        Some(Outcome::NoChange) => look("No change", Icon::Level, "good"),
        Some(Outcome::Partial) => look("Partly", Icon::Alert, "warn"),
        Some(Outcome::Failed) => look("Failed", Icon::Cross, "bad"),
        Some(Outcome::Refused) => look("Refused", Icon::Block, "bad"),
        Some(Outcome::Interrupted) => look("Interrupted", Icon::Gap, "bad"),
        Some(Outcome::DryRun) => look("Preview", Icon::List, "calm"),
        Some(Outcome::Unknown) => look("Unknown", Icon::Dots, "warn"),
    }
}

/// The word for what a run did to a meter, or would do if `planned`.
pub(super) fn action(action: Action, planned: bool) -> &'static str {
    match (action, planned) {
        (Action::Insert, false) => "Inserted",
        (Action::Update, false) => "Updated",
        (Action::Deactivate, false) => "Deactivated",
        (Action::Reactivate, false) => "Reactivated",
        (Action::Unknown, _) => "Unknown",
        (Action::Insert, true) => "Would insert",
        (Action::Update, true) => "Would update",
        (Action::Deactivate, true) => "Would deactivate",
        (Action::Reactivate, true) => "Would reactivate",
    }
}

/// The word for what requested a run.
pub(super) fn trigger(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Schedule => "schedule",
        Trigger::Startup => "process start",
        Trigger::Mcp => "assistant",
        Trigger::Rest => "program",
        Trigger::Page => "this page",
        Trigger::Cli => "command line",
        Trigger::Unknown => "unknown",
    }
}

/// The word for a phase of a run.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "Connect",
        Phase::Read => "Read",
        Phase::Plan => "Compare",
        Phase::Apply => "Write",
    }
}
